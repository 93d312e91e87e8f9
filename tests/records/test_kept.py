"""The file of kept cliffs: added to, never doubled, and refused where it is damaged."""

from __future__ import annotations

import json

import pytest

from append_prefill.errors import UsageError
from append_prefill.records.kept import keep, kept_file, read_kept
from tests.analysis.cliffs.test_jump import cliff


def test_none_are_kept_where_there_is_no_file(tmp_path):
    assert read_kept(tmp_path / "cliffs", "tiny") == ()


def test_what_is_kept_is_read_again(tmp_path):
    path, new = keep(tmp_path / "cliffs", "tiny", [cliff()])
    assert new == [cliff()]
    assert path == kept_file(tmp_path / "cliffs", "tiny")
    assert json.loads(path.read_text())["schema"] == "append-prefill/cliffs/1"
    assert read_kept(tmp_path / "cliffs", "tiny") == (cliff(),)


def test_a_cliff_that_is_held_stays_the_pair_of_points_it_was(tmp_path):
    keep(tmp_path, "tiny", [cliff()])
    again = cliff(fast=(900, 256), slow=(900, 257))  # another L of the same edge
    other = cliff(axis="context", fast=(899, 4), slow=(900, 4), append_tokens=(1, 1536))
    _, new = keep(tmp_path, "tiny", [again, other])
    assert new == [other]
    assert read_kept(tmp_path, "tiny") == (cliff(), other)


def test_nothing_found_makes_no_file(tmp_path):
    path, new = keep(tmp_path / "cliffs", "tiny", [])
    assert new == []
    assert not path.parent.exists()


@pytest.mark.parametrize("text", ["{", '{"schema": "append-prefill/cliffs/2", "profile": "tiny"}'])
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / "tiny.json").write_text(text)
    with pytest.raises(UsageError, match=r"tiny\.json: does not validate"):
        read_kept(tmp_path, "tiny")
