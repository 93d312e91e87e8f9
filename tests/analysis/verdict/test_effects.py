"""What is said of single points and ratios once the joint test has spoken."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from append_prefill.analysis.design import SHARES
from append_prefill.analysis.detection import detectable
from append_prefill.analysis.estimator import Part
from append_prefill.analysis.moderation import Spread
from append_prefill.analysis.prior import Prior
from append_prefill.analysis.verdict import effects as module
from append_prefill.analysis.verdict.alarms import NOMINAL, Alarm
from append_prefill.analysis.verdict.comparison import compare
from append_prefill.analysis.verdict.effects import (
    LOG_MAX,
    _ratio,
    bare_point,
    median_level,
    point_effects,
    surface_effects,
)
from append_prefill.analysis.verdict.joint_test import joint_test
from append_prefill.analysis.verdict.sides import Sides
from append_prefill.records.comparison import PointEffect
from append_prefill.records.grounds import NoiseSource
from append_prefill.records.noise import NoiseRecord
from append_prefill.workload.points import Point
from append_prefill.workload.policy import Plane
from tests.analysis.factory import POINTS, POLICY, starts_of

QUIET = NoiseRecord(starts=0, nights=0, start_sd=None, within_sd=None, night_sd=None, points=[])


def compared(effects, kind="side-by-side"):
    """Nine launches per side that scatter by 0.01 %, the candidate with `effects` (relative) on
    top."""
    rng = np.random.default_rng(3)
    a, b = (np.log(20) + 1e-4 * rng.normal(size=(9, len(POINTS))) for _ in range(2))
    return compare(
        starts_of(a + np.log1p(effects)),
        starts_of(b),
        policy=POLICY,
        noise=QUIET,
        kind=kind,
        reference_label="0.5.21",
        provenance="suite",
    )


# Every other point is 5 % slower (or faster), so the joint test rejects; min_effect is 1.5 %.
@pytest.mark.parametrize(
    ("others", "effect", "verdict"),
    [
        (0.05, 0.05, "regression"),
        (0.05, 0.016, "regression"),
        (0.05, 0.014, "pass"),  # beyond doubt, and not worth a name
        (0.05, 0.0, "pass"),
        (0.05, -0.1, "pass"),
        (-0.05, -0.05, "improvement"),
        (-0.05, -0.016, "improvement"),
        (-0.05, -0.014, "pass"),
        (0.0, 0.0, "pass"),
    ],
)
def test_a_point_is_named_by_an_effect_worth_a_name(others, effect, verdict):
    effects = np.full(len(POINTS), others)
    effects[4] = effect
    found = compared(effects)
    assert found.verdict == {0.05: "regression", -0.05: "improvement", 0.0: "pass"}[others]
    point = found.points[4]
    assert point.ratio == pytest.approx(1 + effect, abs=1e-3)
    assert point.verdict == verdict
    if effect:
        assert point.p < 0.001


def test_no_point_is_named_where_the_joint_test_does_not_reject():
    """Each at +2 %, each side's launches scattering by 4 % in common: no call, so no names."""
    rng = np.random.default_rng(6)
    a, b = (np.log(20) + 0.04 * rng.normal(size=(3, 1)) + np.zeros(len(POINTS)) for _ in range(2))
    found = compare(
        starts_of(a + 0.02),
        starts_of(b),
        policy=POLICY,
        noise=QUIET,
        kind="side-by-side",
        reference_label="0.5.21",
        provenance="suite",
    )
    assert found.verdict == "inconclusive"
    assert {p.verdict for p in found.points} == {"inconclusive"}


def test_a_ratio_beyond_all_measure_is_none():
    assert _ratio(0.0) == 1.0
    assert _ratio(LOG_MAX) == pytest.approx(1e9)
    for log in (1.001 * LOG_MAX, -1.001 * LOG_MAX, 1e6, float("inf")):
        assert _ratio(log) is None


# What is said of each quantity and point, against what the joint test estimated of it.

ALPHA = 0.01
FEW = tuple(POINTS[:6])
RNG = np.random.default_rng(8)


def sides_of(common: float, cell: float, points=FEW) -> Sides:
    """Three launches against four; sd of their levels and of single points beyond them."""
    a, b = (
        np.log(20) + common * RNG.normal(size=(n, 1)) + cell * RNG.normal(size=(n, len(points)))
        for n in (3, 4)
    )
    return made_of(a, b, points)


def made_of(a, b, points=FEW, medians=None) -> Sides:
    a_medians, b_medians = medians or (a, b)
    return Sides(a, b, a_medians, b_medians, tuple(points), False, False, None, 0, 0)


SIDES = sides_of(0.0, 0.02)
# Where points scatter, where launches do, and where hardly anything does.
KINDS = [SIDES, sides_of(0.1, 0.004), sides_of(1e-5, 1e-5)]
OWN_DF = 5.0
PRIOR = Prior(0.01, 16.0, None, 0.0, NoiseSource(kind="profile"))


TIMES = np.array([20.0, 21.0, 20.5, 20.0, 22.0, 25.0])
PLANE = Plane(
    floor_append_tokens=256,
    weights=((FEW[0].context_tokens, FEW[0].append_tokens, 3.0),),
    argument="Three of these six points are at the floor.",
)
STRATA = ("floor", "compute")


def judge(sides: Sides, prior=None, plane=PLANE):
    return joint_test(
        sides,
        prior or NOTHING_KNOWN,
        POLICY,
        ALPHA,
        nights=False,
        plane=plane,
        times_ms=TIMES[: len(sides.points)],
    )


NOTHING_KNOWN = Prior(None, 0.0, None, 0.0, NoiseSource(kind="profile"))
JUDGED = judge(SIDES, PRIOR)
NO = np.array(False)
NONE = Alarm(
    NO,
    dict.fromkeys(STRATA, NO),
    {"append": NO, "context": NO},
    np.zeros(len(FEW), dtype=bool),
)


def said(part, at=0):
    """Ratio, ends of the 95 % interval and two-sided p of one effect, from its t distribution."""
    value, se, df = part.estimate[at], part.spread.variance[at] ** 0.5, part.spread.df[at]
    half = stats.t.ppf(0.975, df) * se
    return {
        "ratio": pytest.approx(np.exp(value)),
        "low": pytest.approx(np.exp(value - half)),
        "high": pytest.approx(np.exp(value + half)),
        "p": pytest.approx(2 * stats.t.sf(abs(value) / se, df)),
    }


def least_found(part, alpha, min_effect, at=0):
    """The effect that a run like this finds; of a prior's degrees of freedom 0.4 count."""
    se, df = float(part.spread.se[at]), float(part.spread.df[at])
    df = OWN_DF + 0.4 * (df - OWN_DF) if df > OWN_DF else df
    return detectable(se, df, alpha, min_effect=min_effect)


def in_ms(timed, row):
    """The same in milliseconds: the mean by time, of the reference's mean TTFT over the points."""
    mean = row @ TIMES / row.sum()
    value, se, df = timed.estimate[0], timed.spread.variance[0] ** 0.5, timed.spread.df[0]
    half = stats.t.ppf(0.975, df) * se
    delta, low, high = (mean * np.expm1(x) for x in (value, value - half, value + half))
    return {
        "reference": pytest.approx(mean),
        "candidate": pytest.approx(mean + delta),
        "delta_ms": pytest.approx(delta),
        "low_ms": pytest.approx(low),
        "high_ms": pytest.approx(high),
    }


NO_MS = dict.fromkeys(("reference", "candidate", "delta_ms", "low_ms", "high_ms"))
NO_TOKENS = {"tokens": None, "from_tokens": None}


def surface_of(judged, sides=SIDES):
    return surface_effects(sides, judged, POLICY, TIMES)


@pytest.mark.parametrize("kind", range(3))
def test_every_joint_quantity_is_said_with_its_interval_and_what_it_could_find(kind):
    judged = JUDGED if kind == 0 else judge(KINDS[kind])
    joint, alpha, least, design = judged.joint, ALPHA, POLICY.min_effect, judged.design
    expected = {
        "level": said(joint.level)
        | in_ms(joint.timed["level"], design.weights)
        | {"mde": pytest.approx(least_found(joint.level, alpha * SHARES["level"], least))}
        | NO_TOKENS
    }
    m = np.array([p.append_tokens for p in FEW])
    for stratum in STRATA:
        part, group = joint.strata[stratum], design.strata[stratum]
        expected[f"{stratum}_points"] = (
            said(part)
            | in_ms(joint.timed[stratum], group.astype(float))
            | {"mde": pytest.approx(least_found(part, alpha * SHARES[stratum], least))}
            | {"tokens": m[group].max(), "from_tokens": m[group].min()}
        )
    for slope in design.slopes:
        growth, end = f"{slope.axis}_growth", f"{slope.axis}_end"
        excess = least_found(joint.slopes[slope.axis], alpha * SHARES[slope.axis], 0.0)
        there = least_found(joint.ends[slope.axis], NOMINAL, least)
        whole = np.expm1(np.log1p(excess) / slope.lever)
        expected[growth] = said(joint.slopes[slope.axis]) | NO_MS | NO_TOKENS
        expected[growth]["mde"] = pytest.approx(excess)
        expected[end] = said(joint.ends[slope.axis]) | in_ms(joint.timed[slope.axis], slope.end)
        expected[end] |= {
            "mde": pytest.approx(max(whole, there)),
            "tokens": slope.tokens,
            "from_tokens": slope.from_tokens,
        }
    found = surface_of(judged, KINDS[kind])
    assert [effect.name for effect in found] == list(expected)
    for effect in found:
        assert effect.model_dump(exclude={"name", "verdict"}) == expected[effect.name]


def test_without_strata_none_is_said():
    found = surface_of(judge(SIDES, plane=Plane()))
    assert [effect.name for effect in found] == [
        "level", "append_growth", "append_end", "context_growth", "context_end",
    ]  # fmt: skip


def test_what_cannot_be_told_of_an_end_is_not_told_of_the_whole():
    """Two launches of which one part cannot say what it would find: neither can the larger."""
    part = JUDGED.joint.ends["append"]
    blind = Part(part.estimate, Spread(part.spread.variance, np.full(1, 1e-9)))
    judged = replace(JUDGED, joint=replace(JUDGED.joint, ends={"append": blind, "context": part}))
    mde = {e.name: e.mde for e in surface_of(judged)}
    assert mde["append_end"] is None
    assert None not in (mde["append_growth"], mde["context_end"])


def test_milliseconds_beyond_all_measure_are_none():
    """An interval whose end is no ratio has no end in milliseconds, and the effect stays."""
    blind = Part(np.zeros(1), Spread(np.ones(1), np.full(1, 0.01)))
    joint = replace(JUDGED.joint, timed={**JUDGED.joint.timed, "level": blind})
    level = surface_of(replace(JUDGED, joint=joint))[0]
    assert (level.delta_ms, level.low_ms, level.high_ms) == (0.0, None, None)
    assert level.candidate == level.reference
    gone = Part(np.full(1, 2 * LOG_MAX), blind.spread)
    joint = replace(JUDGED.joint, timed={**JUDGED.joint.timed, "level": gone})
    level = surface_of(replace(JUDGED, joint=joint))[0]
    assert (level.delta_ms, level.candidate) == (None, None)


@pytest.mark.parametrize("verdict", ["regression", "improvement"])
@pytest.mark.parametrize("part", ["level", *STRATA, "append", "context"])
def test_the_parts_that_reject_are_named(verdict, part):
    yes = np.array(True)
    if part == "level":
        alarm, names = replace(NONE, level=yes), {"level"}
    elif part in STRATA:
        alarm = replace(NONE, strata={**NONE.strata, part: yes})
        names = {f"{part}_points"}
    else:
        alarm = replace(NONE, slopes={**NONE.slopes, part: yes})
        names = {f"{part}_growth", f"{part}_end"}
    both = {"slower": alarm, "faster": NONE}
    if verdict == "improvement":
        both = {"slower": NONE, "faster": alarm}
    judged = replace(JUDGED, verdict=verdict, **both)
    assert {e.name for e in surface_of(judged) if e.verdict == verdict} == names


def test_each_quantity_passes_for_itself():
    """Where nothing is called, what is quiet enough passes and the rest is open."""
    joint = replace(JUDGED.joint, level=QUIET_PART, strata={"floor": LOUD, "compute": QUIET_PART})
    ends = {"append": LOUD, "context": QUIET_PART}
    judged = replace(JUDGED, verdict="inconclusive", joint=replace(joint, ends=ends))
    said = {effect.name: effect.verdict for effect in surface_of(judged)}
    assert (said["level"], said["floor_points"]) == ("pass", "inconclusive")
    assert (said["compute_points"], said["append_end"]) == ("pass", "inconclusive")
    assert said["context_end"] == "pass"


QUIET_PART = Part(np.zeros(1), Spread(np.full(1, 1e-8), np.full(1, 8.0)))
LOUD = Part(np.zeros(1), Spread(np.ones(1), np.full(1, 8.0)))


def medians(candidate, reference):
    """Sides whose statistic is 20 ms everywhere, and medians that much (log) above it."""
    zero = [np.full((len(side), 2), np.log(20)) for side in (candidate, reference)]
    both = zip(zero, (candidate, reference), strict=True)
    above = [table + np.array(side)[:, None] for table, side in both]
    return made_of(*zero, FEW[:2], above)


AT = float(np.log1p(POLICY.must_catch))


@pytest.mark.parametrize(
    ("candidate", "reference", "ratio"),
    [
        ([0.1, 0.1001, 0.0999], [0.0, 0.0001, -0.0001], np.exp(0.1)),
        ([0.0, 0.0001, -0.0001], [0.1, 0.1001, 0.0999], np.exp(-0.1)),
        ([1.01 * AT] * 3, [0.0] * 3, np.exp(1.01 * AT)),
        ([0.99 * AT] * 3, [0.0] * 3, None),
        # 0.1 apart, of which launches that scatter by as much are not sure.
        ([0.0, 0.1, 0.2], [-0.1, 0.0, 0.1], None),
        # The mean over launches counts, not the first.
        ([0.98 * AT, 1.02 * AT, 1.03 * AT], [0.0] * 3, np.exp(1.01 * AT)),
        ([1.01 * AT] * 3, [0.02 * AT, -0.01 * AT, -0.01 * AT], np.exp(1.01 * AT)),
        # The same on both sides is no difference.
        ([0.1, 0.1, 0.1], [0.1, 0.1, 0.1], None),
    ],
)
def test_medians_that_say_otherwise_are_said(candidate, reference, ratio):
    found = median_level(medians(candidate, reference), POLICY)
    assert found == (None if ratio is None else pytest.approx(ratio))


def test_a_level_that_the_statistic_has_too_is_not_the_medians():
    made = medians([0.0, 0.001, -0.001], [0.0, 0.001, -0.001])
    slower = replace(
        made, candidate=made.candidate + 0.2, candidate_medians=made.candidate_medians + 0.2
    )
    assert median_level(slower, POLICY) is None


def test_medians_are_apart_at_what_must_be_caught_and_one_in_a_hundred(monkeypatch):
    sides = medians([0.25] * 3, [0.0] * 3)
    apart = float((sides.candidate_medians - sides.candidate).mean(axis=1).mean())
    policy = POLICY.model_copy(update={"must_catch": float(np.expm1(apart))})
    assert np.log1p(policy.must_catch) == apart
    for p, known in ((0.01, True), (np.nextafter(0.01, 1), False)):
        monkeypatch.setattr(module, "_two_sided", lambda *_, p=p: p)
        assert (median_level(sides, policy) is not None) is known


@pytest.mark.parametrize("kind", range(3))
def test_each_points_effect_stands_in_its_row(kind):
    judged = JUDGED if kind == 0 else judge(KINDS[kind])
    bare = [bare_point(p, 20.0, 21.0) for p in reversed(FEW)]
    left_out = bare_point(Point(9, 9), 1.0, 2.0)
    found = point_effects([left_out, *bare], judged, POLICY, own_df=OWN_DF)
    assert found[0] is left_out
    assert [effect.point for effect in found[1:]] == list(reversed(FEW))
    joint, share = judged.joint, ALPHA * SHARES["points"] / len(FEW)
    for effect in found[1:]:
        at = FEW.index(effect.point)
        mde = max(
            least_found(joint.excess, share, POLICY.min_effect, at),
            least_found(joint.absolute, NOMINAL, POLICY.min_effect, at),
        )
        assert effect.model_dump(exclude={"verdict"}) == said(joint.absolute, at) | {
            "context_tokens": effect.point.context_tokens,
            "append_tokens": effect.point.append_tokens,
            "reference_ms": 20.0,
            "candidate_ms": 21.0,
            "mde": pytest.approx(mde),
        }


def test_points_that_are_no_family_share_the_whole_rate():
    """Two points have no part of the joint test's rate, so none is taken off what they show."""
    sides = sides_of(0.0, 0.05, FEW[:2])
    judged = judge(sides, plane=Plane())
    assert "points" not in judged.design.shares
    found = point_effects([bare_point(p, 1.0, 1.0) for p in FEW[:2]], judged, POLICY, own_df=OWN_DF)
    for at, effect in enumerate(found):
        excess = least_found(judged.joint.excess, ALPHA / 2, POLICY.min_effect, at)
        absolute = least_found(judged.joint.absolute, NOMINAL, POLICY.min_effect, at)
        assert effect.mde == pytest.approx(max(excess, absolute))
        assert excess > absolute


class Rows:
    """Absolute effects of three points, with p in either direction and half widths as told, of the
    interval that is shown; those of a pass may be wider.
    """

    def __init__(self, estimate, p, half, wider=0.0):
        self.estimate, self._p = np.array(estimate, dtype=float), np.array(p, dtype=float)
        self.spread = SimpleNamespace(
            half_width=lambda of=0.95: np.array(half) + wider * (of - 0.95),
            se=np.ones(3),
            df=np.ones(3),
        )

    def p(self, sign):
        return np.where(sign * self.estimate > 0, self._p, 1 - self._p)


NAMED, CAUGHT = float(np.log1p(POLICY.min_effect)), float(np.log1p(POLICY.must_catch))


@pytest.mark.parametrize("verdict", ["regression", "improvement"])
@pytest.mark.parametrize(
    ("rows", "alarmed", "named"),
    [
        (([NAMED, NAMED - 1e-9, 1.0], [0.001] * 3), [False, False, True], [0, 2]),
        (([NAMED, NAMED - 1e-9, -NAMED], [0.001] * 3), [True, False, False], [0]),
        # Beyond doubt, and by the step-up rule over all three: 0.05 / 3 for the least of them.
        (([1.0, 1.0, 1.0], [0.016, 0.4, 0.4]), [False, False, True], [0, 2]),
        (([1.0, 1.0, 1.0], [0.017, 0.4, 0.4]), [False, False, True], [2]),
        (([1.0, 1.0, 1.0], [0.05, 0.05, 0.05]), [False, True, False], [0, 1, 2]),
        # Its own alarm names a point, whatever the family says.
        (([0.0, 0.0, 1.0], [0.5, 0.5, 0.5]), [True, False, False], [0]),
        # Without any alarm in the direction of the verdict none is named.
        (([1.0, 1.0, 1.0], [0.001] * 3), [False, False, False], []),
    ],
)
def test_which_points_are_named(monkeypatch, verdict, rows, alarmed, named):
    sign = -1 if verdict == "improvement" else 1
    estimate, p = rows
    rows = Rows(sign * np.array(estimate), p, [9.0, 9.0, 9.0])
    monkeypatch.setattr(module, "_mde", lambda *_: None)
    alarm = replace(NONE, points=np.array(alarmed))
    both = {"slower": alarm, "faster": NONE} if sign == 1 else {"slower": NONE, "faster": alarm}
    judged = replace(
        JUDGED,
        verdict=verdict,
        joint=replace(JUDGED.joint, absolute=rows),
        design=replace(JUDGED.design, points=FEW[:3]),
        **{name: replace(a, points=a.points[:3]) for name, a in both.items()},
    )
    found = point_effects([bare_point(p, 1.0, 1.0) for p in FEW[:3]], judged, POLICY, own_df=OWN_DF)
    assert [n for n, effect in enumerate(found) if effect.verdict == verdict] == named
    assert {effect.verdict for effect in found} <= {verdict, "inconclusive"}


def test_a_point_passes_if_its_interval_ends_below_what_must_be_caught(monkeypatch):
    rows = Rows([0.0, 0.0, -0.5], [0.5] * 3, [CAUGHT - 0.03, CAUGHT - 0.03 - 1e-9, CAUGHT], 1.0)
    monkeypatch.setattr(module, "_mde", lambda *_: None)
    judged = replace(
        JUDGED,
        verdict="pass",
        pass_confidence=0.98,
        joint=replace(JUDGED.joint, absolute=rows),
        design=replace(JUDGED.design, points=FEW[:3]),
        slower=replace(NONE, points=np.zeros(3, bool)),
    )
    bare = [bare_point(p, 1.0, 1.0) for p in FEW[:3]]
    found = point_effects(bare, judged, POLICY, own_df=OWN_DF)
    assert [effect.verdict for effect in found] == ["inconclusive", "pass", "pass"]
    # At the confidence that the whole's pass rests on; the interval beside it is of 95 %.
    surer = point_effects(bare, replace(judged, pass_confidence=0.99), POLICY, own_df=OWN_DF)
    assert [effect.verdict for effect in surer] == ["inconclusive", "inconclusive", "pass"]
    assert [e.model_dump(exclude={"verdict"}) for e in surer] == [
        e.model_dump(exclude={"verdict"}) for e in found
    ]


@pytest.mark.parametrize(
    ("reference", "candidate", "ratio"),
    [(20.0, 25.0, 1.25), (None, 25.0, None), (20.0, None, None), (None, None, None)],
)
def test_a_bare_point_has_its_times_and_their_ratio(reference, candidate, ratio):
    assert bare_point(Point(64, 32), reference, candidate) == PointEffect(
        context_tokens=64,
        append_tokens=32,
        reference_ms=reference,
        candidate_ms=candidate,
        ratio=ratio,
        low=None,
        high=None,
        p=None,
        mde=None,
        verdict="inconclusive",
    )
