"""Kept cliffs in a run: measured, compared and told side by side; with and without xdist."""

from __future__ import annotations

import pytest

from append_prefill.records.definition import definition_of
from append_prefill.records.kept import keep
from append_prefill.workload.loading import load_profile
from tests.analysis.cliffs.test_jump import cliff
from tests.conftest import TINY

# Of a simulated server whose m from 65 on take so much longer that a busy machine shows it, too.
KEPT = cliff(
    fast=(128, 64), slow=(128, 65), context_tokens=(2, 512), append_tokens=(65, 96),
    expected_ratio=1.0, ratio=20.0, low=19.0, high=21.0,
)  # fmt: skip
SMOOTH = "simulated:floor_ms=3,new_token_us=1"
SLOW = f"{SMOOTH},fault=slow-in=0..512:65..96:20"


def test_a_kept_cliff_is_told_on_either_side(suite):
    """By two workers; the tests below have none."""
    keep(suite.path / "cliffs", "tiny", [KEPT])
    result = suite.run(
        f"--sglang={SLOW}",
        f"--against={SMOOTH}",
        "--starts=3",
        "--samples=2",
        "--experiment=cliffs",
        "-n",
        "2",
    )
    record = suite.record()
    assert record["plan"]["points"] == []
    assert [tuple(c["slow"]) for c in record["plan"]["cliffs"]] == [KEPT.slow]
    assert [p["experiment"] for p in record["points"] if p["starts"]] == [["cliffs"], ["cliffs"]]
    (kept,) = record["cliffs"]
    standing = {side["side"]: side["standing"] for side in kept["sides"]}
    assert standing["candidate"] is True
    assert standing["reference"] is not True  # gone, or a machine too busy to tell
    assert "cliff from m = 64 to 65, L = 128: candidate still there" in result.stdout.str()
    assert f"reference {'gone' if standing['reference'] is False else 'cannot tell'}" in (
        result.stdout.str()
    )
    assert "Kept cliffs" in (suite.latest() / "report.html").read_text()
    assert "### Kept cliffs" in (suite.latest() / "summary.md").read_text()


def test_all_of_the_profile_has_them_beside_and_its_definition_has_not(suite):
    keep(suite.path / "cliffs", "tiny", [KEPT])
    result = suite.run("-v", "-k", "regressed", "--baseline=none", "--samples=2")
    assert result.ret == 0
    record, profile = suite.record(), load_profile(str(TINY))
    assert record["definition"] == definition_of(profile)
    assert record["plan"]["points"] == [[p.context_tokens, p.append_tokens] for p in profile.points]
    measured = {(s["context_tokens"], s["append_tokens"]) for s in record["starts"][0]["series"]}
    assert {KEPT.fast, KEPT.slow} <= measured
    assert record["suite"]["purpose"] != "partial"
    # A test each, as every point has.
    assert "test_point_has_not_regressed[L128-m65]" in result.stdout.str()


def test_one_in_a_conversation_is_measured_with_it_and_not_compared(suite):
    kept = cliff(
        experiment="turns", fast=(128, 60), slow=(128, 70), context_tokens=(9, 512),
        append_tokens=(65, 96), expected_ratio=1.0, ratio=20.0, low=19.0, high=21.0,
    )  # fmt: skip
    keep(suite.path / "cliffs", "tiny", [kept])
    result = suite.run(
        f"--sglang={SLOW}", "--experiment=turns", "--baseline=none", "--starts=2", "--samples=3"
    )
    record = suite.record()
    at = {(s["context_tokens"], s["append_tokens"]) for s in record["starts"][0]["traffic"]}
    assert {kept.fast, kept.slow} <= at
    assert record["starts"][0]["series"] == []
    (told,) = record["cliffs"]
    assert told["edge"]["experiment"] == "turns"
    assert told["sides"][0]["standing"] is True
    (turns,) = record["traffic"]
    assert kept.slow not in {(p["context_tokens"], p["append_tokens"]) for p in turns["points"]}
    assert (
        "cliff from m = 60 to 70, L = 128, in turns: candidate still there" in result.stdout.str()
    )


def test_a_run_of_some_experiments_leaves_them_out(suite):
    keep(suite.path / "cliffs", "tiny", [KEPT])
    suite.run("--experiment=append", "--baseline=none", "--samples=2")
    assert suite.record()["cliffs"] == []


def test_without_kept_ones_there_is_no_such_experiment(suite):
    result = suite.run("--experiment=cliffs")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--experiment cliffs: profile tiny has no such experiment" in result.stderr.str()
