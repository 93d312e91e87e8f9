"""What is bisected: releases, commits, interpreters."""

from __future__ import annotations

import pytest

from append_prefill.errors import InfrastructureError, UsageError
from append_prefill.run.bisection import lists
from tests.engines.installed import installed_python

INDEX = ["0.5.7", "0.5.8", "0.5.9", "0.5.10"]


@pytest.fixture
def index(monkeypatch):
    asked = []

    def versions(url, *, pre):
        asked.append((url, pre))
        return INDEX

    monkeypatch.setattr(lists, "indexed_versions", versions)
    return asked


def names(found):
    return [position.name for position in found.positions]


def test_the_releases_between_two_in_the_order_of_versions(index, tmp_path):
    assert names(lists.releases("0.5.8", "0.5.10", tmp_path, None)) == ["0.5.8", "0.5.9", "0.5.10"]
    assert index == [(None, False)]


def test_builds_of_another_index_are_asked_for_as_what_they_are(index, tmp_path):
    lists.releases("0.5.8", "0.5.10", tmp_path, "https://x.example/nightly")
    assert index == [("https://x.example/nightly", True)]


def test_without_an_index_what_has_an_environment_is_the_list(monkeypatch, tmp_path):
    def unreachable(url, *, pre):
        raise InfrastructureError("no route")

    monkeypatch.setattr(lists, "indexed_versions", unreachable)
    monkeypatch.setenv("APPEND_PREFILL_ENVIRONMENTS", str(tmp_path))
    for version in ("0.5.8", "0.5.9", "0.5.10"):
        python = tmp_path / f"sglang-{version}" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.touch()
    assert names(lists.releases("0.5.8", "0.5.10", tmp_path, None)) == ["0.5.8", "0.5.9", "0.5.10"]
    with pytest.raises(InfrastructureError, match="no route"):
        lists.releases("0.5.7", "0.5.10", tmp_path, None)


def test_an_environment_is_made_where_there_is_none(index, monkeypatch, tmp_path):
    made = []

    def create(version, python, *, output, variables):
        output.write(b"ERROR: no matching distribution\n")
        made.append((version, variables))
        if version == "0.5.9":
            raise InfrastructureError("it could not be installed.")

    monkeypatch.setattr(lists, "create_environment", create)
    monkeypatch.setenv("APPEND_PREFILL_ENVIRONMENTS", str(tmp_path / "none"))
    found = lists.releases("0.5.8", "0.5.9", tmp_path, "https://x.example")
    assert not found.at_hand(0)
    assert [found.made(0, tmp_path) for _ in range(2)] == ["0.5.8", "0.5.8"]
    assert made == [("0.5.8", {"PIP_EXTRA_INDEX_URL": "https://x.example"})]
    with pytest.raises(InfrastructureError, match=r"installed\. ERROR: no matching"):
        found.made(1, tmp_path)
    assert (tmp_path / "environments" / "0.5.9.log").is_file()


def test_interpreters_are_called_by_what_they_hold(tmp_path):
    pythons = [
        str(installed_python(tmp_path / str(n), version))
        for n, version in enumerate(("0.5.9", "0.5.9", "0.5.10"))
    ]
    found = lists.interpreters([*pythons, "0.5.11", "simulated:floor_ms=3"])
    assert names(found) == ["0.5.9 (1)", "0.5.9 (2)", "0.5.10", "0.5.11", "simulated 5"]
    assert found.made(4, tmp_path) == "simulated:floor_ms=3"
    assert all(found.at_hand(at) for at in range(5))


def test_what_is_no_list_is_refused(tmp_path):
    with pytest.raises(UsageError, match="--among simulated: is one alone"):
        lists.interpreters(["simulated"])
    with pytest.raises(UsageError, match="--among /nowhere: no such interpreter"):
        lists.interpreters(["/nowhere", "simulated"])
    with pytest.raises(UsageError, match="needs --build"):
        lists.commits("a", "b", tmp_path, None)
