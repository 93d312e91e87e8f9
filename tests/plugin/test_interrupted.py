"""Ctrl-C: what is whole is judged, what is not is said."""

from __future__ import annotations

import pytest

from tests.plugin.test_plugin import servers_of

FAST = ("test_exp3_append.py", "test_regression.py")
WORKERS = pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "xdist"])


def interrupt(suite, launch, *, workers=()):
    """As from a terminal, at the first block of that launch: every process gets the signal.

    Of a run with `workers` that is the controller, too; these tests' own workers are not of it.
    """
    parent = "os.kill(os.getppid(), signal.SIGINT)" if workers else "pass"
    with (suite.path / "conftest.py").open("a") as conftest:
        conftest.write(
            f"""
import os, signal, time
from append_prefill.probe.launch import Launch
open_block = Launch.open_block
def interrupted(self):
    if self.start.index == {launch}:
        {parent}
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
    open_block(self)
Launch.open_block = interrupted
"""
        )


@WORKERS
def test_whole_launches_are_judged(suite, workers):
    interrupt(suite, launch=2, workers=workers)
    sglang = "--sglang=simulated:floor_ms=3,new_token_us=1,sglang_version=0.5.5"
    result = suite.run(sglang, "--starts=4", "--save-baseline", *workers)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    record = suite.record()
    assert record["verdict"] not in (None, "infrastructure")
    assert len(record["points"]) > 0
    (warning,) = (w for w in record["warnings"] if w["code"] == "interrupted")
    assert (warning["launches"], warning["usable_launches"]) == (4, 2)
    assert "launch-failed" not in {w["code"] for w in record["warnings"]}
    text = result.stdout.str()
    assert "Nothing valid was measured" not in text
    assert "warning: Interrupted: 2 of 4 planned server launches were measured" in text
    last = [line for line in result.outlines if line.strip()][-1]
    assert last.startswith(f"verdict: {record['verdict'].upper()}")
    assert (suite.latest() / "report.html").exists()
    # A baseline was to have four launches.
    assert not list((suite.path / "baselines").rglob("*.json"))
    assert servers_of(str(suite.path)) == []


def test_whole_pairs_are_compared(suite):
    interrupt(suite, launch=2)
    result = suite.run(
        "--sglang=simulated:floor_ms=12",
        "--against=simulated:floor_ms=4",
        "--baseline=none",
        "--starts=4",
        files=("test_regression.py",),
    )
    assert result.ret == pytest.ExitCode.INTERRUPTED
    comparison = suite.record()["comparison"]
    assert comparison["kind"] == "side-by-side"
    assert comparison["verdict"] == "regression"
    result.stdout.fnmatch_lines(
        ["next: Go on where it was cut off:", "    pytest -m append_prefill --resume reports/*"]
    )


@WORKERS
def test_with_no_whole_launch_it_says_so(suite, workers):
    interrupt(suite, launch=0, workers=workers)
    result = suite.run("--baseline=none", *workers, files=FAST)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert suite.record()["verdict"] == "infrastructure"
    last = [line for line in result.outlines if line.strip()][-1]
    assert last.startswith("verdict: INFRASTRUCTURE. Nothing valid was measured on ")
    assert "interrupted" in last


def test_a_failure_of_the_servers_is_not_taken_for_an_interruption(suite):
    result = suite.run(
        "--sglang=simulated:floor_ms=3,fault=die-after=60", "--baseline=none", files=FAST
    )
    assert result.ret == 7
    record = suite.record()
    assert record["verdict"] == "infrastructure"
    assert "interrupted" not in {w["code"] for w in record["warnings"]}
