import math

import pytest
from scipy import stats

from append_prefill.analysis.interference import decode_interference
from append_prefill.workload.experiment import Bound
from append_prefill.workload.loading import load_profile
from append_prefill.workload.points import Point
from tests.analysis.company_parts import traffic_series
from tests.analysis.factory import start

PROFILE = load_profile("cpu-nano")
WHY = "An argument of at least twenty letters."


def bounded(**bound):
    bounds = {**PROFILE.bounds, "decode_interference": Bound(argument=WHY, **bound)}
    return PROFILE.model_copy(update={"bounds": bounds})


def launches(*ratios, full=2.0, before=8.0):
    """One launch a ratio, of five samples each, one of which stands out."""
    made = []
    for index, ratio in enumerate(ratios):
        series = traffic_series(
            [10.0] * 5,
            company="beside:4",
            itl_before_ms=[before] * 5,
            itl_append_ms=[*[before * ratio] * 4, before * 9],
            itl_prefill_ms=[before * full] * 5,
        )
        one = start(index, {Point(256, 64): [10.0]})
        made.append(one.model_copy(update={"traffic": [series]}))
    return made


def test_it_is_the_median_of_a_launch_and_the_mean_over_launches():
    found = decode_interference(launches(1.1, 1.2), bounded(limit=9.0))
    assert found.measured == pytest.approx((1.1 * 1.2) ** 0.5)
    assert found.low < found.measured < found.high
    assert (found.bound, found.argument, found.study_value) == (9.0, WHY, 1.02)
    assert found.details == {"full_prefill": pytest.approx(2.0), "itl_before_ms": 8.0}


@pytest.mark.parametrize(
    ("ratios", "verdict", "code"),
    [
        ((1.04, 1.05, 1.06), "holds", "within"),
        ((1.5, 1.51, 1.52), "broken", "held-up"),
        ((1.1, 1.3, 1.5), "inconclusive", "straddles"),
        ((1.5,), "inconclusive", "one-launch"),
        ((), "inconclusive", "not-measured"),
    ],
)
def test_the_whole_interval_decides(ratios, verdict, code):
    found = decode_interference(launches(*ratios), bounded(limit=1.25))
    assert found.bound == 1.25
    assert (found.verdict, found.reason.code) == (verdict, code)


@pytest.mark.parametrize(
    ("profile", "code"),
    [
        (bounded(limit=1.25, meaningful=False), "no-meaning"),
        (bounded(), "not-gated"),
        (
            PROFILE.model_copy(
                update={"bounds": {k: v for k, v in PROFILE.bounds.items() if "decode" not in k}}
            ),
            "no-bound",
        ),
    ],
)
def test_without_a_bound_it_is_shown_and_not_judged(profile, code):
    found = decode_interference(launches(3.0, 3.1), profile)
    assert (found.verdict, found.reason.code) == ("not-applicable", code)
    assert found.measured == pytest.approx(3.05, rel=0.01)


def test_launches_that_agree_leave_open_what_their_own_samples_do():
    """Two launches of two samples each, at 1.1 and 1.3 times what was before."""
    made = launches(1.1, 1.1)
    for one in made:
        (series,) = one.traffic
        series.itl_before_ms[2:] = [None] * 3
        series.itl_append_ms[:2] = [8.8, 10.4]
    found = decode_interference(made, bounded(limit=9.0))
    half = stats.t(2).ppf(0.975) * math.log(1.3 / 1.1) / 2 / math.sqrt(2)
    assert math.log(found.measured) - math.log(found.low) == pytest.approx(half)
    assert math.log(found.high) - math.log(found.measured) == pytest.approx(half)


def test_a_sample_without_one_of_its_windows_counts_in_none():
    (one,) = launches(1.1)
    series = one.traffic[0].model_copy(
        update={
            "itl_before_ms": [8.0, None, 8.0, None, None],
            "itl_append_ms": [8.8, 16.0, None, None, None],
        }
    )
    one = one.model_copy(update={"traffic": [series]})
    assert decode_interference([one], bounded(limit=9.0)).measured == pytest.approx(1.1)


def test_where_nothing_decodes_beside_there_is_no_such_finding():
    kept = tuple(e for e in PROFILE.traffic if not e.company.startswith("beside"))
    assert decode_interference(launches(1.1), PROFILE.model_copy(update={"traffic": kept})) is None


@pytest.mark.parametrize("name", ["cpu-nano", "llama-3.1-8b"])
def test_the_shipped_profiles_bound_it(name):
    bound = load_profile(name).bound_of("decode_interference")
    # What is published of a full prefill must not pass for an append-prefill.
    assert 1.02 < bound.limit < 1.48
