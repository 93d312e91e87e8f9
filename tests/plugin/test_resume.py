"""`--resume`: a run that was cut off goes on, and ends as one that never was."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from append_prefill.cli.main import main
from tests.conftest import TINY
from tests.forked import run_pytest
from tests.plugin.test_plugin import servers_of

SIDES = ("--sglang=simulated:floor_ms=1", "--against=simulated:floor_ms=1", "--baseline=none")
FILES = ("test_exp3_append.py",)

# Where a run is killed, once: the method that is called there, in which launch, and whether what it
# does is done first.
MOMENTS = {
    "start": ("append_prefill.probe.launch", "Launch.bring_up", "self.start.index == 1", True),
    "warm-up": ("append_prefill.probe.launch", "Launch.warm_up", "self.start.index == 1", False),
    "mid-block": ("append_prefill.probe.launch", "Launch.take", "self.start.index == 1", True),
    "between": ("append_prefill.probe.runner", "PairRunner.measure", "args[0] == 1", False),
    "judging": ("append_prefill.run.concluding", "Conclusion.judge", "True", False),
}


# So that what is measured depends on the plan alone, and not on how busy the machine is.
PLANNED_TIMES = """
import dataclasses
import numpy as np
from append_prefill.probe.launch import Launch
from append_prefill.probe.sample import Times
whole_leg = Launch.close_leg
def close_leg(self, state, **how):
    side = {"candidate": 12.0, "reference": 4.0}[self.start.side]
    for index, sample in enumerate(self._taken):
        if isinstance(sample.result, Times):
            rng = np.random.default_rng([self.start.index, int(side), self.blocks, index])
            ttft_ms = side * float(np.exp(rng.normal(0, 0.02)))
            result = dataclasses.replace(sample.result, ttft_ms=ttft_ms, e2e_ms=2 * ttft_ms)
            self._taken[index] = dataclasses.replace(sample, result=result)
    whole_leg(self, state, **how)
Launch.close_leg = close_leg
"""

_uninterrupted: list[dict] = []


def uninterrupted(suite) -> dict:
    """What a run with these sides, seed and times makes where nothing cuts it off."""
    if not _uninterrupted:
        assert suite.run(*SIDES, "--report-dir=whole", files=FILES).ret == 1
        path = suite.path / "whole" / "latest" / "run.json"
        _uninterrupted.append(json.loads(path.read_text()))
    return _uninterrupted[0]


def plan_times(suite) -> None:
    with (suite.path / "conftest.py").open("a") as conftest:
        conftest.write(PLANNED_TIMES)


def cut_at(suite, moment: str, signal: str = "SIGKILL") -> None:
    module, name, here, after = MOMENTS[moment]
    owner, _ = name.split(".")
    with (suite.path / "conftest.py").open("a") as conftest:
        conftest.write(
            f"""
import os, pathlib, signal, time
from {module} import {owner}
whole = {name}
def cut(self, *args, **more):
    flag = pathlib.Path({str(suite.path / "was-cut")!r})
    def end():
        if {here} and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.{signal})
            time.sleep(10)
    if {after}:
        result = whole(self, *args, **more)
        end()
        return result
    end()
    return whole(self, *args, **more)
{name} = cut
"""
        )


def folder_of(suite) -> Path:
    (folder,) = {p.resolve() for p in (suite.path / "reports").iterdir() if p.is_dir()}
    return folder


def whole_launches(folder: Path) -> dict[str, bytes]:
    """The launches that were measured to their end, in pairs that are whole."""
    done = json.loads((folder / "work" / "queue.json").read_text())["done"]
    files = {path.name: path.read_bytes() for path in (folder / "starts").glob("*.json")}
    return {name: text for name, text in files.items() if json.loads(text)["pair"] in done}


def go_on(suite, *arguments, files=FILES):
    """With nothing but the run's folder, as it would be typed."""
    reports = suite.path / "reports"
    folder = next(p for p in reports.iterdir() if p.is_dir())
    return run_pytest(
        suite.path,
        *("-p", "no:cacheprovider", "-m", "append_prefill", f"--resume={folder}", *arguments),
        *(f"perf_tests/{name}" for name in files),
    )


# Those that no other shows; the rest take their minute where slow tests do.
QUICK = ("mid-block", "judging")


@pytest.mark.parametrize(
    "moment", [pytest.param(m, marks=() if m in QUICK else pytest.mark.slow) for m in MOMENTS]
)
def test_a_killed_run_goes_on_to_the_same_verdict(suite, moment):
    plan_times(suite)
    whole = uninterrupted(suite)
    cut_at(suite, moment)
    assert suite.run(*SIDES, files=FILES).ret == -9
    folder = folder_of(suite)
    kept = whole_launches(folder)
    before = json.loads((folder / "run.json").read_text())
    pairs = len(kept) // 2
    assert pairs == (2 if moment == "judging" else 1)

    # Meanwhile it can be reported, and the report says how to go on.
    assert main(["report", str(folder), "--profile", str(TINY)]) == 0
    assert "--resume" in (folder / "summary.md").read_text(encoding="utf-8")

    result = go_on(suite)
    assert result.ret == 1
    record = suite.record()
    assert suite.latest() == folder
    assert (record["verdict"], record["comparison"]["kind"]) == ("regression", "side-by-side")
    assert record["comparison"] == whole["comparison"]
    for key in ("created_at", "seed", "plan", "definition", "identity"):
        assert record[key] == before[key]
    assert len(record["starts"]) == 4
    after = whole_launches(folder)
    assert {name: after[name] for name in kept} == kept
    (resumed,) = record["state"]["resumed"]
    assert resumed["pairs"] == pairs
    assert [w["launches"] for w in record["warnings"] if w["code"] == "resumed"] == [pairs]
    text = result.stdout.str()
    assert f"warning: Cut off after {pairs} pair" in text
    # What was measured is not shown as if it were measured again.
    assert "candidate simulated, launch 1: " not in text
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "was measured again" in page
    assert servers_of(str(suite.path)) == []

    again = go_on(suite)
    assert again.ret == pytest.ExitCode.USAGE_ERROR
    assert "is finished: regression." in again.stderr.str()


def test_with_workers(suite):
    """The worker that measured dies with the controller, and the next ones share what is left."""
    with (suite.path / "conftest.py").open("a") as conftest:
        conftest.write(
            f"""
import os, pathlib, signal, time
from append_prefill.probe.launch import Launch
whole = Launch.open_block
def cut(self):
    flag = pathlib.Path({str(suite.path / "was-cut")!r})
    if self.start.index >= 2 and not flag.exists():
        flag.touch()
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(10)
    whole(self)
Launch.open_block = cut
"""
        )
    sglang = "--sglang=simulated:floor_ms=3,new_token_us=1,devices=2"
    workers = ("-n", "2")
    options = (sglang, "--baseline=none", "--starts=4")
    assert suite.run(*options, *workers, files=FILES).ret == -9
    folder = folder_of(suite)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and servers_of(str(suite.path)):
        time.sleep(0.1)
    assert servers_of(str(suite.path)) == []
    kept = whole_launches(folder)

    other = go_on(suite)
    assert other.ret != 0
    assert "-n 1: is not what the run was begun with: 2 worker(s)" in other.stderr.str()
    assert whole_launches(folder) == kept

    assert go_on(suite, *workers).ret == 0
    assert len([s for s in suite.record()["starts"] if s["measured_s"] is not None]) == 4
    after = whole_launches(folder)
    assert {name: after[name] for name in kept} == kept


def test_an_interrupted_run_goes_on(suite):
    plan_times(suite)
    cut_at(suite, "warm-up", "SIGINT")
    interrupted = suite.run(*SIDES, files=FILES)
    assert interrupted.ret == pytest.ExitCode.INTERRUPTED
    interrupted.stdout.fnmatch_lines(
        ["next: Go on where it was cut off:", "    pytest -m append_prefill --resume reports/*"]
    )
    assert go_on(suite).ret == 1
    codes = [w["code"] for w in suite.record()["warnings"]]
    assert "resumed" in codes
    assert "interrupted" not in codes
    assert "launch-failed" not in codes


@pytest.fixture
def cut(suite):
    """A run that was killed between its two pairs."""
    cut_at(suite, "between")
    suite.run("--baseline=none", files=FILES)
    return suite


@pytest.mark.parametrize(
    ("arguments", "files", "named"),
    [
        (("--seed=2",), FILES, "--seed 2: contradicts --resume: that run was begun with --seed 1"),
        (("--against=simulated",), FILES, "--against simulated: contradicts --resume: that run"),
        (("--server-arg=--x",), FILES, "--server-arg --x: contradicts --resume"),
        ((), ("test_exp4_context.py",), "was begun for other tests (of append)"),
    ],
    ids=["seed", "against", "server-arg", "tests"],
)
def test_what_contradicts_is_refused_by_name(cut, arguments, files, named):
    folder = folder_of(cut)
    before = {path: path.read_bytes() for path in folder.rglob("*.json")}
    result = go_on(cut, *arguments, files=files)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert named in result.stderr.str()
    assert {path: path.read_bytes() for path in folder.rglob("*.json")} == before


def test_selecting_nothing_removes_nothing(cut):
    folder = folder_of(cut)
    launches = whole_launches(folder)
    result = go_on(cut, "-k", "nothing_like_it")
    assert result.ret == pytest.ExitCode.USAGE_ERROR  # begun for other tests
    assert whole_launches(folder) == launches
    assert launches
