"""`--confirms RUN`: a run whose outcome another one is told; with and without xdist."""

from __future__ import annotations

import json
import shutil

import pytest

from append_prefill.records.history.entry import key_of
from append_prefill.records.store import read_run
from append_prefill.run.history import load
from tests.conftest import run_once

# Four times as slow: what a busy machine adds to either is nothing beside it.
SLOW, FAST = "simulated:floor_ms=40,new_token_us=1", "simulated:floor_ms=10,new_token_us=1"
PART = ("--baseline=none", "--experiment=append", "--samples=2")
FILES = ("test_regression.py",)


@pytest.fixture
def suspecting(suite, tmp_path_factory):
    """A suite in whose report folder the run `then` found the candidate slower."""
    first, result = run_once(
        tmp_path_factory, "suspecting", f"--sglang={SLOW}", f"--against={FAST}", *PART, files=FILES
    )
    assert result.ret == 1
    shutil.copytree(first.latest(), suite.path / "reports" / "then")
    return suite


def then(suite):
    return suite.path / "reports" / "then"


def test_what_is_slower_again_is_confirmed(suspecting):
    """By two workers; what is withdrawn below is so by none."""
    slow, fast = (f"{side},devices=2" for side in (SLOW, FAST))
    result = suspecting.run(
        "--confirms=reports/then", f"--sglang={slow}", f"--against={fast}", *PART, "-n", "2",
        files=FILES,
    )  # fmt: skip
    assert result.ret == 1
    result.stdout.fnmatch_lines(["what then suspects:", "  the points: confirmed"])
    record, after = suspecting.record(), read_run(then(suspecting))
    assert record["confirms"] == {
        "run": key_of(after),
        "folder": "then",
        "suspects": [{"name": "points", "points": []}],
    }
    assert record["suite"]["purpose"] == "partial"
    (said,) = after.confirmations
    assert (said.answers, said.folder) == ({"points": "confirmed"}, suspecting.latest().name)
    assert f"confirmed by {said.folder}" in (then(suspecting) / "report.html").read_text()
    entries = {entry.path: entry for entry in load(suspecting.path / "reports")}
    assert entries["then"].confirmations == (said,)
    assert not entries[said.folder].whole


def test_what_is_not_is_withdrawn(suspecting):
    result = suspecting.run(
        "--confirms=reports/then", f"--sglang={FAST}", f"--against={SLOW}", *PART, files=FILES
    )
    assert result.ret == 0
    assert read_run(then(suspecting)).confirmations[0].answers == {"points": "withdrawn"}
    summary = (then(suspecting) / "summary.md").read_text()
    assert "withdrawn by" in summary
    # The verdict is what its own launches said.
    assert json.loads((then(suspecting) / "run.json").read_text())["verdict"] == "regression"
    again = suspecting.run(
        "--confirms=reports/then", f"--sglang={FAST}", f"--against={SLOW}", *PART, files=FILES
    )
    assert again.ret == 4
    again.stderr.fnmatch_lines(["*--confirms reports/then: is decided: points withdrawn by *"])


def test_what_is_no_run_is_refused_before_anything_starts(suite):
    result = suite.run("--confirms=reports/none", *PART, files=FILES)
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*--confirms reports/none: no such file.*"])
    assert not (suite.path / "reports").exists()
