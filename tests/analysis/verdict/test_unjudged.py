"""Effect sizes without a verdict: what they hold, field by field."""

from __future__ import annotations

import pytest

from append_prefill.analysis.verdict.effects import bare_point
from append_prefill.analysis.verdict.unjudged import compare_with_study, without_verdict
from append_prefill.records.comparison import Comparison, Effect
from append_prefill.records.grounds import Ground
from append_prefill.records.run import PointSummary, Run
from append_prefill.workload.points import Point
from tests.analysis.factory import POLICY, start
from tests.records import builders

A, B, C = Point(64, 32), Point(64, 64), Point(128, 64)
REASON = Ground(code="no-common-point")


def level(ratio: float, verdict="inconclusive") -> Effect:
    return Effect(
        name="level",
        reference=None,
        candidate=None,
        ratio=ratio,
        low=None,
        high=None,
        p=None,
        mde=None,
        verdict=verdict,
    )


def test_the_level_is_the_geometric_mean_of_the_known_ratios() -> None:
    points = [bare_point(A, 10.0, 20.0), bare_point(B, 10.0, 80.0), bare_point(C, 10.0, None)]
    found = without_verdict(
        points,
        kind="side-by-side",
        label="0.5.21",
        version="0.5.21",
        provenance="suite",
        reason=REASON,
    )
    assert found == Comparison(
        reference="0.5.21",
        reference_version="0.5.21",
        kind="side-by-side",
        provenance="suite",
        confirmed=False,
        method=None,
        points=points,
        surface=[level(found.surface[0].ratio)],
        mde=None,
        starts_needed=None,
        verdict="inconclusive",
        where=[],
        reason=REASON,
    )
    assert found.surface[0].ratio == pytest.approx(4.0)


def test_without_a_ratio_there_is_no_level() -> None:
    found = without_verdict(
        [bare_point(A, None, 10.0)],
        kind="baseline",
        label="x",
        version=None,
        provenance="suite",
        reason=REASON,
        verdict="not-comparable",
    )
    assert (found.surface, found.verdict, found.kind) == ([], "not-comparable", "baseline")
    assert [p.ratio for p in found.points] == [None]


def test_a_level_has_the_verdict_of_the_whole() -> None:
    points = [bare_point(A, 10.0, 10.0)]
    found = without_verdict(
        points,
        kind="baseline",
        label="x",
        version=None,
        provenance="suite",
        reason=REASON,
        verdict="not-comparable",
    )
    assert found.surface == [level(1.0, "not-comparable")]


def summary(point: Point, median_ms: float | None) -> PointSummary:
    return PointSummary(
        experiment=["append"],
        context_tokens=point.context_tokens,
        append_tokens=point.append_tokens,
        median_ms=median_ms,
        low_ms=None,
        high_ms=None,
        starts=1,
        samples=1,
        void=0,
    )


def study(**fields) -> Run:
    run = builders.run("0.5.5", provenance="study")
    return run.model_copy(update={"starts": [], "points": [], **fields})


# min_effect is 1.5 %.
CANDIDATE = [summary(A, 20.301), summary(B, 20.31), summary(C, 20.2), summary(Point(9, 9), 1.0)]


@pytest.mark.parametrize(
    "table",
    [
        {"points": [summary(A, 20.0), summary(B, 20.0), summary(C, 20.0)]},
        {"points": [], "starts": [start(0, {A: [20.0], B: [20.0], C: [20.0]})]},
    ],
    ids=["its points", "its starts"],
)
def test_the_study_is_compared_point_by_point_and_decides_nothing(table) -> None:
    found = compare_with_study(CANDIDATE, study(**table), POLICY)
    assert [p.point for p in found.points] == [A, B, C]
    assert [p.reference_ms for p in found.points] == pytest.approx([20.0] * 3)
    assert [p.candidate_ms for p in found.points] == [20.301, 20.31, 20.2]
    assert (found.kind, found.reference, found.reference_version, found.provenance) == (
        "baseline",
        "the study",
        "0.5.5",
        "study",
    )
    assert found.verdict == "inconclusive"
    assert found.reason == Ground(code="one-value-a-point", slower_points=2, least_effect=0.015)


def test_its_points_count_before_its_starts() -> None:
    run = study(points=[summary(A, 10.0)], starts=[start(0, {A: [20.0], B: [20.0]})])
    found = compare_with_study(CANDIDATE, run, POLICY)
    assert [(p.point, p.reference_ms) for p in found.points] == [(A, 10.0)]


@pytest.mark.parametrize(
    ("candidate", "stored"),
    [
        ([summary(A, None)], [summary(A, 20.0)]),
        ([summary(A, 20.0)], [summary(A, None)]),
        ([summary(A, 20.0)], [summary(B, 20.0)]),
        ([], [summary(B, 20.0)]),
    ],
)
def test_without_a_point_that_both_know_nothing_is_compared(candidate, stored) -> None:
    found = compare_with_study(candidate, study(points=stored), POLICY)
    assert (found.points, found.surface, found.verdict) == ([], [], "not-comparable")
    assert (found.reference, found.reference_version) == ("the study", "0.5.5")
    assert (found.kind, found.provenance) == ("baseline", "study")
    assert found.reason == Ground(code="no-common-point")


def test_a_point_at_the_least_effect_is_beyond_it() -> None:
    policy = POLICY.model_copy(update={"min_effect": 0.25})
    stored = study(points=[summary(A, 16.0)])
    for candidate_ms, beyond in ((20.0, 1), (19.99, 0)):
        found = compare_with_study([summary(A, candidate_ms)], stored, policy)
        assert isinstance(found.reason, Ground)
        assert found.reason.slower_points == beyond
