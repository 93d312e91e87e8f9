"""A regime shift: the near end got faster and the far end no slower, both against the reference."""

import math

import pytest

from append_prefill.analysis.measures import Measured
from append_prefill.analysis.summary import Interval
from append_prefill.analysis.verdict.gates import gate, gate_cost
from append_prefill.records.grounds import FindingGround
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Bound
from tests.analysis.factory import POLICY

NEAR, FAR = Point(512, 32), Point(512, 1024)
BOUND = Bound(limit=1.2, argument="An argument of at least twenty letters.")


def told(value, width=0.0) -> Interval | None:
    """A ratio with an interval of that half width; None where it has none."""
    if width is None:
        return Interval(value, None, None)
    return Interval(value, value - width, value + width)


def gated(
    near, far, *, low=1.3, high=1.5, far_points=(FAR,), reference=True, before=None, policy=POLICY
):
    """A value beyond its bound; the ends' ratios to the reference are `near` and `far`, numbers or
    intervals."""
    measured = Measured(1.4, low, high, 5, near=(NEAR,), far=far_points)
    ratios = {(NEAR,): near, (FAR,): far}

    def ratio(points):
        found = ratios[tuple(points)]
        return told(found) if isinstance(found, float) else found

    return gate(measured, BOUND, ratio if reference else None, policy, before=before)


# min_effect is 1.5 %, must_catch 3 %. What is open is so for want of launches.
@pytest.mark.parametrize(
    ("near", "far", "verdict", "code"),
    [
        (0.7, 1.0, "regime-shift", "shifted"),
        (0.7, 0.9, "regime-shift", "shifted"),
        (0.7, 1.0299, "regime-shift", "shifted"),
        (0.7, 1.0301, "broken", "beyond"),  # the near end is faster, but the far end is slower
        (0.7, 1.3, "broken", "beyond"),
        (0.984, 1.0, "regime-shift", "shifted"),
        (0.986, 1.0, "broken", "beyond"),  # not by an effect worth a name
        (1.0, 1.4, "broken", "beyond"),
        (1.0, 1.0, "broken", "beyond"),
        # The whole interval of the near end lies below 1, that of the far end below what must be
        # caught.
        (told(0.7, 0.299), 1.0, "regime-shift", "shifted"),
        (told(0.7, 0.301), 1.0, "broken", "beyond"),
        (0.7, told(1.0, 0.0299), "regime-shift", "shifted"),
        (0.7, told(1.0, 0.0301), "inconclusive", "shift-unclear"),
        (0.7, told(1.1, 0.0701), "inconclusive", "shift-unclear"),
        (0.7, told(1.1, 0.0699), "broken", "beyond"),  # surely slower
        (told(0.7, 0.301), told(1.0, 0.5), "broken", "beyond"),
    ],
)
def test_a_shift_takes_a_faster_near_end_and_a_far_end_no_slower(near, far, verdict, code):
    found = gated(near, far)
    assert found.verdict == verdict
    assert not found.standing
    assert found.ground.model_dump(exclude_none=True) == {
        "code": code,
        "near_ratio": pytest.approx(near if isinstance(near, float) else near.value),
        "far_ratio": pytest.approx(far if isinstance(far, float) else far.value),
    }


def test_the_bounds_of_a_shift_belong_to_it():
    """Ratios that are exact in binary: 3/4 and 5/4 against a policy of a quarter."""
    policy = POLICY.model_copy(update={"min_effect": 0.25, "must_catch": 0.25})
    assert gated(0.75, 1.25, policy=policy).verdict == "regime-shift"
    # An interval that ends at 1 does not lie below it.
    assert gated(told(0.75, 0.25), 1.25, policy=policy).verdict == "broken"


@pytest.mark.parametrize("end", ["near", "far"])
@pytest.mark.parametrize("lacking", [None, told(0.7, None)], ids=["no ratio", "no interval"])
def test_without_a_ratio_and_its_interval_at_either_end_there_is_no_shift(end, lacking):
    found = gated(**{"near": 0.7, "far": 1.0, end: lacking})
    assert (found.verdict, found.ground.reference_lacks) == ("broken", "points")
    assert found.ground.near_ratio is None


def test_without_a_limit_nothing_is_gated():
    measured = Measured(1.4, 1.3, 1.5, 5, near=(NEAR,), far=(FAR,))
    bound = Bound(argument="An argument of at least twenty letters.")
    found = gate(measured, bound, None, POLICY)
    assert (found.verdict, found.ground.code) == ("not-applicable", "not-gated")


@pytest.mark.parametrize(("near", "verdict"), [(0.7, "regime-shift"), (1.0, "broken")])
def test_a_figure_without_a_far_end_rests_on_the_near_one(near, verdict):
    found = gated(near, None, far_points=())
    assert found.verdict == verdict
    assert found.ground.far_ratio is None


def test_each_end_is_asked_for_by_all_its_points():
    more = Point(512, 64)
    measured, asked = Measured(1.4, 1.3, 1.5, 5, near=(NEAR, more), far=(FAR,)), []

    def ratio(points):
        asked.append(tuple(points))
        return told(0.6)

    assert gate(measured, BOUND, ratio, POLICY).verdict == "regime-shift"
    assert asked == [(NEAR, more), (FAR,)]


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
    # Where news cannot be told, what stood there stands, and no more than that is open.
    unclear = gated(0.7, told(1.0, 0.5), before=before)
    open_or = "shift-unclear" if code == "beyond" else code
    assert (unclear.ground.code, unclear.standing) == (open_or, verdict == "regime-shift")
    assert unclear.verdict == ("inconclusive" if code == "beyond" else verdict)


LIMIT = Bound(limit=1.2, argument="An argument of at least twenty letters.")
LIMITLESS = Bound(argument="An argument of at least twenty letters.")
MEANINGLESS = Bound(limit=1.2, meaningful=False, argument="An argument of at least twenty letters.")


@pytest.mark.parametrize(
    ("measured", "bound", "verdict", "code"),
    [
        (Interval(1.0, 0.9, 1.2), LIMIT, "holds", "within"),
        (Interval(1.2, 1.2, 1.3), LIMIT, "inconclusive", "straddles"),
        (Interval(1.4, 1.21, 1.6), LIMIT, "broken", "held-up"),
        (Interval(1.4, None, None), LIMIT, "inconclusive", "one-launch"),
        (None, LIMIT, "inconclusive", "not-measured"),
        (Interval(1.4, 1.21, 1.6), LIMITLESS, "not-applicable", "not-gated"),
        (Interval(1.4, 1.21, 1.6), None, "not-applicable", "no-bound"),
        (Interval(1.4, 1.21, 1.6), MEANINGLESS, "not-applicable", "no-meaning"),
    ],
)
def test_what_others_cost_has_no_near_end(measured, bound, verdict, code):
    found = gate_cost(measured, bound, "tiny", "held-up")
    assert (found.verdict, found.ground.code) == (verdict, code)
    texts = {"not-measured": "no valid sample", "no-bound": "tiny"}
    assert found.ground.text == texts.get(code)
