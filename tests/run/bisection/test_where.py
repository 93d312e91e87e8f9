"""Which experiment a bisection measures."""

from __future__ import annotations

import pytest

from append_prefill.errors import UsageError
from append_prefill.records.comparison import PointEffect
from append_prefill.run.bisection.where import experiment_of
from append_prefill.workload.loading import load_profile
from tests.run.bisection.runs import compared, comparison


def effect(point, ratio, half):
    return PointEffect(
        context_tokens=point.context_tokens,
        append_tokens=point.append_tokens,
        reference_ms=20.0,
        candidate_ms=20.0 * ratio,
        ratio=ratio,
        low=ratio / (1 + half),
        high=ratio * (1 + half),
        p=None,
        mde=None,
        verdict="inconclusive",
    )


def run_of(profile, ratio, half):
    """`ratio` and `half`, of each point."""
    told = comparison(1.0)
    told.points = [effect(point, ratio(point), half(point)) for point in profile.points]
    return compared("b", "a", 1.0, comparison=told)


def test_it_is_the_one_that_moved_most():
    profile = load_profile("cpu-nano")
    run = run_of(profile, lambda p: 1 + 0.2 * (p.context_tokens >= 512), lambda _: 0.02)
    assert experiment_of(run, profile) == "beyond"
    run = run_of(profile, lambda p: 1 - 0.1 * (p.context_tokens == p.append_tokens), lambda _: 0.02)
    assert experiment_of(run, profile) == "scale"


def test_a_large_change_that_is_not_clear_is_no_place_to_look():
    profile = load_profile("cpu-nano")
    run = run_of(
        profile,
        lambda p: 1.2 if p.total_tokens > 1024 else 1.05,
        lambda p: 0.5 if p.total_tokens > 1024 else 0.01,
    )
    assert experiment_of(run, profile) != "beyond"


def test_a_run_of_other_points_is_refused():
    with pytest.raises(UsageError, match="compared nothing at a point of profile cpu-nano"):
        experiment_of(compared("b", "a", 1.0), load_profile("cpu-nano"))
