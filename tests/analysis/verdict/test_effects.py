"""What is said of single points and ratios once the joint test has spoken."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from append_prefill.analysis.joint import SHARES, Part, Prior
from append_prefill.analysis.moderation import Spread, own_spread
from append_prefill.analysis.power import detectable
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
from append_prefill.records.grounds import NoiseSource
from append_prefill.records.run import Effect, NoiseRecord, PointEffect
from append_prefill.workload.points import Point
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
    return Sides(a, b, a, b, tuple(points), False, 0, 0)


SIDES = sides_of(0.0, 0.02)
# Where points scatter, where launches do, and where hardly anything does.
KINDS = [SIDES, sides_of(0.1, 0.004), sides_of(1e-5, 1e-5)]
OWN_DF = 5.0
PRIOR = Prior(0.01, 16.0, None, 0.0, NoiseSource(kind="profile"))


def judge(sides: Sides):
    return joint_test(sides, NOTHING_KNOWN, POLICY, ALPHA, nights=False)


JUDGED = joint_test(SIDES, PRIOR, POLICY, ALPHA, nights=False)
NOTHING_KNOWN = Prior(None, 0.0, None, 0.0, NoiseSource(kind="profile"))
NONE = Alarm(np.array(False), {"append": np.array(False), "context": np.array(False)},
             np.zeros(len(FEW), dtype=bool))  # fmt: skip


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


@pytest.fixture
def no_fit(monkeypatch):
    monkeypatch.setattr(module, "fit_starts", lambda *_: None)


@pytest.mark.parametrize("kind", range(3))
def test_every_joint_quantity_is_said_with_its_interval_and_what_it_could_find(no_fit, kind):
    sides = KINDS[kind]
    judged = JUDGED if kind == 0 else judge(sides)
    joint, alpha, least = judged.joint, ALPHA, POLICY.min_effect
    expected = {
        "level": said(joint.level)
        | {
            "mde": least_found(joint.level, alpha * SHARES["level"], least),
            "reference": pytest.approx(np.exp(sides.reference.mean())),
            "candidate": pytest.approx(np.exp(sides.candidate.mean())),
            "tokens": None,
        }
    }
    for slope in judged.design.slopes:
        growth, end = f"{slope.axis}_growth", f"{slope.axis}_end"
        excess = least_found(joint.slopes[slope.axis], alpha * SHARES[slope.axis], 0.0)
        there = least_found(joint.ends[slope.axis], NOMINAL, least)
        blank = {"reference": None, "candidate": None}
        whole = np.expm1(np.log1p(excess) / slope.lever)
        expected[growth] = said(joint.slopes[slope.axis]) | blank | {"mde": excess, "tokens": None}
        expected[end] = said(joint.far[slope.axis]) | blank
        expected[end] |= {"mde": pytest.approx(max(whole, there)), "tokens": slope.tokens}
    found = surface_effects(sides, judged, POLICY)
    assert [effect.name for effect in found] == list(expected)
    for effect in found:
        assert effect.model_dump(exclude={"name", "verdict"}) == expected[effect.name]


def test_what_cannot_be_told_of_an_end_is_not_told_of_the_whole(no_fit, monkeypatch):
    """Two launches of which one part cannot say what it would find: neither can the larger."""
    part = JUDGED.joint.ends["append"]
    blind = Part(part.estimate, Spread(part.spread.variance, np.full(1, 1e-9)))
    judged = replace(JUDGED, joint=replace(JUDGED.joint, ends={"append": blind, "context": part}))
    mde = {e.name: e.mde for e in surface_effects(SIDES, judged, POLICY)}
    assert mde["append_end"] is None
    assert None not in (mde["append_growth"], mde["context_end"])


@pytest.mark.parametrize("verdict", ["regression", "improvement"])
@pytest.mark.parametrize("part", ["level", "append", "context"])
def test_the_parts_that_reject_are_named(no_fit, verdict, part):
    yes = np.array(True)
    alarm = (
        replace(NONE, level=yes)
        if part == "level"
        else replace(NONE, slopes={**NONE.slopes, part: yes})
    )
    both = {"slower": alarm, "faster": NONE}
    if verdict == "improvement":
        both = {"slower": NONE, "faster": alarm}
    judged = replace(JUDGED, verdict=verdict, **both)
    named = {e.name for e in surface_effects(SIDES, judged, POLICY) if e.verdict == verdict}
    assert named == ({"level"} if part == "level" else {f"{part}_growth", f"{part}_end"})


# floor, cost of a new and of a cached token of two candidate and three reference launches, in ms
FITS = [
    (23.0, 0.020, 0.001),
    (23.2, 0.0205, 0.002),
    (20.0, 0.030, 0.0),
    (20.5, 0.031, 0.001),
    (19.5, 0.029, 0.0005),
]


def fitted(monkeypatch, verdict):
    fits = [SimpleNamespace(floor=f, new=n, cached=c) for f, n, c in FITS]
    asked = []

    def fit_starts(*given):
        asked.append(given)
        return "sum", fits

    monkeypatch.setattr(module, "fit_starts", fit_starts)
    tables = [np.log(20) + 0.02 * RNG.normal(size=(n, len(FEW))) for n in (2, 3)]
    sides = Sides(*tables, *tables, FEW, False, 0, 0)
    judged = replace(JUDGED, verdict=verdict, slower=NONE, faster=NONE)
    found = {e.name: e for e in surface_effects(sides, judged, POLICY)[-3:]}
    ((points, table),) = asked
    assert points == FEW
    np.testing.assert_array_equal(table, np.concatenate(tables))
    return found


# Floors are 15 % up and costs 30 % down, both beyond their intervals.
@pytest.mark.parametrize(
    ("overall", "floor", "new_token"),
    [
        ("regression", "regression", "inconclusive"),
        ("improvement", "inconclusive", "improvement"),
        ("pass", "pass", "pass"),
        ("inconclusive", "inconclusive", "inconclusive"),
    ],
)
def test_fitted_costs_explain_in_the_direction_of_the_verdict(
    monkeypatch, overall, floor, new_token
):
    found = fitted(monkeypatch, overall)
    assert (found["floor"].verdict, found["new_token"].verdict) == (floor, new_token)


def test_fitted_costs_are_compared_by_a_t_over_launches(monkeypatch):
    found = fitted(monkeypatch, "inconclusive")
    for name, column, unit in (("floor", 0, 1), ("new_token", 1, 1e3)):
        values = np.array(FITS)[:, [column]]
        a, b = np.log(values[:2]), np.log(values[2:])
        part = Part(a.mean(axis=0) - b.mean(axis=0), own_spread(a, b))
        assert found[name].model_dump(exclude={"name", "verdict"}) == said(part) | {
            "reference": pytest.approx(unit * values[2:].mean()),
            "candidate": pytest.approx(unit * values[:2].mean()),
            "tokens": None,
            "mde": None,
        }


@pytest.mark.parametrize("lacking", ["reference", "candidate"])
def test_a_cost_that_some_launch_does_not_show_has_no_ratio(monkeypatch, lacking):
    costs = [0.001, 0.002, 0.0, 0.001, 0.0005]
    if lacking == "candidate":
        costs = [0.003, 0.0, 0.0005, 0.0005, 0.0005]
    monkeypatch.setattr(
        "tests.analysis.verdict.test_effects.FITS", [(1.0, 1.0, cost) for cost in costs]
    )
    assert fitted(monkeypatch, "pass")["cached_token"] == Effect(
        name="cached_token",
        reference=0.5,
        candidate=1.5,
        ratio=None,
        low=None,
        high=None,
        p=None,
        mde=None,
        verdict="inconclusive",
    )


def test_a_cost_below_a_microsecond_is_one(monkeypatch):
    fits = [(0.5, 1.0, cost) for cost in (0.0006, 0.0006, 0.0005, 0.0005, 0.0005)]
    monkeypatch.setattr("tests.analysis.verdict.test_effects.FITS", fits)
    found = fitted(monkeypatch, "pass")
    assert found["cached_token"].ratio == pytest.approx(1.2)
    assert found["floor"].ratio == pytest.approx(1.0)


@pytest.mark.parametrize(("verdict", "sign"), [("regression", 1), ("improvement", -1)])
def test_a_cost_whose_interval_touches_nothing_changed_is_not_named(monkeypatch, verdict, sign):
    """The interval of two launches each that scatter by half is far wider than the change."""
    wide = [
        (20.0 + 2 * sign, 1, 1),
        (30.0 + 2 * sign, 1, 1),
        (20.0, 1, 1),
        (30.0, 1, 1),
        (25, 1, 1),
    ]
    monkeypatch.setattr("tests.analysis.verdict.test_effects.FITS", wide)
    assert fitted(monkeypatch, verdict)["floor"].verdict == "inconclusive"


def medians(candidate, reference):
    """Sides whose statistic is 20 ms everywhere, and medians that much (log) above it."""
    zero = [np.full((len(side), 2), np.log(20)) for side in (candidate, reference)]
    both = zip(zero, (candidate, reference), strict=True)
    above = [table + np.array(side)[:, None] for table, side in both]
    return Sides(*zero, *above, FEW[:2], False, 0, 0)


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
    judged = judge(sides)
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
    found = point_effects([bare_point(p, 1.0, 1.0) for p in FEW[:3]], judged, POLICY, own_df=OWN_DF)
    assert [effect.verdict for effect in found] == ["inconclusive", "pass", "pass"]
    assert found[0].high == pytest.approx(np.exp(CAUGHT - 0.03))


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
