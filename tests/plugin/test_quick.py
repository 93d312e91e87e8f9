"""--quick: less of everything, said beforehand; with and without xdist."""

from __future__ import annotations

import pytest

from tests.conftest import TINY
from tests.forked import run_pytest

QUICK = """
[quick]
pairs = 2
starts = 3
samples = 2
budget_minutes = 1.5
experiments = ["append", "context"]
"""
SIDES = (
    "--sglang=simulated:floor_ms=3,new_token_us=1",
    "--against=simulated:floor_ms=3,new_token_us=1",
)


@pytest.fixture
def quick(suite):
    """Runs it; `suite.run` itself names launches and samples, which a quick run chooses."""
    profile = suite.path / "quick.toml"
    profile.write_text(TINY.read_text() + QUICK)

    def run(*arguments):
        return run_pytest(suite.path, "-m", "append_prefill", "-p", "no:cacheprovider",
            f"--profile={profile}", "--quick", "--seed=1", *arguments, "perf_tests",
        )  # fmt: skip

    return run


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_of_one_side_it_takes_the_profiles_few(suite, quick, workers):
    result = quick(SIDES[0], *workers)
    assert result.ret == 0
    plan = suite.record()["plan"]
    assert (plan["starts"], plan["samples"], plan["drawn"]) == (3, 2, [])
    # The lines along m and along L, which share a point.
    assert plan["points"] == [[64, 64], [256, 8], [256, 64], [256, 256]]
    result.stdout.fnmatch_lines(
        [
            "append-prefill: 4 points × 3 server launches × 2 samples, quick; *, budget 1.5",
            "append-prefill: what it can see: findings far from their bounds; no change, *",
        ]
    )
    judged = {f["id"]: f["verdict"] for f in suite.record()["findings"]}
    assert judged["append_flatness"] != "not-applicable"
    assert judged["cache_rate_band"] == "not-applicable"
    assert suite.record()["suite"]["options"].endswith("--quick")
    # Neither tests of what it leaves out nor property tests, which take a server of their own.
    names = result.stdout.str()
    assert "test_exp1_cache_rate" not in names
    assert "test_split_properties" not in names


def test_of_two_sides_it_says_beforehand_what_it_can_see(suite, quick):
    result = quick(*SIDES)
    assert suite.record()["plan"]["starts"] == 2
    lines = result.outlines
    told = next(i for i, line in enumerate(lines) if "detectable effect on the overall" in line)
    assert "+" in lines[told]
    assert told < next(i for i, line in enumerate(lines) if "launch 1: starting" in line)
    comparison = suite.record()["comparison"]
    assert len(comparison["looks"]) == 1  # nothing is added


def test_launches_and_samples_that_are_given_count(suite, quick):
    quick(SIDES[0], "--starts=2", "--samples=3")
    plan = suite.record()["plan"]
    assert (plan["starts"], plan["samples"]) == (2, 3)


def test_a_quick_run_is_not_stored_as_a_baseline(suite, quick):
    result = quick(SIDES[0], "--save-baseline")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--save-baseline : with --quick" in result.stderr.str()
    assert not (suite.path / "reports").exists()


def test_what_it_leaves_open_is_to_be_measured_whole(suite, quick):
    noisy = ",within_sd=0.2"
    result = quick(SIDES[0] + noisy, SIDES[1] + noisy)
    assert suite.record()["verdict"] == "inconclusive"
    result.stdout.fnmatch_lines(["next: Measure the whole plan, of which a quick run is a part:"])
    (command,) = (s for s in result.outlines if s.startswith("    pytest -m append_prefill"))
    assert "--quick" not in command
