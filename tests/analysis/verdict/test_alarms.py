"""When a part alarms: its share of the rate, its least effect, and its place's own slow-down."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from append_prefill.analysis.design import SHARES, Design, Slope
from append_prefill.analysis.estimator import Part
from append_prefill.analysis.joint import Joint
from append_prefill.analysis.moderation import Spread
from append_prefill.analysis.verdict.alarms import Alarm, alarm, passes, step_up
from append_prefill.workload.points import Point

ALPHA, LEAST = 0.01, 0.5
NAMED = float(np.log1p(LEAST))
POINTS = (Point(64, 32), Point(64, 64), Point(128, 64))
DF = 8.0
SURE, UNSURE = 1e-9, 0.4


def part(p: float, estimate: float = 1.0) -> Part:
    """One effect whose one-sided p in its own direction is `p`."""
    return parts([p], [estimate])


def parts(p: list[float], estimates: list[float]) -> Part:
    estimate = np.array(estimates, dtype=float)
    se = np.abs(estimate) / stats.t.isf(np.array(p), DF)
    return Part(estimate, Spread(se**2, np.full(len(p), DF)))


STRATA = ("floor", "compute")


def design(axes: tuple[str, ...] = ("append", "context"), points=POINTS, strata=STRATA) -> Design:
    row = np.zeros(len(points))
    return Design(
        tuple(points),
        row,
        dict.fromkeys(strata, row == 0),
        tuple(Slope(axis, 64, 32, row, row, 0.5) for axis in axes),
    )


QUIET = part(UNSURE, 0.01)


def joint(*, axes=("append", "context"), strata=STRATA, **known) -> Joint:
    """Nothing anywhere but what is given."""
    nothing = parts([UNSURE] * 3, [0.01] * 3)
    of_axes = {
        name: dict.fromkeys(axes, QUIET) | known.pop(name, {}) for name in ("slopes", "ends")
    }
    of_axes["strata"] = dict.fromkeys(strata, QUIET) | known.pop("of_strata", {})
    whole = {"level": QUIET, "excess": nothing, "absolute": nothing} | known
    whole["together"] = known.get("together", lambda points: part(SURE))
    return Joint(**whole, **of_axes, residual_variance=np.zeros(3))


def raised(made: Joint, sign: int = 1, of: Design | None = None) -> set[str]:
    found = alarm(made, of or design(), alpha=ALPHA, min_effect=LEAST, sign=sign)
    names = {name for name, said in (found.slopes | found.strata).items() if said}
    names |= {f"point {at}" for at in np.flatnonzero(found.points)}
    names |= {"level"} if found.level else set()
    assert bool(found.any) == bool(names)
    return names


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("of", ["level", *STRATA])
@pytest.mark.parametrize(
    ("of_share", "estimate", "alarms"),
    [
        (0.99, NAMED, True),
        (1.01, 9.0, False),
        (0.99, NAMED - 1e-9, False),
        (0.99, -9.0, False),
    ],
    ids=["just", "too likely", "too small", "the other way"],
)
def test_a_mean_alarms_at_its_share_and_by_an_effect_worth_a_name(
    sign, of, of_share, estimate, alarms
) -> None:
    """The level and each stratum for itself: what moves alone is named alone."""
    made = part(of_share * ALPHA * SHARES[of], sign * estimate)
    known = {"level": made} if of == "level" else {"of_strata": {of: made}}
    assert raised(joint(**known), sign) == ({of} if alarms else set())


def test_a_stratum_needs_no_leave_of_the_level() -> None:
    """Unlike a contrast, which floats: the floor got slower, the rest so much faster."""
    faster = Part(np.full(1, -0.2), Spread(np.full(1, 1e-4), np.full(1, DF)))
    made = joint(level=faster, of_strata={"floor": part(SURE)})
    assert raised(made) == {"floor"}


def test_without_strata_the_level_has_their_part_of_the_rate() -> None:
    level = part(0.99 * ALPHA * 0.76)
    assert raised(joint(level=level, strata=()), of=design(strata=())) == {"level"}
    assert raised(joint(level=level)) == set()


def test_at_its_share_exactly_it_alarms() -> None:
    level = part(0.005, 1.0)
    exact = float(level.p(1)[0])
    alone = design((), POINTS[:1], ())
    assert alone.shares == {"level": 1.0}
    for alpha, alarms in ((exact, True), (np.nextafter(exact, 0), False)):
        found = alarm(
            joint(level=level, axes=(), strata=()), alone, alpha=alpha, min_effect=LEAST, sign=1
        )
        assert bool(found.level) is alarms


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("axis", ["append", "context"])
@pytest.mark.parametrize(
    ("of_share", "end", "alarms"),
    [
        (0.99, part(0.049, NAMED), True),
        (1.01, part(SURE, 9.0), False),
        (0.99, part(0.051, 9.0), False),
        (0.99, part(SURE, NAMED - 1e-9), False),
        (0.99, part(SURE, -9.0), False),
    ],
    ids=["just", "excess too likely", "end too likely", "end too small", "end the other way"],
)
def test_a_slope_alarms_where_its_end_is_slower_in_absolute_terms(
    sign, axis, of_share, end, alarms
) -> None:
    slope = part(of_share * ALPHA * SHARES[axis], sign * 0.001)
    ends = {axis: Part(sign * end.estimate, end.spread)}
    level = part(UNSURE, sign * 0.01)
    made = joint(level=level, slopes={axis: slope}, ends=ends)
    assert raised(made, sign) == ({axis} if alarms else set())


@pytest.mark.parametrize(
    ("level", "end_p", "alarms"),
    [
        (part(0.4, 0.01), 0.049, True),
        (part(0.06, -0.01), 0.0099, True),  # leans the other way: the whole rate
        (part(0.06, -0.01), 0.0101, False),
        (part(0.049, -0.01), 0.0033, True),  # has moved the other way: a third of it
        (part(0.049, -0.01), 0.0034, False),
        (Part(np.zeros(1), Spread(np.ones(1), np.full(1, DF))), 0.049, True),  # does not lean
    ],
)
def test_the_end_has_to_be_the_surer_the_more_the_level_says_otherwise(
    level, end_p, alarms
) -> None:
    slopes, ends = {"append": part(SURE)}, {"append": part(end_p, 1.0)}
    assert raised(joint(level=level, slopes=slopes, ends=ends)) == ({"append"} if alarms else set())


class Exact:
    """A part whose p is what it is said to be, to the last digit."""

    def __init__(self, p: float, estimate: float = 1.0, opposed: float = 0.5) -> None:
        self._p, self._opposed, self.estimate = p, opposed, np.array([estimate])

    def p(self, sign: int) -> np.ndarray:
        return np.array([self._p if sign == 1 else self._opposed])


@pytest.mark.parametrize(
    ("slope", "level", "end", "alarms"),
    [
        (Exact(ALPHA * design().shares["append"]), Exact(0.5), Exact(SURE), True),
        (Exact(SURE), Exact(0.5), Exact(0.05), True),
        (Exact(SURE), Exact(0.5, -0.01), Exact(ALPHA), True),
        (Exact(SURE), Exact(0.5, -0.01, opposed=0.05), Exact(ALPHA / 3), True),
        (Exact(SURE), Exact(0.5, -0.01, opposed=0.05), Exact(ALPHA), False),
    ],
)
def test_what_is_at_a_bound_belongs_to_it(slope, level, end, alarms) -> None:
    made = joint(level=level, slopes={"append": slope}, ends={"append": end})
    assert raised(made) == ({"append"} if alarms else set())


def test_points_step_up_over_their_share_and_are_slower_in_absolute_terms() -> None:
    share = ALPHA * SHARES["points"]
    absolute = parts([0.049, 0.049, 0.051], [NAMED, 1.0, 9.0])

    def points(*of_share: float, absolute=absolute) -> set[str]:
        return raised(
            joint(excess=parts([p * share for p in of_share], [1.0] * 3), absolute=absolute)
        )

    # Benjamini and Hochberg: the k-th least p against k thirds of the share.
    assert points(0.33, 2.0, 2.0) == {"point 0"}
    assert points(0.34, 2.0, 2.0) == set()
    assert points(0.6, 0.66, 2.0) == {"point 0", "point 1"}
    assert points(0.99, 0.99, 0.99) == {"point 0", "point 1"}
    low = parts([SURE] * 3, [NAMED - 1e-9, -9.0, 9.0])
    assert points(0.1, 0.1, 0.1, absolute=low) == {"point 2"}


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("count", "of_share", "estimate", "alarms"),
    [
        (1, 9.0, -9.0, True),
        (2, 0.99, 0.001, True),
        (2, 1.01, 9.0, False),
        (2, 0.01, -9.0, False),
        (3, 0.99, 0.001, True),
        (3, 1.01, 9.0, False),
    ],
)
def test_several_points_at_once_have_to_show_by_launches_what_they_share(
    sign, count, of_share, estimate, alarms
) -> None:
    """One stands for itself; several may only have moved together, as launches do."""
    share, rejected = ALPHA * SHARES["points"], np.arange(3) < count
    asked = []

    def together(points):
        asked.append(points.tolist())
        return part(of_share * share, sign * estimate)

    each = parts(np.where(rejected, 0.01 * share, UNSURE), [sign * 1.0] * 3)
    found = raised(joint(excess=each, absolute=each, together=together), sign)
    assert found == ({f"point {at}" for at in range(count)} if alarms else set())
    assert asked == [rejected.tolist()]


def test_each_session_of_a_batch_answers_for_its_own_points() -> None:
    """Two points at once that launches do not show, two that they do, and one alone."""
    sure, unsure = parts([SURE, SURE, UNSURE], [1.0] * 3), parts([SURE, UNSURE, UNSURE], [1.0] * 3)
    rows = [sure, sure, unsure]
    each = Part(
        np.stack([row.estimate for row in rows]),
        Spread(np.stack([row.spread.variance for row in rows]), np.full((3, 3), DF)),
    )
    shared = [part(p) for p in (UNSURE, SURE, UNSURE)]
    common = Part(
        np.stack([one.estimate for one in shared]),
        Spread(np.stack([one.spread.variance for one in shared]), np.full((3, 1), DF)),
    )
    level = Part(np.full((3, 1), 0.01), Spread(np.full((3, 1), 1.0), np.full((3, 1), DF)))
    quiet = dict.fromkeys(("append", "context"), level)
    made = joint(
        level=level, of_strata=dict.fromkeys(STRATA, level), slopes=quiet, ends=quiet,
        excess=each, absolute=each, together=lambda _: common,
    )  # fmt: skip
    found = alarm(made, design(), alpha=ALPHA, min_effect=LEAST, sign=1)
    assert found.points.tolist() == [[False] * 3, [True, True, False], [True, False, False]]


def test_what_points_share_at_their_share_exactly_is_enough() -> None:
    made = joint(
        excess=parts([SURE] * 3, [1.0] * 3),
        absolute=parts([SURE] * 3, [1.0] * 3),
        together=lambda points: Exact(ALPHA * design().shares["points"]),
    )
    assert raised(made) == {"point 0", "point 1", "point 2"}


def test_two_points_are_no_family() -> None:
    two = design(("append",), POINTS[:2], ())
    assert "points" not in two.shares
    sure = parts([SURE] * 2, [1.0] * 2)
    made = joint(axes=("append",), strata=(), excess=sure, absolute=sure)
    assert raised(made, of=two) == set()


def test_any_of_the_parts_rejects() -> None:
    no, yes = np.array(False), np.array(True)
    none = np.zeros(3, dtype=bool)
    quiet = {"floor": no, "compute": no}
    assert not Alarm(no, quiet, {"append": no, "context": no}, none).any
    assert Alarm(yes, {}, {}, none).any
    assert Alarm(no, {"floor": yes, "compute": no}, {}, none).any
    assert Alarm(no, {"floor": no, "compute": yes}, {}, none).any
    assert Alarm(no, quiet, {"append": yes, "context": no}, none).any
    assert Alarm(no, quiet, {"append": no, "context": yes}, none).any
    assert Alarm(no, quiet, {}, np.array([False, True, False])).any
    batch = Alarm(np.zeros(2, bool), {}, {}, np.array([[False, True], [False, False]]))
    assert batch.any.tolist() == [True, False]


def test_step_up_is_benjamini_and_hochbergs() -> None:
    p = np.array([[0.001, 0.02, 0.03, 0.9], [0.025, 0.5, 0.6, 0.7]])
    np.testing.assert_array_equal(
        step_up(p, 0.05), [[True, True, True, False], [False, False, False, False]]
    )
    assert step_up(np.array([0.05]), 0.05).tolist() == [True]
    drawn = np.random.default_rng(1).random((200, 9)) ** 4
    found = step_up(drawn, 0.05)
    assert 0 < found.sum() < found.size
    np.testing.assert_array_equal(found, stats.false_discovery_control(drawn, axis=-1) <= 0.05)


HALF = float(stats.t.ppf(0.975, DF))


def interval_to(upper: float) -> Part:
    """An effect of 0.01 whose two-sided 95 % interval ends at `upper`."""
    return Part(np.array([0.01]), Spread(np.array([((upper - 0.01) / HALF) ** 2]), np.array([DF])))


QUIET_PART = interval_to(0.011)


def passing(**known) -> Joint:
    """Everything passes by far but what is given: a mean or an end by its name."""
    return joint(
        level=known.get("level", QUIET_PART),
        of_strata={name: known.get(name, QUIET_PART) for name in STRATA},
        ends={axis: known.get(axis, QUIET_PART) for axis in ("append", "context")},
    )


@pytest.mark.parametrize("of", ["level", *STRATA, "append", "context"])
@pytest.mark.parametrize(("upper", "said"), [(0.999, True), (1.001, False)])
def test_a_pass_takes_the_level_the_strata_and_both_far_halves(of, upper, said) -> None:
    made = interval_to(upper * float(np.log1p(0.03)))
    assert bool(passes(passing(**{of: made}), must_catch=0.03)) is said


def test_no_slope_and_no_single_point_is_part_of_a_pass() -> None:
    loud = dict.fromkeys(("append", "context"), interval_to(1.0))
    points = Part(np.ones(3), Spread(np.ones(3), np.full(3, DF)))
    made = passing()
    made = replace(made, slopes=loud, excess=points, absolute=points, timed={"level": points})
    assert passes(made, must_catch=0.03)


@pytest.mark.parametrize(
    ("p", "estimates", "hold", "said"),
    [
        ([0.0166, 0.4, 0.4], [1.0] * 3, 0.05, False),
        ([0.0168, 0.4, 0.4], [1.0] * 3, 0.05, True),
        ([0.04, 0.04, 0.04], [1.0] * 3, 0.05, False),
        # A point that stands out faster holds nothing back.
        ([1e-9, 0.4, 0.4], [-1.0, 1.0, 1.0], 0.05, True),
        # Without a rate none does, however clear.
        ([1e-9, 0.4, 0.4], [1.0] * 3, 0.0, True),
    ],
)
def test_a_point_that_stands_out_slower_holds_a_pass_back(p, estimates, hold, said) -> None:
    made = replace(passing(), excess=parts(p, estimates))
    assert bool(passes(made, must_catch=0.03, hold_rate=hold)) is said


def test_a_point_holds_back_the_pass_of_its_own_session_alone() -> None:
    quiet = Part(
        np.full((2, 1), 0.01),
        Spread(np.full((2, 1), QUIET_PART.spread.variance), np.full((2, 1), DF)),
    )
    parts_of = dict.fromkeys(("level", *STRATA, "append", "context"), quiet)
    loud, calm = parts([1e-9, 0.4, 0.4], [1.0] * 3), parts([0.4] * 3, [1.0] * 3)
    excess = Part(
        np.stack([loud.estimate, calm.estimate]),
        Spread(np.stack([loud.spread.variance, calm.spread.variance]), np.full((2, 3), DF)),
    )
    made = replace(passing(**parts_of), excess=excess)
    assert passes(made, must_catch=0.03, hold_rate=0.05).tolist() == [False, True]


@pytest.mark.parametrize("of", ["level", "floor", "append"])
def test_what_is_at_what_must_be_caught_is_no_pass(of) -> None:
    """Half widths of zero make the upper ends exact."""
    at = Part(np.array([float(np.log1p(0.03))]), Spread(np.zeros(1), np.array([DF])))
    assert not passes(passing(**{of: at}), must_catch=0.03)


def test_a_pass_rests_on_intervals_of_the_confidence_that_is_asked() -> None:
    made = passing(level=interval_to(0.999 * float(np.log1p(0.03))))
    assert passes(made, must_catch=0.03, confidence=0.95)
    assert not passes(made, must_catch=0.03, confidence=0.951)


def test_each_night_of_a_batch_passes_for_itself() -> None:
    quiet, loud = QUIET_PART, interval_to(1.0)
    both = Part(
        np.stack([quiet.estimate, loud.estimate]),
        Spread(np.stack([quiet.spread.variance, loud.spread.variance]), np.full((2, 1), DF)),
    )
    parts_of = dict.fromkeys(("level", *STRATA, "append", "context"), both)
    assert passes(passing(**parts_of), must_catch=0.03).tolist() == [True, False]
