"""Each step of a comparison: what it is given, and what becomes of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest

from append_prefill.analysis.prior import Prior, prior_of
from append_prefill.analysis.verdict import comparison
from append_prefill.analysis.verdict.alarms import Alarm
from append_prefill.analysis.verdict.comparison import Control, compare
from append_prefill.analysis.verdict.effects import bare_point
from append_prefill.analysis.verdict.sides import Sides
from append_prefill.records.comparison import Comparison, Effect
from append_prefill.records.grounds import Ground, Method
from append_prefill.records.noise import NoiseRecord
from append_prefill.workload.points import Point
from append_prefill.workload.policy import Plane
from tests.analysis.factory import POLICY, start

RECORD = NoiseRecord(starts=20, nights=4, start_sd=0.01, within_sd=0.02, night_sd=0.01, points=[])


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


FEW = (Point(64, 32), Point(64, 64), Point(128, 64))
NO = np.array(False)


def alarm(
    *, level=False, floor=False, compute=False, append=False, context=False, points=(False,) * 3
) -> Alarm:
    strata = {"floor": np.array(floor), "compute": np.array(compute)}
    slopes = {"append": np.array(append), "context": np.array(context)}
    return Alarm(np.array(level), strata, slopes, np.array(points))


EVERYTHING = alarm(
    level=True, floor=True, compute=True, append=True, context=True, points=[True] * 3
)


def judgement(verdict, slower=None, faster=None, **joint) -> SimpleNamespace:
    return SimpleNamespace(
        verdict=verdict,
        slower=slower or alarm(),
        faster=faster or alarm(),
        joint=SimpleNamespace(**joint),
        alpha=0.004,
        design=SimpleNamespace(shares={"level": 0.26, "floor": 0.3, "compute": 0.25}),
    )


def plain_sides(na=3, nb=4, *, paired=False, **left_out) -> Sides:
    a, b = np.full((na, 3), np.log(22.0)), np.log(np.full((nb, 3), 20.0) * [1, 2, 4])
    left = {"alike": False, "within": None, "left_out_starts": 0, "left_out_points": 0} | left_out
    return Sides(a, b, a, b, FEW, paired, **left)


@pytest.mark.parametrize(
    ("verdict", "slower", "faster", "ground"),
    [
        ("pass", None, None, {"code": "nothing-hides"}),
        ("inconclusive", alarm(level=True), None, {"code": "undecided"}),
        ("regression", alarm(level=True), alarm(append=True), {"quantities": ["level"]}),
        ("regression", alarm(floor=True), None, {"quantities": ["floor_points"]}),
        ("regression", alarm(compute=True), None, {"quantities": ["compute_points"]}),
        ("regression", alarm(append=True), None, {"quantities": ["append_growth"]}),
        ("regression", alarm(context=True), None, {"quantities": ["context_growth"]}),
        ("regression", alarm(points=[False, True, False]), None, {"single_points": True}),
        (
            "improvement",
            alarm(level=True),
            EVERYTHING,
            {
                "quantities": [
                    "level",
                    "floor_points",
                    "compute_points",
                    "append_growth",
                    "context_growth",
                ],
                "single_points": True,
            },
        ),
    ],
)
def test_the_ground_says_what_rejects(verdict, slower, faster, ground) -> None:
    sides = plain_sides(left_out_starts=2, left_out_points=1)
    found = comparison._ground(sides, judgement(verdict, slower, faster))
    assert found == Ground(**{"code": "rejected"} | ground, left_out_starts=2, left_out_points=1)


@pytest.mark.parametrize(
    ("slower", "faster", "points"),
    [
        (alarm(points=[True, False, True]), alarm(level=True), [(64, 32), (128, 64)]),
        (alarm(level=True), alarm(level=True), []),
        (alarm(points=[True, False, True]), alarm(), []),
        (alarm(), alarm(points=[True, False, True]), []),
    ],
)
def test_slower_points_are_told_where_a_run_changed_both_ways(slower, faster, points) -> None:
    found = comparison._slower_points(plain_sides(), judgement("regression", slower, faster))
    assert found == points


@pytest.mark.parametrize("verdict", ["regression", "improvement", "pass", "inconclusive"])
def test_what_changed_is_modelled_where_something_did(monkeypatch, verdict) -> None:
    asked = {}

    def change_of(*given, **options):
        asked.update(options, given=given)
        return "a change"

    monkeypatch.setattr(comparison, "change_of", change_of)
    made, times = judgement(verdict), np.array([20.0, 21.0, 22.0])
    found = comparison._change(plain_sides(2, 4), made, POLICY, times, (512, None))
    if verdict in {"pass", "inconclusive"}:
        assert (found, asked) == (None, {})
        return
    assert found == "a change"
    design, joint, given_times = asked.pop("given")
    assert design is made.design
    assert joint is made.joint
    assert given_times is times
    assert asked == {
        "per_start": 0.75,
        "min_effect": POLICY.min_effect,
        "chunks": (512, None),
    }


KNOWN = Prior(0.01, 16.0, 0.02, 3.0, "a record", pair_sd=0.03, pair_df=12.0, strata={"floor": 0.04})


def of_variance(variance) -> SimpleNamespace:
    return SimpleNamespace(spread=SimpleNamespace(variance=np.array([variance])))


@pytest.mark.parametrize(
    ("nights", "paired", "night_sd", "sd"),
    [
        (False, False, 0.02, math.sqrt(0.0075 / 0.75)),
        (False, True, 0.02, math.sqrt(0.0075 * 3)),
        (True, False, 0.02, math.sqrt((0.0075 - 2 * 0.02**2) / 0.75)),
        (True, False, 0.1, 0.0),  # the nights explain more than there is
        (True, False, None, math.sqrt(0.0075 / 0.75)),
    ],
)
def test_starts_needed_is_asked_of_the_launches_own_noise(
    monkeypatch, nights, paired, night_sd, sd
) -> None:
    asked = {}

    def needed(effect, mde_of):
        assert (effect, mde_of(6)) == (POLICY.must_catch, 0.05)
        return 7

    def mde(*given, **options):
        asked.update(options, given=given)
        return 0.05

    monkeypatch.setattr(comparison, "starts_needed", needed)
    monkeypatch.setattr(comparison, "mde", mde)
    prior = replace(KNOWN, night_sd=night_sd, night_error=0.0002)
    sides = plain_sides(3, 3, paired=True) if paired else plain_sides(2, 4)
    made = judgement("pass", level=of_variance(0.0075), strata={})
    assert comparison._starts_needed(sides, made, prior, POLICY, nights=nights) == 7
    found_sd, *starts, alpha = asked.pop("given")
    assert (starts, alpha) == ([6, 6], pytest.approx(0.004 * 0.26))
    assert found_sd == pytest.approx(sd)
    assert asked == {
        "paired": paired,
        "prior_df": 12.0 if paired else 16.0,
        "night_sd": (night_sd or 0.0) if nights else 0.0,
        "night_df": 3.0 if nights else None,
        "night_error": 0.0002 if nights else 0.0,
        "min_effect": POLICY.min_effect,
    }


@pytest.mark.parametrize(
    ("paired", "answers", "told"),
    [
        (True, [9, 5, 7], 5),
        (True, [9, None, 12], 9),
        (True, [None, None, None], None),
        (False, [9, 5, 7], 5),
    ],
)
def test_the_mean_that_takes_fewest_launches_says_how_many(
    monkeypatch, paired, answers, told
) -> None:
    """Each asked at its own part of the rate and its own noise."""
    asked, left = [], list(answers)

    def needed(effect, mde_of):
        assert effect == POLICY.must_catch
        mde_of(2)
        return left.pop(0)

    def mde(sd, starts, same, alpha, **options):
        assert (starts, same) == (2, 2)
        asked.append((sd, alpha, options["prior_df"]))

    monkeypatch.setattr(comparison, "starts_needed", needed)
    monkeypatch.setattr(comparison, "mde", mde)
    strata = {"floor": of_variance(0.03), "compute": of_variance(0.003)}
    made = judgement("pass", level=of_variance(0.012), strata=strata)
    sides = plain_sides(4, 4, paired=paired)
    assert comparison._starts_needed(sides, made, KNOWN, POLICY, nights=False) == told
    per_start, df = (0.25, 12.0) if paired else (0.5, 16.0)
    assert asked == [
        (pytest.approx(math.sqrt(v / per_start)), pytest.approx(0.004 * s), df)
        for v, s in ((0.012, 0.26), (0.03, 0.3), (0.003, 0.25))
    ]


@pytest.mark.parametrize(
    ("verdict", "needed", "told"),
    [
        ("inconclusive", None, None),
        ("inconclusive", 2, 4),  # three of four launches a side did not settle it
        ("inconclusive", 9, 9),
        ("pass", 2, 2),
        ("regression", 2, 2),
    ],
)
def test_what_did_not_settle_it_is_not_enough(monkeypatch, verdict, needed, told) -> None:
    monkeypatch.setattr(comparison, "starts_needed", lambda *_, **__: needed)
    made = judgement(verdict, level=of_variance(0.01), strata={})
    for sides in (plain_sides(3, 4), plain_sides(4, 3)):
        assert comparison._starts_needed(sides, made, KNOWN, POLICY, nights=False) == told


def one_point(*counts, **options) -> Sides:
    return replace(plain_sides(*counts, **options), points=FEW[:1])


PLANE = Plane(floor_append_tokens=32, argument="Of the profile these points are of.")


def level_effect(mde=0.02, name="level") -> Effect:
    return Effect(
        name=name, reference=20.0, candidate=22.0, ratio=1.1, low=1.0, high=1.2, p=0.5, mde=mde,
        verdict="pass",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("level", "floor", "compute", "told"),
    [
        (0.02, 0.05, 0.01, 0.01),
        (0.02, 0.01, 0.05, 0.01),
        (0.02, None, None, 0.02),
        (None, 0.03, None, 0.03),
        (None, None, None, None),
    ],
)
def test_an_effect_everywhere_is_found_by_the_mean_that_shows_it_first(
    level, floor, compute, told
) -> None:
    surface = [
        level_effect(level),
        level_effect(floor, "floor_points"),
        level_effect(compute, "compute_points"),
        # What grows with m or L, or is so at an end, is not everywhere.
        level_effect(0.001, "append_growth"),
        level_effect(0.001, "context_end"),
    ]
    assert comparison._least_everywhere(surface) == told


@pytest.fixture
def steps(monkeypatch):
    """Every step of `compare` replaced by what records its arguments; `made` is what they say."""
    made = SimpleNamespace(
        asked={},
        sides=one_point(),
        judged=SimpleJudged("pass"),
        apart=None,
    )

    def step(name, result):
        def record(*given, **options):
            made.asked[name] = (given, options)
            return result()

        monkeypatch.setattr(comparison, name, record)

    step("sides_of", lambda: made.sides)
    step("joint_test", lambda: made.judged)
    step("median_level", lambda: made.apart)
    step("surface_effects", lambda: [level_effect()])
    step("point_effects", lambda: [bare_point(FEW[0], 20.0, 22.0)])
    step("_starts_needed", lambda: 9)
    step("_change", lambda: None)
    step("_slower_points", lambda: [(64, 32)])
    step("_ground", lambda: Ground(code="nothing-hides", left_out_starts=1))
    return made


@dataclass(frozen=True)
class SimpleJudged:
    verdict: str


def launches(count=2, *, interleaved=False, side="candidate", point=FEW[0], first=0):
    return [
        start(first + n, {point: [20.0 + n]}, side=side).model_copy(
            update={"interleaved": interleaved, "pair": first + n}
        )
        for n in range(count)
    ]


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("kind", ["side-by-side", "baseline"])
@pytest.mark.parametrize(
    ("interleaved", "paired"), [((True, True), True), ((True, False), False), ((False,) * 2, False)]
)
def test_a_comparison_is_made_of_its_steps(steps, kind, interleaved, paired, alike) -> None:
    steps.sides = one_point(alike=alike)
    a, b = launches(3, interleaved=interleaved[0]), launches(2, interleaved=interleaved[1])
    found = judged(a, b, kind=kind, reference_version="0.5.22", plane=PLANE, pass_confidence=0.9)
    paired = paired and kind == "side-by-side"
    asked, nights = steps.asked, kind == "baseline"
    # Of interleaved launches only whole pairs are compared, and shown.
    assert asked["sides_of"] == ((a[:2] if paired else a, b, [FEW[0]]), {"paired": paired})
    prior = prior_of(RECORD)
    rate = POLICY.false_alarm_rate
    given, options = asked["joint_test"]
    of_points = options.pop("times_ms")
    assert given == (steps.sides, prior, POLICY, rate)
    # Across sessions the noise that is known is the level's: no strata.
    plane = PLANE.model_copy(update={"floor_append_tokens": None}) if nights else PLANE
    rates = {"pass_confidence": 0.9, "hold_rate": 0.0, "alpha_faster": None}
    assert options == {"nights": nights, "plane": plane, **rates}
    assert asked["median_level"] == ((steps.sides, POLICY), {})
    times = (20.0 * 21.0) ** 0.5, (20.0 * 21.0 * 22.0) ** (1 / 3)
    bare = bare_point(FEW[0], times[0], times[0] if paired else times[1])
    # The reference's, of the points that the sides have.
    assert of_points.tolist() == pytest.approx([times[0]])
    for step in ("surface_effects", "_change"):
        (*given, given_times), options = asked[step]
        if step == "_change":
            # These servers did not tell their chunk sizes.
            given, given_times, sizes = given[:-1], given[-1], given_times
            assert sizes == (None, None)
        assert given_times is of_points
        assert options == {}
        assert set(map(id, given)) == {id(steps.sides), id(steps.judged), id(POLICY)}
    ((given, of, policy), options) = asked["point_effects"]
    assert (of, policy, options) == (steps.judged, POLICY, {"own_df": steps.sides.own_df})
    assert [p.model_dump() for p in given] == [pytest.approx(bare.model_dump())]
    assert asked["_starts_needed"] == (
        (steps.sides, steps.judged, prior, POLICY),
        {"nights": nights},
    )
    assert asked["_slower_points"] == asked["_ground"] == ((steps.sides, steps.judged), {})
    assert found == Comparison(
        reference="0.5.21",
        reference_version="0.5.22",
        kind=kind,
        provenance="suite",
        confirmed=kind == "side-by-side",
        method=Method(
            statistic="like_samples" if alike else "faster_half",
            paired=paired,
            alpha=rate,
            min_effect=POLICY.min_effect,
            must_catch=POLICY.must_catch,
            pass_confidence=0.9,
            noise=prior.source,
        ),
        points=[bare_point(FEW[0], 20.0, 22.0)],
        surface=[level_effect()],
        mde=0.02,
        starts_needed=9,
        verdict="pass",
        where=[],
        slower_points=[(64, 32)],
        reason=Ground(code="nothing-hides", left_out_starts=1),
    )


def test_through_a_control_ratios_to_it_are_compared_and_it_is_named(steps, monkeypatch) -> None:
    """At the rates it is given; what is known of sessions is what is known of their ratios."""

    def through(*given):
        steps.asked["sides_through_control"] = given
        return steps.sides

    monkeypatch.setattr(comparison, "sides_through_control", through)
    a, b = launches(2), launches(2)
    pairs = Control("0.5.19", list(zip(a, b, strict=True)), list(zip(b, a, strict=True)))
    known = RECORD.model_copy(update={"pair_sd": 0.01, "pairs": 8, "ratio_night_sd": 0.005})
    found = judged(
        a, b, "baseline", known, control=pairs, plane=PLANE, alpha=0.004, alpha_faster=0.02
    )
    assert steps.asked["sides_through_control"] == (pairs.candidate, pairs.reference, [FEW[0]])
    assert "sides_of" not in steps.asked
    (_, prior, _, alpha), options = steps.asked["joint_test"]
    assert prior == prior_of(known).through_control() != prior_of(known)
    assert (alpha, options["alpha_faster"]) == (0.004, 0.02)
    # Their ratios stand as far apart as pairs do, so the strata tell something.
    assert options["plane"] == PLANE
    assert (found.method.control, found.method.alpha) == ("0.5.19", 0.004)
    assert judged(a, b).method.control is None


@pytest.mark.parametrize(
    ("verdict", "apart", "said"),
    [
        ("pass", None, "pass"),
        ("pass", 0.5, "pass"),
        ("pass", 1.249, "pass"),
        ("pass", 1.25, "inconclusive"),
        ("regression", 2.0, "regression"),
        ("improvement", 2.0, "improvement"),
        ("inconclusive", 2.0, "inconclusive"),
    ],
)
def test_what_may_not_hide_in_a_pass_shows_in_the_medians(steps, verdict, apart, said) -> None:
    steps.judged, steps.apart = SimpleJudged(verdict), apart
    policy = POLICY.model_copy(update={"must_catch": 0.25})
    found = compare(
        launches(), launches(), policy=policy, noise=RECORD, kind="side-by-side",
        reference_label="x", provenance="suite", alpha=0.003, pass_confidence=0.98,
        hold_rate=0.2,
    )  # fmt: skip
    assert (found.verdict, found.reason.medians_ratio) == (said, apart)
    assert found.reason.left_out_starts == 1
    assert steps.asked["_ground"][0][1].verdict == said
    # A level of one's own for this interim analysis.
    (_, _, _, alpha), options = steps.asked["joint_test"]
    assert found.method.alpha == alpha == 0.003
    assert found.method.pass_confidence == options["pass_confidence"] == 0.98
    assert options["hold_rate"] == 0.2


def test_the_times_that_are_shown_may_be_of_more_launches(steps) -> None:
    shown = launches(1), launches(1, first=3)
    judged(launches(), launches(), shown=shown)
    ((given, *_), _) = steps.asked["point_effects"]
    assert (given[0].candidate_ms, given[0].reference_ms) == pytest.approx((20.0, 20.0))
    # And so are those that a change in milliseconds is of.
    assert steps.asked["joint_test"][1]["times_ms"].tolist() == pytest.approx([20.0])
    other = launches(1, point=FEW[1]), launches(1, point=FEW[1])
    found = judged(launches(), launches(), shown=other, provenance="study")
    assert (found.points[0].candidate_ms, found.points[0].reference_ms) == (None, None)


NO_NIGHTS = {"noise": RECORD.model_copy(update={"night_sd": None}), "kind": "baseline"}
ONE_NIGHT = {"noise": RECORD.model_copy(update={"nights": 1}), "kind": "baseline"}


@pytest.mark.parametrize(
    ("changes", "verdict", "code"),
    [
        ({"reference": launches(point=FEW[1])}, "not-comparable", "no-common-point"),
        ({"provenance": "study"}, "inconclusive", "one-value-a-point"),
        (NO_NIGHTS, "inconclusive", "between-nights-unknown"),
        (ONE_NIGHT, "inconclusive", "between-nights-unknown"),
        ({"sides": one_point(1, 4)}, "inconclusive", "too-few-launches"),
        ({"sides": one_point(4, 1)}, "inconclusive", "too-few-launches"),
    ],
)
def test_why_nothing_is_judged(steps, changes, verdict, code) -> None:
    given = {"reference": launches(), "kind": "side-by-side", "noise": RECORD} | changes
    steps.sides = given.pop("sides", one_point(2, 2))
    found = judged(launches(), given.pop("reference"), reference_version="0.5.22", **given)
    assert found.verdict == verdict
    counts = {}
    if code == "too-few-launches":
        counts = {
            "candidate_starts": len(steps.sides.candidate),
            "reference_starts": len(steps.sides.reference),
        }
    assert found.reason == Ground(code=code, **counts)
    assert (found.reference, found.reference_version) == ("0.5.21", "0.5.22")
    assert (found.kind, found.provenance) == (given["kind"], given.get("provenance", "suite"))
    assert "joint_test" not in steps.asked
    points = [] if verdict == "not-comparable" else [FEW[0]]
    assert [p.point for p in found.points] == points


def test_two_launches_per_side_are_judged(steps) -> None:
    steps.sides = one_point(2, 2)
    assert judged(launches(), launches()).verdict == "pass"


def test_nights_known_by_one_degree_of_freedom_are_known(steps) -> None:
    two = NoiseRecord(starts=10, nights=2, start_sd=0.01, within_sd=0.02, night_sd=0.01, points=[])
    assert prior_of(two).night_df == 1
    assert judged(launches(), launches(), kind="baseline", noise=two).verdict == "pass"
    assert "joint_test" in steps.asked
    # Side by side no night is between them.
    steps.asked.clear()
    assert judged(launches(), launches(), noise=NO_NIGHTS["noise"]).verdict == "pass"
