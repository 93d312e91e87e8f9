import pytest

from append_prefill.analysis.company import KEEPS_UP, ratios, throughput
from tests.analysis.company_parts import traffic_series


def window(rate, each_ms, count=50, block=0):
    """Arrivals `1000 / rate` ms apart at a server that takes one after the other."""
    due_ms = [1000 * n / rate for n in range(count)]
    ends, free_ms = [], 0.0
    for due in due_ms:
        free_ms = max(due, free_ms) + each_ms
        ends.append(free_ms)
    ttft_ms = [end - due - 1 for end, due in zip(ends, due_ms, strict=True)]
    return traffic_series(
        ttft_ms, company=f"rate:{rate}", due_ms=due_ms, late_ms=[0.0] * count, block=[block] * count
    )


def test_a_server_that_keeps_up_is_not_saturated():
    found = throughput([window(20, 10.0)])
    assert found.offered_per_s == pytest.approx(20, rel=0.05)
    assert found.completed_per_s == pytest.approx(20, rel=0.05)
    assert found.saturation_per_s is None


def test_one_that_does_not_completes_what_it_can():
    """10 ms each: a hundred a second, whatever is offered."""
    found = throughput([window(400, 10.0)])
    assert found.offered_per_s == pytest.approx(400, rel=0.05)
    assert found.saturation_per_s == pytest.approx(100, rel=0.02)


@pytest.mark.parametrize(("share", "saturated"), [(0.97, False), (0.8, True)])
def test_what_keeps_up_completes_nearly_all(share, saturated):
    assert 0.8 < KEEPS_UP < 0.97
    found = throughput([window(100 / share, 10.0, count=200)])
    assert (found.saturation_per_s is not None) is saturated


def test_each_unit_has_its_own_rate_and_the_median_counts():
    """A single window in which something stood still does not make a server saturated."""
    windows = [window(20, 10.0), window(20, 200.0, block=3), window(20, 10.0)]
    found = throughput(windows)
    assert found.saturation_per_s is None
    assert found.completed_per_s == pytest.approx(20, rel=0.05)
    joined = traffic_series([9.0, 9.0, 99.0, 99.0], due_ms=[0.0] * 4, block=[0, 0, 1, 1])
    # Two in 10 ms, and two in 100.
    assert throughput([joined]).completed_per_s == pytest.approx((200 + 20) / 2)


def test_all_at_once_are_offered_at_no_rate():
    found = throughput([traffic_series([9.0, 19.0], due_ms=[0.0, 0.0])])
    assert (found.offered_per_s, found.saturation_per_s) == (None, None)
    assert found.completed_per_s == pytest.approx(2 / 0.020)


def test_what_does_not_come_in_company_has_no_rate():
    assert throughput([traffic_series([9.0], company="beside:4")]) is None
    assert throughput([]) is None


def test_a_ratio_is_of_launches_that_have_both():
    found = ratios({0: 20.0, 1: 20.0, 2: 99.0}, {0: 10.0, 1: 40.0, 5: 1.0})
    assert found.value == pytest.approx(1.0)
    assert found.low < 0.5
    assert found.high > 2
    assert ratios({0: 1.0}, {1: 1.0}) is None


def test_a_unit_without_a_valid_request_is_left_out_and_the_others_count():
    """Two in 2 s, the last due after one of them."""
    due_ms = [None, 0.0, 1000.0]
    found = throughput([traffic_series([9.0, 9.0, 999.0], due_ms=due_ms, block=[0, 1, 1])])
    assert found.offered_per_s == pytest.approx(2.0, rel=1e-9)
    assert found.completed_per_s == pytest.approx(1.0, rel=1e-9)


def test_arrivals_within_a_millisecond_have_a_rate():
    found = throughput([traffic_series([9.0, 9.0], due_ms=[0.0, 0.5])])
    assert found.offered_per_s == pytest.approx(4000.0)
