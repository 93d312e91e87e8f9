"""The first run on a machine, and what stands last on its terminal; with and without xdist."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from append_prefill.report.words import WORDS
from tests.conftest import TINY, Suite, run_once

FAST = ("test_exp3_append.py", "test_regression.py")
FLAT = "--sglang=simulated:floor_ms=12,new_token_us=1,cached_token_us=0"
WORKERS = pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])


@pytest.fixture(scope="module", params=[(), ("-n", "2")], ids=["alone", "xdist"])
def first(request, tmp_path_factory) -> tuple[Suite, pytest.RunResult]:
    """A run on a machine where nothing is stored yet."""
    name = "first-xdist" if request.param else "first-alone"
    return run_once(tmp_path_factory, name, FLAT, "--starts=3", "-ra", *request.param)


def shown(result: pytest.RunResult) -> list[str]:
    return [line for line in result.outlines if line.strip()]


def verdict_of(suite: Any) -> str:
    return str(suite.record()["verdict"])


def test_the_last_line_is_the_verdict_in_a_sentence(first):
    suite, result = first
    last = shown(result)[-1]
    assert last.startswith(f"verdict: {verdict_of(suite).upper()}")
    assert last.endswith(".")
    # Pytest's own summary is behind it: the line with its counts stands above.
    counts = [line for line in shown(result) if " passed" in line or " skipped" in line]
    assert shown(result).index(counts[-1]) < len(shown(result)) - 1
    assert sum("verdict: " in line for line in shown(result)) == 1


@pytest.mark.parametrize("quiet", ["-q", "-qq", "--no-summary"])
def test_so_it_is_however_little_pytest_says(suite, quiet):
    result = suite.run("--baseline=none", "--starts=1", quiet, files=FAST)
    assert shown(result)[-1].startswith(f"verdict: {verdict_of(suite).upper()}")


def test_with_nothing_stored_findings_are_judged_and_nothing_is_inconclusive(first):
    suite, result = first
    assert result.ret == 0
    record = suite.record()
    assert record["comparison"] is None
    # A machine busy with other tests may leave a finding of few samples undecided.
    undecided = [f["id"] for f in record["findings"] if f["verdict"] == "inconclusive"]
    assert record["verdict"] == ("inconclusive" if undecided else "pass")
    result.stdout.fnmatch_lines(["append-prefill: * nothing stored for this machine yet *"])
    # One line for all points and the whole, one for other traffic.
    folded = [line for line in shown(result) if "nothing to compare with" in line]
    assert sorted(line.partition("]")[0] for line in folded) == ["SKIPPED [1", "SKIPPED [10"]


def test_strict_verdicts_do_not_ask_for_a_stored_run(suite):
    result = suite.run(FLAT, "--strict-verdicts", files=("test_regression.py",))
    skipped = result.parseoutcomes()["skipped"]
    assert skipped == 10
    assert "failed" not in result.parseoutcomes()


def test_the_next_commands_are_printed(first):
    suite, result = first
    lines = shown(result)
    commands = [lines[i + 1].strip() for i, line in enumerate(lines) if line.startswith("next: ")]
    folder = suite.latest().relative_to(suite.path)
    # Behind what a finding leaves open, if a machine busy with other tests makes one do so.
    keep, compare = commands[-2:]
    assert keep == f"append-prefill baselines store {folder}"
    assert compare.startswith("pytest -m append_prefill --sglang simulated:floor_ms=12")
    assert compare.endswith("--against simulated")
    assert any("--save-baseline" in line for line in lines)


def test_a_part_is_not_offered_as_a_baseline(suite):
    result = suite.run(FLAT, files=("test_exp3_append.py",))
    assert "baselines store" not in result.stdout.str()
    assert "--against" in result.stdout.str()


def test_under_tox_the_commands_are_toxs(suite, monkeypatch):
    monkeypatch.setenv("TOX_ENV_NAME", "append_prefill")
    result = suite.run(FLAT, files=("test_regression.py",))
    result.stdout.fnmatch_lines(
        ["*/bin/append-prefill baselines store reports/*", "*tox -e append_prefill -- --sglang *"]
    )


@WORKERS
def test_undecided_points_are_one_line(suite, workers):
    result = suite.run(
        "--sglang=simulated:floor_ms=3,new_token_us=1,within_sd=0.2",
        "--against=simulated:floor_ms=3,new_token_us=1,within_sd=0.2",
        "--baseline=none",
        "-ra",
        *workers,
        files=("test_regression.py",),
    )
    points = suite.record()["comparison"]["points"]
    undecided = [p for p in points if p["verdict"] == "inconclusive"]
    assert len(undecided) > 1
    lines = [line for line in shown(result) if line.startswith("SKIPPED") and "taken alone" in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"SKIPPED [{len(undecided)}] ")
    # The numbers of each are in the JUnit file.
    junit = (suite.latest() / "junit.xml").read_text()
    assert junit.count('<property name="ratio"') == len(points)


def test_a_stored_run_that_hardly_tells_is_said_before_the_run(suite):
    """The profile assumes that sessions differ by 2 %: made 30, nothing short of that shows."""
    profile = suite.path / "drifting.toml"
    profile.write_text(TINY.read_text().replace("night_sd = 0.02", "night_sd = 0.3"))
    sglang = "--sglang=simulated:floor_ms=3,new_token_us=1,sglang_version="
    stored = suite.run(
        f"--profile={profile}",
        f"{sglang}0.5.5",
        "--save-baseline",
        "--baseline=none",
        files=("test_regression.py",),
    )
    assert "hardly tell" not in stored.stdout.str()
    # It is said before tests are collected, so that none need be.
    nothing = "-knothing_like_it"
    result = suite.run(f"--profile={profile}", f"{sglang}0.5.6", nothing, files=FAST)
    (line,) = (line for line in shown(result) if "a stored run can hardly tell" in line)
    assert line.startswith("append-prefill: sessions differ more than versions do here")
    assert line.endswith("--against simulated")
    collected = next(s for s in shown(result) if s.startswith("collected "))
    assert shown(result).index(line) < shown(result).index(collected)
    steady = suite.run(f"{sglang}0.5.6", nothing, files=FAST)
    assert "append-prefill: candidate simulated" in steady.stdout.str()
    assert "hardly tell" not in steady.stdout.str()


def test_a_stored_run_of_another_machine_is_none_of_this_one(suite):
    """As the stored runs that come with the suite are, on anybody's first run."""
    sglang = "--sglang=simulated:floor_ms=12,new_token_us=1,cached_token_us=0,sglang_version="
    assert suite.run(f"{sglang}0.5.5", "--save-baseline", files=("test_regression.py",)).ret == 0
    (path,) = (suite.path / "baselines").rglob("0.5.5.json")
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"identity": record["identity"] | {"logical_cores": 96}}))
    result = suite.run(f"{sglang}0.5.6", "--starts=3", files=("test_regression.py",))
    record = suite.record()
    assert record["comparison"] is None
    assert record["verdict"] not in ("not-comparable", "infrastructure")
    (warning,) = (w for w in record["warnings"] if w["code"] == "elsewhere")
    assert warning["fields"] == ["logical_cores"]
    result.stdout.fnmatch_lines(
        [
            "append-prefill: * nothing stored for this machine yet *",
            "warning: Nothing is stored for this machine yet: the baseline of 0.5.5 is of *",
        ]
    )
    # Asked for by name it is compared, and refused.
    suite.run(f"{sglang}0.5.6", "--baseline=0.5.5", files=("test_regression.py",))
    assert suite.record()["comparison"]["verdict"] == "not-comparable"


@WORKERS
def test_a_run_of_one_finding_is_not_judged_by_what_is_stored(suite, workers):
    """No selected test compares: exit status 1 with every test passed would be nobody's fault."""
    sglang = "--sglang=simulated:new_token_us=1,cached_token_us=0,sglang_version="
    store = suite.run(
        f"{sglang}0.5.5,floor_ms=3", "--save-baseline", "--starts=3", files=("test_regression.py",)
    )
    assert store.ret == 0
    slower = f"{sglang}0.5.6,floor_ms=12"
    result = suite.run(slower, "--starts=3", *workers, files=("test_exp3_append.py",))
    assert result.ret == 0
    assert suite.record()["comparison"] is None
    # An option that asks for the comparison is answered.
    asked = suite.run(slower, "--starts=3", "--baseline=0.5.5", *workers, files=FAST[:1])
    assert asked.ret == 1
    assert suite.record()["comparison"]["verdict"] == "regression"
    assert shown(asked)[-1].startswith("verdict: REGRESSION")


def test_every_verdict_has_a_colour():
    from append_prefill.plugin.ending import _COLOURS

    assert {word.tone for word in WORDS.values()} == set(_COLOURS)


def test_the_report_line_can_be_typed(first):
    suite, result = first
    line = shown(result)[-2]
    assert line.startswith("report: ")
    assert (suite.path / Path(line.removeprefix("report: "))).is_file()


def test_the_instruments_own_tests_are_not_collected_unless_they_are_named(suite):
    """As `tox -e append_prefill` begins: from the checkout, without a path.

    With workers, each of which collects by itself.
    """
    (suite.path / "pyproject.toml").write_text(
        '[tool.pytest.ini_options]\ntestpaths = ["tests", "perf_tests"]\n'
    )
    own = suite.path / "tests" / "test_own.py"
    own.parent.mkdir()
    own.write_text("import nothing_of_that_name\n")
    result = suite.run("--baseline=none", "-kexp3", "-n", "2", files=None)
    assert result.ret == 0
    named = suite.run("--baseline=none", "-kexp3", "tests", files=None)
    assert "nothing_of_that_name" in named.stdout.str()
