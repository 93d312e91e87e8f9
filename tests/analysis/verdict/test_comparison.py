import numpy as np
import pytest

from append_prefill.analysis.summary import summarise_points
from append_prefill.analysis.verdict.comparison import compare
from append_prefill.analysis.verdict.sides import complete
from append_prefill.analysis.verdict.unjudged import compare_with_study
from append_prefill.records.comparison import Comparison
from append_prefill.records.launch import Start
from append_prefill.records.noise import NoiseRecord
from append_prefill.records.run import Run
from append_prefill.report.reasons import comparison_reason, method_words
from append_prefill.workload.points import Point
from append_prefill.workload.policy import Plane
from tests.analysis.factory import NOISE, POINTS, POLICY, profile, start, starts_of

M = np.array([p.append_tokens for p in POINTS], dtype=float)
CONTEXT = np.array([p.context_tokens for p in POINTS], dtype=float)
P = len(POINTS)
RECORD = NoiseRecord(starts=20, nights=4, start_sd=0.01, within_sd=0.02, night_sd=0.01, points=[])


def side(seed: int, starts: int = 5, effect=0.0) -> list[Start]:
    """Launches around 20 ms whose noise averages out exactly, so that effects are exact."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(starts, 1))
    cells = rng.normal(size=(starts, P))
    if starts > 1:
        common -= common.mean(axis=0)
        common /= common.std(axis=0, ddof=1)
        cells -= cells.mean(axis=0)
    table = np.log(20) + 0.01 * common + 0.008 * cells + effect
    return starts_of(table)


def judged(a, b, kind="side-by-side", noise=RECORD, provenance="suite", **options) -> Comparison:
    return compare(
        a,
        b,
        policy=POLICY,
        noise=noise,
        kind=kind,
        reference_label="0.5.21",
        provenance=provenance,
        **options,
    )


def effect_of(found: Comparison, name: str):
    return next(effect for effect in found.surface if effect.name == name)


def test_nothing_differs() -> None:
    found = judged(side(1), side(2))
    assert found.verdict == "pass"
    assert (found.where, found.change) == ([], None)
    assert found.confirmed is True
    level = effect_of(found, "level")
    assert level.ratio == pytest.approx(1.0, abs=1e-9)
    assert level.low < 1 < level.high
    assert level.p == pytest.approx(1.0)
    assert found.mde == level.mde
    assert 0.02 < found.mde < 0.04
    assert {p.verdict for p in found.points} <= {"pass", "inconclusive"}
    assert len(found.points) == P
    assert "stored noise (20 launches, 4 sessions)" in method_words(found.method)


@pytest.mark.parametrize(
    ("effect", "region", "percent", "rejected"),
    [
        (np.full(P, 0.05), "level", 5.1, {"level"}),
        # 0.08 at m = 1024, and on average 82 % of it from m = 512 on.
        (np.log1p(0.08 * M / 1024), "append_end", 6.5, {"append_growth", "append_end"}),
        (
            np.log1p(0.09 * CONTEXT / 2048),
            "context_end",
            6.0,
            {"context_growth", "context_end"},
        ),
        (0.05 * np.eye(P)[POINTS.index(Point(512, 128))], "points", 5.1, set()),
    ],
)
def test_a_regression_is_placed(effect, region, percent, rejected) -> None:
    found = judged(side(1, effect=effect), side(2))
    assert found.verdict == "regression"
    (part,) = found.change.parts
    assert part.region == region
    assert 100 * (part.ratio - 1) == pytest.approx(percent, abs=0.1)
    assert part.low < part.ratio < part.high
    # One and the same figure, wherever it is told.
    for told in found.surface:
        if told.name == region:
            assert (told.ratio, told.low, told.high) == (part.ratio, part.low, part.high)
    if region == "points":
        assert part.points == [(512, 128)]
    named = {e.name for e in found.surface if e.verdict == "regression"}
    assert rejected <= named
    worst = max(found.points, key=lambda p: p.ratio)
    assert worst.verdict == "regression"
    assert worst.low > 1
    assert comparison_reason(found).startswith("The joint test rejects by")
    # Swapped, the same is an improvement, point by point.
    back = judged(side(2), side(1, effect=effect))
    assert back.verdict == "improvement"
    assert {p.point for p in back.points if p.verdict == "improvement"} == {
        p.point for p in found.points if p.verdict == "regression"
    }


def test_a_lone_point_is_named_alone() -> None:
    at = POINTS.index(Point(512, 128))
    found = judged(side(1, effect=0.06 * np.eye(P)[at]), side(2))
    assert [p.point.label for p in found.points if p.verdict == "regression"] == ["L512-m128"]


def test_slower_points_come_first_where_most_got_faster() -> None:
    """What prefill graphs did: a lower floor, and one compute-bound point that pays for padding."""
    at = POINTS.index(Point(204, 820))
    effect = np.where(M >= 700, 0.0, -0.4)
    effect[at] = 0.12
    found = judged(side(1, effect=effect), side(2))
    assert found.verdict == "regression"
    assert (204, 820) in found.slower_points
    slower, faster = found.change.parts
    assert (204, 820) in slower.points
    assert slower.ratio > 1 > faster.ratio
    assert set(faster.points) <= {
        (p.context_tokens, p.append_tokens) for p in POINTS if p.append_tokens < 700
    }


def test_below_the_least_effect_nothing_is_named() -> None:
    # Many launches make +1 % certain; it is still below what is worth a name.
    found = judged(side(1, starts=40, effect=0.01), side(2, starts=40))
    assert effect_of(found, "level").p < 1e-4
    assert found.verdict == "pass"
    assert "regression" not in {p.verdict for p in found.points}


def test_undecided_says_what_it_would_take() -> None:
    found = judged(side(1, effect=0.016), side(2))
    assert found.verdict == "inconclusive"
    assert found.change is None
    assert found.starts_needed is not None
    assert found.starts_needed > 5
    assert "launches per side" in comparison_reason(found)
    assert "%" in comparison_reason(found)


def test_a_slower_look_alpha_is_stricter() -> None:
    a, b = side(1, effect=0.022), side(2)
    assert judged(a, b).verdict == "regression"
    assert judged(a, b, alpha=1e-4).verdict == "inconclusive"


@pytest.mark.parametrize(("na", "nb"), [(0, 0), (0, 5), (1, 1), (1, 5), (5, 1)])
def test_fewer_than_two_starts_reach_no_verdict(na: int, nb: int) -> None:
    a, b = side(1, na, 0.5) if na else [], side(2, nb) if nb else []
    found = judged(a, b)
    if min(na, nb) == 0:
        assert found.verdict == "not-comparable"
        assert found.points == []
        return
    assert found.verdict == "inconclusive"
    assert found.mde is None
    assert found.confirmed is False
    assert all(p.low is None and p.p is None and p.ratio > 1 for p in found.points)
    assert effect_of(found, "level").ratio == pytest.approx(np.exp(0.5), rel=0.05)


@pytest.mark.parametrize(("na", "nb"), [(2, 2), (2, 5), (3, 7)])
def test_unequal_numbers(na: int, nb: int) -> None:
    found = judged(side(1, na, 0.2), side(2, nb), noise=NOISE)
    assert found.verdict == "regression"
    (part,) = found.change.parts
    assert (part.region, part.ratio) == ("level", pytest.approx(np.exp(0.2), rel=0.01))
    assert judged(side(1, na), side(2, nb), noise=NOISE).verdict in {"pass", "inconclusive"}


def test_failed_starts_and_other_sides_do_not_matter() -> None:
    a, b = side(1), side(2)
    dead = [s.model_copy(update={"failure": "died"}) for s in side(3, effect=1.0)]
    marked = [s.model_copy(update={"side": "reference"}) for s in b]
    assert judged([*a, *dead], marked) == judged(a, b)


def test_points_of_one_side_alone_are_left_out() -> None:
    a = [start(i, {Point(512, 128): [20.0 + i], Point(9, 9): [1.0]}) for i in range(3)]
    b = [start(i, {Point(512, 128): [20.5 + i], Point(8, 8): [1.0]}) for i in range(3)]
    found = judged(a, b)
    assert [p.point for p in found.points] == [Point(512, 128)]
    assert [e.name for e in found.surface] == ["level"]
    assert judged(a, [start(0, {Point(8, 8): [1.0]})]).verdict == "not-comparable"


def test_holes_are_cut_out_of_the_joint_test_and_said() -> None:
    a, b = side(1), side(2)
    a[0].series[3].ttft_ms.clear()
    a[0].series[3].block.clear()
    found = judged(a, b)
    assert found.verdict == "pass"
    assert "1 point(s)" in comparison_reason(found)
    bare = found.points[3]
    assert bare.ratio is not None
    assert (bare.low, bare.verdict) == (None, "inconclusive")


def test_complete_cuts_the_worst_first() -> None:
    a, b = np.zeros((3, 4)), np.zeros((2, 4))
    assert complete(a, b) == ([0, 1, 2], [0, 1], [0, 1, 2, 3])
    a[1, :3] = np.nan
    assert complete(a, b) == ([0, 2], [0, 1], [0, 1, 2, 3])
    a[1] = 0
    b[:, 2] = np.nan
    assert complete(a, b) == ([0, 1, 2], [0, 1], [0, 1, 3])
    assert complete(np.full((2, 2), np.nan), np.zeros((2, 2)))[0] == []


def test_noiseless_sides_do_not_divide_by_zero() -> None:
    table = np.full((3, P), np.log(20.0))
    assert judged(starts_of(table), starts_of(table)).verdict == "pass"
    assert judged(starts_of(table + 0.05), starts_of(table), noise=NOISE).verdict == "regression"


def test_across_sessions_suspects_and_says_what_would_confirm() -> None:
    found = judged(side(1, effect=0.3), side(2), kind="baseline")
    assert found.verdict == "regression"
    assert found.confirmed is False
    assert comparison_reason(found).startswith("Suspected, not confirmed")
    assert "--against 0.5.21" in comparison_reason(found)
    near = judged(side(1, effect=0.03), side(2), kind="baseline")
    assert near.verdict == "inconclusive"
    assert near.mde > judged(side(1), side(2)).mde


@pytest.mark.parametrize("nights", [0, 1])
def test_unknown_nights_cannot_tell(nights: int) -> None:
    record = NoiseRecord(
        starts=5 * nights, nights=nights, start_sd=0.01, within_sd=0.02, night_sd=None, points=[]
    )
    found = judged(side(1, effect=0.3), side(2), kind="baseline", noise=record)
    assert found.verdict == "inconclusive"
    assert "How sessions differ" in comparison_reason(found)


def test_an_empty_record_leaves_the_runs_own_spread() -> None:
    record = NoiseRecord(
        starts=0, nights=0, start_sd=None, within_sd=None, night_sd=None, points=[]
    )
    assert judged(side(1, effect=0.05), side(2), noise=record).verdict == "regression"


def test_a_noisier_run_than_the_store_says_is_judged_by_itself() -> None:
    rng = np.random.default_rng(4)
    loud = [starts_of(0.2 * rng.normal(size=(5, 1)) + np.zeros(P)) for _ in range(2)]
    level = effect_of(judged(*loud), "level")
    assert level.high / level.low > 1.5


def test_a_dearer_token_is_told_by_one_model_of_the_change() -> None:
    truth = np.maximum(19.0, 0.03 * M) + 0.002 * CONTEXT
    dearer = np.maximum(19.0, 0.033 * M) + 0.002 * CONTEXT
    rng = np.random.default_rng(5)

    def noisy(values):
        return starts_of(
            np.log(values) + 0.002 * rng.normal(size=(5, 1)) + 0.002 * rng.normal(size=(5, P))
        )

    found = judged(noisy(dearer), noisy(truth), plane=PLANE)
    assert found.verdict == "regression"
    # The study's tokens cost from m = 634 on; up to there TTFT is at the floor on both sides.
    assert {point.verdict for point in found.points if point.append_tokens <= 308} == {"pass"}
    assert "floor_points" not in found.reason.quantities
    assert "append_growth" in found.reason.quantities
    for at in found.change.points:
        truth_ms = (dearer - truth)[POINTS.index(at.point)]
        assert at.delta_ms == pytest.approx(truth_ms, abs=1.2)


PLANE = Plane(floor_append_tokens=308, argument="Of the profile these points are of.")
FLOOR = M <= 308


@pytest.mark.parametrize("stratum", ["floor", "compute"])
@pytest.mark.parametrize("verdict", ["regression", "improvement"])
def test_a_stratum_that_alone_moves_is_named(stratum, verdict) -> None:
    """Each by 4 % alone; the level's half of it is below what is told of it."""
    sign = 1 if verdict == "regression" else -1
    moved = FLOOR if stratum == "floor" else ~FLOOR
    candidate, reference = pairs_of(
        4, effect=sign * np.log1p(0.04) * moved, pairs=8, ratio=0.004, strata_ratio=(0.012, 0.004)
    )
    found = judged(candidate, reference, plane=PLANE)
    assert found.verdict == verdict
    assert f"{stratum}_points" in found.reason.quantities
    other = {"floor": "compute", "compute": "floor"}[stratum]
    assert f"{other}_points" not in found.reason.quantities
    effect = effect_of(found, f"{stratum}_points")
    assert (effect.verdict, effect_of(found, f"{other}_points").verdict) == (verdict, "pass")
    m = [p.append_tokens for p, there in zip(POINTS, moved, strict=True) if there]
    assert (effect.from_tokens, effect.tokens) == (min(m), max(m))
    (part,) = found.change.parts
    assert part.region == stratum
    assert (effect.ratio, effect.delta_ms) == pytest.approx((part.ratio, part.delta_ms))
    # Beside a mean that is weighed by the reference's times.
    assert effect.candidate == pytest.approx(effect.reference + effect.delta_ms)


def test_a_pass_needs_both_strata() -> None:
    """A floor that scatters by 8 %, beyond which nothing is open: of the level alone it would be
    one."""
    candidate, reference = pairs_of(5, pairs=15, ratio=0.002, strata_ratio=(0.08, 0.002))
    found = judged(candidate, reference, plane=PLANE)
    assert found.verdict == "inconclusive"
    assert effect_of(found, "level").verdict == "pass"
    assert effect_of(found, "compute_points").verdict == "pass"
    assert effect_of(found, "floor_points").verdict == "inconclusive"


def test_where_strata_are_told_apart_the_quiet_one_says_what_is_detectable() -> None:
    candidate, reference = pairs_of(6, pairs=8, ratio=0.002, strata_ratio=(0.08, 0.002))
    found = judged(candidate, reference, plane=PLANE)
    assert found.mde == effect_of(found, "compute_points").mde
    assert found.mde < 0.5 * effect_of(found, "level").mde
    alike = judged(candidate, reference)
    assert alike.mde == effect_of(alike, "level").mde > 2 * found.mde
    # Eight pairs would do for the quiet one, but did not settle the loud one.
    assert (found.verdict, found.starts_needed) == ("inconclusive", 9)
    assert alike.starts_needed > 12


def test_pairs_that_took_turns_by_sample_are_compared_by_like_samples() -> None:
    candidate, reference = pairs_of(7)
    like = [
        [s.model_copy(update={"alternated": "sample"}) for s in side]
        for side in (candidate, reference)
    ]
    assert judged(*like).method.statistic == "like_samples"
    for sides in ((candidate, reference), (like[0], reference), (like[0][:4], like[1])):
        expected = "like_samples" if sides[1] is like[1] else "faster_half"
        assert judged(*sides).method.statistic == expected
    apart = [[s.model_copy(update={"interleaved": False}) for s in side] for side in like]
    assert judged(*apart).method.statistic == "faster_half"
    assert judged(*like, kind="baseline").method.statistic == "faster_half"


def test_the_least_effects_of_every_quantity_are_in_milliseconds_where_there_are_times() -> None:
    found = judged(side(1, effect=0.05), side(2), plane=PLANE)
    for effect in found.surface:
        told = effect.delta_ms is not None
        assert told is not effect.name.endswith("_growth")
        if told:
            assert effect.low_ms < effect.delta_ms < effect.high_ms
            # Flat times of 20 ms: 5 % more is a millisecond.
            assert effect.delta_ms == pytest.approx(effect.reference * 0.0513, rel=0.05)


def study_run(**changes) -> Run:
    data = {
        "created_at": "2025-11-26T00:00:00Z",
        "suite": {},
        "definition": "",
        "profile": "llama-3.1-8b",
        "seed": 0,
        "identity": {},
        "subject": {},
        "state": {},
        "plan": {
            "sides": ["candidate"],
            "starts": 1,
            "samples": 1,
            "points": [],
            "drawn": [],
            "pairs": [],
            "budget_minutes": 1,
            "link_gb_per_s": 25,
        },
        "starts": [],
        "provenance": "study",
    }
    return Run.model_validate(data | changes)


def test_the_study_gives_effects_and_never_a_verdict() -> None:
    points = summarise_points(side(1, effect=0.3), profile())
    study = study_run(starts=[start(0, {p: [20.0] for p in POINTS})])
    found = compare_with_study(points, study, POLICY)
    assert (found.verdict, found.provenance, found.confirmed) == ("inconclusive", "study", False)
    assert "one value a point" in comparison_reason(found)
    assert f"{P} of {P} points" in comparison_reason(found)
    assert all(p.ratio == pytest.approx(np.exp(0.3)) and p.low is None for p in found.points)
    from_points = study_run(points=[p.model_dump() for p in summarise_points(side(2), profile())])
    assert len(compare_with_study(points, from_points, POLICY).points) == P
    assert compare_with_study([], study, POLICY).verdict == "not-comparable"
    # Through `compare`, too, even where someone gives it several launches.
    assert judged(side(1, effect=0.3), side(2), provenance="study").verdict == "inconclusive"


def pairs_of(seed: int, effect=0.0, pairs=5, *, machine=0.14, ratio=0.02, strata_ratio=(0.0, 0.0)):
    """Both sides of interleaved pairs: the machine's level is in both halves.

    `strata_ratio`: how the pairs' ratios at the floor and beyond it scatter besides, about 0, so
    that effects are exact.
    """
    rng = np.random.default_rng(seed)
    shared = np.log(20) + machine * rng.normal(size=(pairs, 1))
    scatter = rng.normal(size=(2, pairs, 1))
    scatter -= scatter.mean(axis=1, keepdims=True)
    apart = np.where(FLOOR, *(sd * of for sd, of in zip(strata_ratio, scatter, strict=True)))
    cell = 0.01 if strata_ratio == (0.0, 0.0) else 0.002
    sides = []
    for shift, name in ((effect + apart, "candidate"), (0.0, "reference")):
        table = shared + shift + ratio * rng.normal(size=(pairs, 1))
        table = table + cell * rng.normal(size=(pairs, P))
        starts = starts_of(table, side=name)
        sides.append(
            [
                s.model_copy(update={"index": i, "pair": i, "interleaved": True})
                for i, s in enumerate(starts)
            ]
        )
    return sides


def test_interleaved_pairs_are_compared_within_the_pair() -> None:
    candidate, reference = pairs_of(1, effect=0.12)
    within = judged(candidate, reference)
    assert within.verdict == "regression"
    assert "over pairs whose blocks alternated" in method_words(within.method)
    apart = [s.model_copy(update={"interleaved": False}) for s in candidate]
    assert judged(apart, reference).verdict == "inconclusive"


def test_a_pair_that_lacks_a_side_is_left_out() -> None:
    candidate, reference = pairs_of(2, effect=0.12)
    whole = judged(candidate[1:], reference[1:])
    for torn in (judged(candidate[1:], reference), judged(candidate, reference[::-1][:-1])):
        assert effect_of(torn, "level").ratio == effect_of(whole, "level").ratio


def test_one_interleaved_pair_gives_no_verdict() -> None:
    candidate, reference = pairs_of(3, pairs=1)
    assert judged(candidate, reference).verdict == "inconclusive"


def requests_of(seed: int, spread: float, level: float = 0.0, starts: int = 5) -> list[Start]:
    """Launches of nine requests a point that scatter inside a launch by `spread`."""
    rng = np.random.default_rng(seed)
    log_ms = np.log(20) + level + 0.01 * rng.normal(size=(starts, 1, 1))
    log_ms = log_ms + spread * rng.normal(size=(starts, P, 9))
    return [
        start(row, {p: np.exp(values).tolist() for p, values in zip(POINTS, table, strict=True)})
        for row, table in enumerate(log_ms)
    ]


def test_times_are_medians_and_the_change_is_of_the_faster_half() -> None:
    slow = {p: [20.0, 20.0, 20.0, 40.0, 40.0] for p in POINTS}
    half_slow = {p: [20.0, 20.0, 40.0, 40.0, 40.0] for p in POINTS}
    found = judged([start(n, half_slow) for n in range(3)], [start(n, slow) for n in range(3)])
    (point, *_) = found.points
    assert (point.reference_ms, point.candidate_ms) == (pytest.approx(20), pytest.approx(40))
    assert point.ratio == pytest.approx(2 ** (1 / 3))
    assert "faster half" in method_words(found.method)


def test_sides_that_scatter_differently_are_pointed_out() -> None:
    """The noisier side's faster half is faster, its median is not."""
    noisier = judged(requests_of(1, 0.15), requests_of(2, 0.03))
    assert noisier.surface[0].ratio < 0.93
    assert "In medians the level is" in comparison_reason(noisier)
    assert "scatter differently" in comparison_reason(noisier)
    alike = judged(requests_of(1, 0.15, level=0.1), requests_of(2, 0.15))
    assert "In medians" not in comparison_reason(alike)


def test_a_slow_down_that_only_the_medians_show_is_no_pass() -> None:
    def starts(seed: int, slow: float) -> list[Start]:
        """Of nine requests five are fast and four slow; the fifth is what the median reads."""
        rng = np.random.default_rng(seed)
        rows = np.log(20) + 0.002 * rng.normal(size=(8, P, 1)) + np.zeros(9)
        rows[..., 5:] += 0.2
        rows[..., 4] += slow
        return [
            start(n, {p: np.exp(v).tolist() for p, v in zip(POINTS, table, strict=True)})
            for n, table in enumerate(rows)
        ]

    assert judged(starts(1, 0.0), starts(2, 0.0)).verdict == "pass"
    found = judged(starts(1, 0.06), starts(2, 0.0))
    assert found.surface[0].ratio < 1.015
    assert (found.verdict, found.change) == ("inconclusive", None)
    assert "can hide" not in comparison_reason(found)
    assert "In medians the level is +6.2 %" in comparison_reason(found)


@pytest.mark.parametrize(("a_starts", "b_starts"), [(8, 8), (8, 5), (4, 8)])
def test_more_starts_than_did_not_settle_it(a_starts: int, b_starts: int) -> None:
    """By their scatter two a side would do; more than two did not: at least one more."""

    def starts(seed: int, slow: float, count: int) -> list[Start]:
        """As above, by nine requests."""
        rng = np.random.default_rng(seed)
        rows = np.log(20) + 0.0005 * rng.normal(size=(count, P, 1)) + np.zeros(9)
        rows[..., 5:] += 0.2
        rows[..., 4] += slow
        return [
            start(n, {p: np.exp(v).tolist() for p, v in zip(POINTS, table, strict=True)})
            for n, table in enumerate(rows)
        ]

    alone = NoiseRecord(starts=0, nights=0, start_sd=None, within_sd=None, night_sd=None, points=[])
    settled = judged(starts(1, 0.0, a_starts), starts(2, 0.0, b_starts), noise=alone)
    assert (settled.verdict, settled.starts_needed) == ("pass", 2)
    undecided = judged(starts(1, 0.06, a_starts), starts(2, 0.0, b_starts), noise=alone)
    assert undecided.verdict == "inconclusive"
    assert undecided.starts_needed == min(a_starts, b_starts) + 1
