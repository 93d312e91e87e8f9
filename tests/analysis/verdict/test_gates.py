"""A regime shift: the near end got faster and the far end no slower, both against the reference."""

import math

import pytest

from append_prefill.analysis.measures import Measured
from append_prefill.analysis.verdict.gates import gate
from append_prefill.records.grounds import FindingGround
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Bound
from tests.analysis.factory import POLICY

NEAR, FAR = Point(512, 32), Point(512, 1024)
BOUND = Bound(limit=1.2, argument="An argument of at least twenty letters.")


def gated(near, far, *, low=1.3, high=1.5, far_points=(FAR,), reference=True, before=None):
    """A value beyond its bound, the ends at `near` and `far` times the reference's 20 ms."""
    measured = Measured(1.4, low, high, 5, near=(NEAR,), far=far_points)
    medians = {NEAR: 20.0 * near, FAR: 20.0 * far}
    known = {NEAR: 20.0, FAR: 20.0} if reference else None
    return gate(measured, BOUND, medians, known, POLICY, before=before)


# min_effect is 1.5 %, must_catch 3 %.
@pytest.mark.parametrize(
    ("near", "far", "verdict"),
    [
        (0.7, 1.0, "regime-shift"),
        (0.7, 0.9, "regime-shift"),
        (0.7, 1.0299, "regime-shift"),
        (0.7, 1.0301, "broken"),  # the near end is faster, but the far end is slower
        (0.7, 1.3, "broken"),
        (0.984, 1.0, "regime-shift"),
        (0.986, 1.0, "broken"),  # not by an effect worth a name
        (1.0, 1.4, "broken"),
        (1.0, 1.0, "broken"),
    ],
)
def test_a_shift_takes_a_faster_near_end_and_a_far_end_no_slower(near, far, verdict):
    found = gated(near, far)
    assert found.verdict == verdict
    assert not found.standing
    assert found.ground.model_dump(exclude_none=True) == {
        "code": "shifted" if verdict == "regime-shift" else "beyond",
        "near_ratio": pytest.approx(near),
        "far_ratio": pytest.approx(far),
    }


def test_the_bounds_of_a_shift_belong_to_it():
    """Ratios that are exact in binary: 3/4 and 5/4 against a policy of a quarter."""
    policy = POLICY.model_copy(update={"min_effect": 0.25, "must_catch": 0.25})
    measured = Measured(1.4, 1.3, 1.5, 5, near=(NEAR,), far=(FAR,))
    known = {NEAR: 16.0, FAR: 16.0}
    found = gate(measured, BOUND, {NEAR: 12.0, FAR: 20.0}, known, policy)
    assert found.verdict == "regime-shift"


@pytest.mark.parametrize("of", ["candidate", "reference"])
@pytest.mark.parametrize("lacking", [NEAR, FAR])
def test_without_a_point_of_either_end_there_is_no_shift(of, lacking):
    sides = {"candidate": {NEAR: 10.0, FAR: 20.0}, "reference": {NEAR: 20.0, FAR: 20.0}}
    del sides[of][lacking]
    measured = Measured(1.4, 1.3, 1.5, 5, near=(NEAR,), far=(FAR,))
    found = gate(measured, BOUND, sides["candidate"], sides["reference"], POLICY)
    assert (found.verdict, found.ground.reference_lacks) == ("broken", "points")


def test_without_a_near_end_there_is_no_shift():
    measured = Measured(1.4, 1.3, 1.5, 5, near=(), far=(FAR,))
    found = gate(measured, BOUND, {FAR: 1.0}, {FAR: 2.0}, POLICY)
    assert (found.verdict, found.ground.reference_lacks) == ("broken", "points")


def test_without_a_limit_nothing_is_gated():
    measured = Measured(1.4, 1.3, 1.5, 5, near=(NEAR,), far=(FAR,))
    bound = Bound(argument="An argument of at least twenty letters.")
    found = gate(measured, bound, {}, None, POLICY)
    assert (found.verdict, found.ground.code) == ("not-applicable", "not-gated")


@pytest.mark.parametrize(("near", "verdict"), [(0.7, "regime-shift"), (1.0, "broken")])
def test_a_figure_without_a_far_end_rests_on_the_near_one(near, verdict):
    found = gated(near, 9.9, far_points=())
    assert found.verdict == verdict
    assert found.ground.far_ratio is None


def test_several_points_of_an_end_are_taken_by_their_mean():
    more = Point(512, 64)
    measured = Measured(1.4, 1.3, 1.5, 5, near=(NEAR, more), far=(FAR,))
    medians, known = {NEAR: 10.0, more: 20.0, FAR: 30.0}, {NEAR: 20.0, more: 30.0, FAR: 30.0}
    found = gate(measured, BOUND, medians, known, POLICY)
    assert found.verdict == "regime-shift"
    assert found.ground.near_ratio == pytest.approx(0.6)


def test_without_a_reference_beyond_the_bound_is_broken():
    found = gated(0.7, 1.0, reference=False)
    assert (found.verdict, found.ground.reference_lacks) == ("broken", "everything")


@pytest.mark.parametrize(
    ("low", "high", "verdict", "code"),
    [
        (None, None, "inconclusive", "one-launch"),
        (1.1, None, "inconclusive", "one-launch"),
        (None, 1.1, "inconclusive", "one-launch"),
        (1.0, 1.2, "holds", "within"),
        (1.0, math.nextafter(1.2, 2), "inconclusive", "straddles"),
        (1.2, 1.3, "inconclusive", "straddles"),
        (math.nextafter(1.2, 2), 1.3, "broken", "beyond"),
    ],
)
def test_the_whole_interval_decides(low, high, verdict, code):
    found = gated(1.0, 1.0, low=low, high=high)
    assert (found.verdict, found.ground.code) == (verdict, code)


@pytest.mark.parametrize(
    ("value", "high", "verdict", "code"),
    [
        # stood there, and this one's interval reaches into its
        (1.35, 1.45, "regime-shift", "standing"),
        (1.35, 1.3, "regime-shift", "standing"),
        (1.25, 1.29, "broken", "further-out"),
        # one launch gives no interval to be beyond
        (1.35, None, "regime-shift", "standing"),
        (1.2, 1.45, "broken", "beyond"),  # the reference held
    ],
)
def test_what_stood_in_the_reference_is_no_news(value, high, verdict, code):
    before = Measured(value, 1.1, high, 5)
    found = gated(1.0, 1.0, before=before)
    assert (found.verdict, found.standing) == (verdict, verdict == "regime-shift")
    of_reference = (value, high) if code != "beyond" else (None, None)
    assert found.ground == FindingGround(
        code=code,
        near_ratio=1.0,
        far_ratio=1.0,
        reference_value=of_reference[0],
        reference_high=of_reference[1],
    )
    # What is news against the reference is said as such.
    assert gated(0.7, 1.0, before=before).standing is False
