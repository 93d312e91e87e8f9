import pytest

from append_prefill.analysis.states import growth
from append_prefill.records.states import Stage
from tests.analysis.factory import start


def stage(state, ttft_ms, *, after_s=0.0, requests=0, leaves=None, resident_bytes=None):
    return Stage(
        state=state,
        context_tokens=256,
        append_tokens=64,
        after_s=after_s,
        requests=requests,
        leaves=leaves,
        ttft_ms=ttft_ms,
        void=None if ttft_ms else "hot",
        resident_bytes=resident_bytes,
    )


def launch(index, stages):
    return start(index, {}).model_copy(update={"stages": stages})


def aged(index, per_1000_ms=0.5, first_ms=10.0):
    """2 ms more with the pool full, then a straight line over the leaves."""
    full = [
        stage("aged", [first_ms + 2 + per_1000_ms * k] * 5, leaves=1000 * k, requests=500 * k)
        for k in (1, 2, 5, 10)
    ]
    return launch(index, [stage("aged", [first_ms] * 5), *full])


def test_the_slope_of_an_aged_server_is_over_leaves_with_the_pool_full():
    told = growth([aged(0, 0.4), aged(1, 0.5), aged(2, 0.6)], "aged")
    assert (told.over, told.launches) == ("leaves", 3)
    assert told.ttft_ms.value == pytest.approx(0.5)
    assert told.ttft_ms.low < 0.4
    assert told.ttft_ms.high > 0.6
    # From empty to the full pool's first stage, which has 1,000 leaves.
    assert told.full_ms.value == pytest.approx(2.5)
    assert told.resident_mb.value is None


def test_one_launch_has_no_interval():
    told = growth([aged(0)], "aged")
    assert told.ttft_ms.value == pytest.approx(0.5)
    assert (told.ttft_ms.low, told.ttft_ms.high) == (None, None)


def test_a_stage_that_the_device_spoilt_is_no_part_of_the_line():
    spoilt = aged(0)
    spoilt.stages[-1] = stage("aged", [], leaves=10_000)
    assert growth([spoilt], "aged").ttft_ms.value == pytest.approx(0.5)
    lone = launch(0, [stage("aged", [9.0]), stage("aged", [9.5], leaves=7)])
    assert growth([lone], "aged").ttft_ms.value is None
    assert growth([lone], "aged").full_ms.value == pytest.approx(0.5)


def test_two_stages_of_a_full_pool_are_a_line_and_none_is_no_full_pool():
    two = aged(0)
    two.stages[3:] = []
    assert growth([two], "aged").ttft_ms.value == pytest.approx(0.5)
    never = launch(1, [stage("aged", [9.0]), stage("aged", [9.5])])
    assert growth([never], "aged").ttft_ms.value is None
    assert growth([never], "aged").full_ms.value is None


def test_a_launch_that_ended_at_its_first_stage_tells_nothing():
    ended = launch(1, [stage("aged", [9.0])])
    assert growth([ended], "aged") is None
    assert growth([aged(0), ended], "aged").launches == 1


def test_of_a_burst_it_is_what_is_more_after_it():
    ways = [
        launch(k, [stage("overloaded", [8.0]), stage("overloaded", [8.0 + more], after_s=9)])
        for k, more in enumerate((0.9, 1.1))
    ]
    told = growth(ways, "overloaded")
    assert (told.over, told.full_ms) == ("burst", None)
    assert told.ttft_ms.value == pytest.approx(1.0)


def test_steady_traffic_is_told_by_the_minute_and_memory_by_requests():
    minutes = [
        stage("soaked", [8 + 0.3 * k], after_s=60 * k, requests=200 * k, resident_bytes=10**9 + k)
        for k in range(4)
    ]
    told = growth([launch(0, minutes)], "soaked")
    assert told.over == "minutes"
    assert told.ttft_ms.value == pytest.approx(0.3)
    assert told.resident_mb.value == pytest.approx(5e-6)


def test_nothing_is_told_of_a_fresh_server_or_without_stages():
    assert growth([aged(0)], "fresh") is None
    assert growth([aged(0)], "soaked") is None
    assert growth([launch(0, [])], "aged") is None
