"""The versions of a package index, as pip tells them."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import pytest

from append_prefill.engines import releases as module
from append_prefill.engines.releases import indexed_versions, versions_between
from append_prefill.errors import InfrastructureError, UsageError

SAID = "sglang (0.5.10)\nAvailable versions: 0.5.10, 0.5.9, 0.5.9.dev1+g12, 0.5.8\n  INSTALLED: 1\n"


@pytest.fixture
def pip(monkeypatch):
    state = SimpleNamespace(command=None, said=SAID, fails=False)

    def run(command, **_):
        state.command = command
        if state.fails:
            raise subprocess.CalledProcessError(1, command, stderr="WARNING: x\nERROR: no route\n")
        return SimpleNamespace(stdout=state.said)

    monkeypatch.setattr(module.subprocess, "run", run)
    return state


def test_oldest_first_and_without_local_parts(pip):
    assert indexed_versions(None, pre=False) == ["0.5.8", "0.5.9.dev1", "0.5.9", "0.5.10"]
    assert pip.command[1:] == ["-m", "pip", "index", "versions", "--disable-pip-version-check",
                               "sglang"]  # fmt: skip


def test_another_index_and_what_is_no_release(pip):
    indexed_versions("https://x.example", pre=True)
    assert pip.command[-4:] == ["--pre", "--index-url", "https://x.example", "sglang"]


def test_an_index_that_does_not_answer(pip):
    pip.fails = True
    with pytest.raises(InfrastructureError, match="ERROR: no route"):
        indexed_versions(None, pre=False)
    pip.fails, pip.said = False, "nothing of the kind"
    with pytest.raises(InfrastructureError, match="listed no versions"):
        indexed_versions(None, pre=False)


@pytest.mark.parametrize(
    ("first", "last", "problem"),
    [
        ("0.5.10", "0.5.8", "names the newer version first"),
        ("0.5.8", "0.5.8", "one version twice"),
        ("main", "0.5.8", "'main' is not a version"),
        ("0.5.7", "0.5.10", "the index does not have SGLang 0.5.7; the newest are 0.5.8, 0.5.10"),
    ],
)
def test_what_is_no_range_is_refused(first, last, problem):
    with pytest.raises(UsageError) as error:
        versions_between(["0.5.8", "0.5.10"], first, last, where="the index")
    assert problem in str(error.value)
    assert f"A..B {first}..{last}: " in str(error.value)
