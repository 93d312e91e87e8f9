"""What a reader is told beside the verdict."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from append_prefill.run.references import References
from append_prefill.run.warnings import warnings_of
from tests.records import builders

SETTINGS = SimpleNamespace(
    candidate=SimpleNamespace(warnings=[]),
    reference=None,
    profile=SimpleNamespace(placement=SimpleNamespace(policy="off")),
)


def codes(starts):
    return [w.code for w in warnings_of(SETTINGS, References(), starts, [])]


@pytest.mark.parametrize(("key", "code"), [("sglang", "version-moved"), ("commit", "commit-moved")])
def test_launches_of_one_side_that_are_of_several_servers_are_told(key, code):
    def told(index, side, value):
        return builders.start(index, side).model_copy(update={"subject": {key: value}})

    one, other = told(0, "candidate", "0.5.22"), told(1, "candidate", "0.5.23")
    assert codes([one, other]) == [code]
    (warning,) = warnings_of(SETTINGS, References(), [one, other], [])
    assert (warning.side, warning.text) == ("candidate", "0.5.22, 0.5.23")
    # Two sides are meant to differ, and a launch that failed before it was asked tells nothing.
    failed = builders.start(1, "candidate").model_copy(update={"subject": {}})
    assert codes([one, told(0, "reference", "0.5.23"), failed]) == []


def test_a_launch_that_failed_is_a_line_without_its_log():
    failure = "the server ended with status 1 (log: x): an error\nLast lines of x:\nTraceback"
    failed = builders.start(0).model_copy(update={"failure": failure})
    (warning,) = warnings_of(SETTINGS, References(), [failed], [])
    assert warning.code == "launch-failed"
    assert warning.text == "the server ended with status 1 (log: x): an error"
