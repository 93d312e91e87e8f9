"""Which of a finding's outcomes counts, and what its record holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from append_prefill.analysis.claims import findings_of
from append_prefill.analysis.findings import Inputs, NotApplicableError, Spec
from append_prefill.analysis.measures import Measured, MissingError
from append_prefill.analysis.verdict.findings import judge_finding, judge_findings
from append_prefill.analysis.verdict.regime import Against
from append_prefill.records.grounds import FindingGround
from append_prefill.records.launch import LeftOut
from append_prefill.records.run import Finding
from append_prefill.workload.points import Point
from tests.analysis.factory import POINTS, profile, start, starts_of

A, B = Point(512, 32), Point(512, 1024)
WHY = "An argument of at least twenty letters."
HOLDS = Measured(1.1, 1.0, 1.2, 5, near=(A,), far=(B,), details={"elasticity": 0.5})
BEYOND = Measured(1.4, 1.3, 1.5, 5, near=(A,), far=(B,))


def spec(outcome: Measured | Exception | list[Any]) -> Spec:
    """A finding that is measured as told; of a list, the next at each call."""
    outcomes = list(outcome) if isinstance(outcome, list) else [outcome] * 9

    def measure(_: Inputs) -> Measured:
        now = outcomes.pop(0)
        if isinstance(now, Exception):
            raise now
        return now

    return Spec("own", "A claim", "T / T", 1.05, measure)


def inputs(bound: dict[str, Any] | None, **ttft_ms: float) -> Inputs:
    of = profile(bounds={} if bound is None else {"own": {"argument": WHY} | bound})
    cells = {A: {0: ttft_ms.get("near", 20.0)}, B: {0: ttft_ms.get("far", 20.0)}}
    return Inputs([], cells, of, None, 1.0)


LACKING, UNPLANNED = MissingError("no sample at B"), NotApplicableError("no experiment")
LIMIT = {"limit": 1.2}


@pytest.mark.parametrize(
    ("bound", "outcome", "verdict", "code", "text"),
    [
        (None, HOLDS, "not-applicable", "no-bound", "study"),
        (None, LACKING, "not-applicable", "no-bound", "study"),
        ({"meaningful": False}, HOLDS, "not-applicable", "no-meaning", None),
        ({"limit": 1.2, "meaningful": False}, LACKING, "not-applicable", "no-meaning", None),
        ({}, HOLDS, "not-applicable", "not-gated", None),
        ({}, LACKING, "not-applicable", "not-gated", "no sample at B"),
        ({}, UNPLANNED, "not-applicable", "not-gated", "no experiment"),
        (LIMIT, HOLDS, "holds", "within", None),
        (LIMIT, LACKING, "inconclusive", "not-measured", "no sample at B"),
        (LIMIT, UNPLANNED, "not-applicable", "not-planned", "no experiment"),
    ],
)
def test_which_outcome_counts(bound, outcome, verdict, code, text) -> None:
    found = judge_finding(spec(outcome), inputs(bound), None)
    assert found.verdict == verdict
    assert found.reason == FindingGround(code=code, text=text)


def test_a_point_that_the_server_was_too_small_for_makes_a_finding_not_applicable() -> None:
    left = LeftOut(
        context_tokens=B.context_tokens,
        append_tokens=B.append_tokens,
        need_tokens=1568,
        limit="kv-pool",
        capacity_tokens=1500,
    )
    launch = start(0, {}).model_copy(update={"left_out": [left]})
    within = replace(inputs(LIMIT), starts=[launch])
    found = judge_finding(spec(MissingError("no valid sample", B)), within, None)
    assert found.verdict == "not-applicable"
    assert found.reason == FindingGround(code="left-out", text="L512-m1024")
    other = judge_finding(spec(MissingError("no valid sample", A)), within, None)
    assert (other.verdict, other.reason.code) == ("inconclusive", "not-measured")


def test_a_measured_finding_is_recorded_whole() -> None:
    assert judge_finding(spec(HOLDS), inputs(LIMIT), None) == Finding(
        id="own",
        claim="A claim",
        formula="T / T",
        study_value=1.05,
        measured=1.1,
        low=1.0,
        high=1.2,
        bound=1.2,
        argument=WHY,
        verdict="holds",
        standing=False,
        reason=FindingGround(code="within"),
        details={"elasticity": 0.5},
    )


def test_what_was_not_measured_has_no_figure() -> None:
    found = judge_finding(spec(LACKING), inputs(None), None)
    assert (found.measured, found.low, found.high, found.bound) == (None, None, None, None)
    assert (found.argument, found.details) == ("", {})


@pytest.mark.parametrize(
    ("before", "verdict", "standing"),
    [
        (None, "broken", False),
        (BEYOND, "regime-shift", True),
        (HOLDS, "broken", False),
        (LACKING, "broken", False),
        (UNPLANNED, "broken", False),
    ],
)
def test_what_the_reference_measured_tells_news_from_what_stands(before, verdict, standing) -> None:
    against = Against({}, {A: 20.0, B: 20.0})
    other = None if before is None else inputs(LIMIT)
    found = judge_finding(spec([BEYOND, before]), inputs(LIMIT), against, other)
    assert (found.verdict, found.standing) == (verdict, standing)


def test_an_ends_ratio_is_the_geometric_mean_over_launches() -> None:
    """Near end: 9 and 11.1 ms are 10, half of the reference's 20; far end: as it was."""
    own = inputs(LIMIT)
    cells = {A: {0: 9.0, 1: 100 / 9, 2: 10.0}, B: {0: 30.0, 1: 30.0, 2: 30.0}}
    own = Inputs(own.starts, cells, own.profile, None, 1.0)
    found = judge_finding(spec(BEYOND), own, Against({}, {A: 20.0, B: 30.0}))
    assert found.verdict == "regime-shift"
    assert isinstance(found.reason, FindingGround)
    assert found.reason.near_ratio == pytest.approx(0.5)
    assert found.reason.far_ratio == pytest.approx(1.0)


def judged(log_ms: np.ndarray, **given: Any) -> dict[str, Finding]:
    options = {"against": None, "kv_bytes_per_token": 131_072, "link_gb_per_s": 25.0} | given
    found = judge_findings(starts_of(log_ms), profile(), **options)
    assert [f.id for f in found] == [s.id for s in findings_of(profile())]
    return {f.id: f for f in found}


def flatness_of(launches: list[dict[Point, list[float]]], **given: Any) -> Finding:
    """`append_flatness`, at 20 ms wherever a launch does not say otherwise."""
    points = profile().experiment("append").as_points
    starts = [
        start(index, {point: [20.0, 20.0] for point in points} | told)
        for index, told in enumerate(launches)
    ]
    extra = given.pop("extra", [])
    options = {"against": None, "kv_bytes_per_token": None, "link_gb_per_s": 25.0}
    found = judge_findings([*starts, *extra], profile(), **options, **given)
    return next(f for f in found if f.id == "append_flatness")


FAR = max(profile().experiment("append").as_points)


def test_launches_that_agree_leave_open_what_their_own_blocks_do() -> None:
    """Two launches, at their far end 24 and 27 ms each: without a block the mean over both moves by
    half of log(27 / 24), which is twice over two launches' variances (that / 4)^2.
    """
    more = np.log(27 / 24)
    # A launch of the other side is none of these launches', and no degree of freedom.
    other = start(9, {FAR: [1.0, 2.0, 3.0]}, side="reference")
    found = flatness_of([{FAR: [24.0, 27.0]}, {FAR: [24.0, 27.0]}], extra=[other])
    half = stats.t(2).ppf(0.975) * np.sqrt(2) * more / 4
    assert found.measured == pytest.approx(25.5 / 20)
    assert np.log(found.measured / found.low) == pytest.approx(half)
    assert np.log(found.high / found.measured) == pytest.approx(half)
    assert found.verdict == "inconclusive"


def test_launches_that_differ_by_more_keep_the_interval_over_launches() -> None:
    found = flatness_of([{FAR: [23.99, 24.01]}, {FAR: [30.99, 31.01]}])
    half = stats.t(1).ppf(0.975) * np.log(31 / 24) / 2
    assert np.log(found.high / found.measured) == pytest.approx(half)


def test_a_block_without_which_a_launch_has_no_value_tells_nothing() -> None:
    """The one block that has the far end is needed; its launch has no other there to vary by."""
    found = flatness_of([{FAR: [24.0]}, {FAR: [24.0, 27.0]}, {FAR: [24.0, 27.0]}])
    logs = np.log([24 / 20, 25.5 / 20, 25.5 / 20])
    over_launches = stats.t(2).ppf(0.975) * logs.std(ddof=1) / np.sqrt(3)
    own = np.log(27 / 24) / 3 / 2  # of each of two launches; two blocks of the first do not move it
    assert np.log(found.high / found.measured) == pytest.approx(
        max(over_launches, stats.t(2).ppf(0.975) * np.sqrt(2) * own)
    )


def test_the_references_interval_is_as_honest() -> None:
    """Its two launches agree by chance at 25.5 / 20; their blocks leave room for what it became."""
    now = [{FAR: [26.0, 26.0]}, {FAR: [26.1, 26.1]}]
    points = profile().experiment("append").as_points
    before = [
        start(i, {point: [20.0, 20.0] for point in points} | {FAR: [24.0, 27.0]}) for i in range(2)
    ]
    found = flatness_of(now, before=before)
    assert (found.verdict, found.standing) == ("regime-shift", True)


def test_every_finding_is_judged_on_the_same_starts_and_the_same_reference() -> None:
    flat = np.full((3, len(POINTS)), np.log(20.0))
    shifted = flat + np.log(0.5) * np.array([p.append_tokens < 700 for p in POINTS])
    assert judged(flat)["append_flatness"].verdict == "holds"
    assert judged(shifted)["append_flatness"].verdict == "broken"
    news = judged(shifted, against=Against({}, dict.fromkeys(POINTS, 20.0)))["append_flatness"]
    assert (news.verdict, news.standing) == ("regime-shift", False)
    before = starts_of(shifted)
    other = Against({}, dict.fromkeys(POINTS, 1.0))
    standing = judged(shifted, against=other, before=before)
    assert standing["append_flatness"].standing
    transfer = judged(flat)["kv_transfer_time"]
    assert transfer.measured == pytest.approx(1024 * 131_072 / 25e9 * 1e3 / 20)
    # `before` has no start at the points: nothing stands in it.
    nothing = judged(shifted, against=None, before=[start(0, {Point(1, 1): [1.0]})])
    assert nothing["append_flatness"].verdict == "broken"


def test_what_is_moved_whatever_the_length_is_part_of_the_transfer() -> None:
    """As much again as the KV of 1,024 tokens takes twice as long; none is the default."""
    flat = np.full((3, len(POINTS)), np.log(20.0))
    alone = judged(flat)["kv_transfer_time"].measured
    assert alone is not None
    assert alone == judged(flat, kv_fixed_bytes=0)["kv_transfer_time"].measured
    fixed = judged(flat, kv_fixed_bytes=1024 * 131_072)["kv_transfer_time"]
    assert fixed.measured == pytest.approx(2 * alone)
