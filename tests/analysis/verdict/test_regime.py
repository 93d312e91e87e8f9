"""Ratios of some points' mean TTFT against another run, with their intervals."""

import numpy as np
import pytest
from scipy import stats

from append_prefill.analysis.measures import Measured
from append_prefill.analysis.prior import Prior
from append_prefill.analysis.summary import Interval
from append_prefill.analysis.verdict.regime import Against, regime_of
from append_prefill.workload.points import Point
from tests.analysis.factory import POLICY

A, B = Point(512, 32), Point(512, 64)
HALVED = Interval(0.5, 0.4, 0.6)
SESSIONS = Prior(None, 0.0, 0.1, 5.0, "a record", night_error=0.003)
OWN = {A: {0: 10.0, 1: 12.0, 2: 11.0}, B: {0: 20.0, 1: 24.0, 2: 22.0}}
OTHER = {A: {0: 20.0, 1: 24.4, 2: 21.0}, B: {0: 40.0, 1: 48.0, 2: 45.0}}


def test_pairs_are_compared_within_themselves():
    found = Against(OTHER, {}, paired=True).ratio_of(OWN)([A, B])
    logs = np.log([30 / 60, 36 / 72.4, 33 / 66])
    half = stats.t.ppf(0.995, 2) * logs.std(ddof=1) / np.sqrt(3)
    assert found.value == pytest.approx(np.exp(logs.mean()))
    assert found.low == pytest.approx(np.exp(logs.mean() - half))
    assert found.high == pytest.approx(np.exp(logs.mean() + half))


def test_launches_of_another_session_are_not_pairs_and_sessions_differ():
    apart = Against(OTHER, {}).ratio_of(OWN)([A])
    nights = Against(OTHER, {}, sessions=SESSIONS).ratio_of(OWN)([A])
    paired = Against(OTHER, {}, paired=True).ratio_of(OWN)([A])
    assert nights.value == pytest.approx(apart.value) == pytest.approx(paired.value)
    assert nights.low < apart.low < paired.low
    assert paired.high < apart.high < nights.high


def test_how_sessions_differ_is_known_by_as_many_sessions_as_are_stored():
    """Both sessions' part, on the degrees of freedom it has before launches' own was taken off."""
    found = Against(OTHER, {}, sessions=SESSIONS).ratio_of(OWN)([A])
    own, other = (np.log(list(cells[A].values())) for cells in (OWN, OTHER))
    of_launches = (own.var(ddof=1) + other.var(ddof=1)) / 3
    whole = of_launches + 2 * 0.1**2
    df = whole**2 / (of_launches**2 / 4 + (2 * (0.1**2 + 0.003)) ** 2 / 5.0)
    half = stats.t.ppf(0.995, df) * np.sqrt(whole)
    assert np.log(found.high / found.value) == pytest.approx(half)
    assert np.log(found.low / found.value) == pytest.approx(-half)


def test_a_table_has_no_scatter_of_its_own():
    found = Against({}, {A: 20.0, B: 40.0}).ratio_of(OWN)([A, B])
    logs = np.log(np.array([30.0, 36.0, 33.0]) / 60)
    half = stats.t.ppf(0.995, 2) * logs.std(ddof=1) / np.sqrt(3)
    assert found.value == pytest.approx(np.exp(logs.mean()))
    assert found.low == pytest.approx(np.exp(logs.mean() - half))


@pytest.mark.parametrize(
    ("own", "against", "points"),
    [
        ({A: {0: 10.0, 1: 11.0}}, Against(OTHER, {}), [A, B]),
        (OWN, Against({A: OTHER[A]}, {}), [A, B]),
        (OWN, Against({}, {A: 20.0}), [A, B]),
        (OWN, Against(OTHER, {}), []),
        (OWN, Against({A: {7: 20.0}, B: {8: 20.0}}, {}), [A, B]),
    ],
)
def test_what_one_side_lacks_has_no_ratio(own, against, points):
    assert against.ratio_of(own)(points) is None


def test_one_launch_gives_no_interval():
    found = Against({A: {0: 20.0}}, {}, paired=True).ratio_of(OWN)([A])
    assert (found.value, found.low, found.high) == (pytest.approx(0.5), None, None)


def test_two_launches_give_an_interval():
    two = {A: {0: 10.0, 1: 12.0}}
    found = Against({A: {0: 20.0, 1: 24.4}}, {}, paired=True).ratio_of(two)([A])
    logs = np.log([10 / 20, 12 / 24.4])
    half = stats.t.ppf(0.995, 1) * logs.std(ddof=1) / np.sqrt(2)
    assert found.high == pytest.approx(np.exp(logs.mean() + half))


def test_without_a_far_end_the_cheap_one_alone_decides():
    """There is nothing that may have got dearer, and no ratio of it is told."""
    shift = regime_of(Measured(1.4, 1.3, 1.5, 5, near=(A,), far=()), lambda _: HALVED, POLICY)
    assert shift.shifted is True
    assert shift.facts == {"near_ratio": 0.5, "far_ratio": None}


@pytest.mark.simulation
@pytest.mark.parametrize("paired", [False, True])
def test_two_sides_of_one_version_are_no_shift(paired):
    """Whatever the bound says of both: of 2000 sessions at most 1 in 100 is called one (1.6 % is
    three standard errors more). By point estimates one in six was."""
    rng = np.random.default_rng(4)
    measured = Measured(1.4, 1.3, 1.5, 5, near=(A,), far=(B,))
    shifted = 0
    for _ in range(2000):
        common = 0.02 * rng.normal(size=(2, 5))
        sides = [
            {p: dict(enumerate(20 * np.exp(level + 0.01 * rng.normal(size=5)))) for p in (A, B)}
            for level in common
        ]
        ratio = Against(sides[1], {}, paired=paired).ratio_of(sides[0])
        shifted += regime_of(measured, ratio, POLICY).shifted is True
    assert shifted / 2000 <= 0.016
