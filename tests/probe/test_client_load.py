from append_prefill.probe.client_load import DELAY_MS, hardest, measure_client_load
from append_prefill.workload.points import Point
from append_prefill.workload.traffic import Traffic
from append_prefill.workload.traffic_experiment import Unit


def unit(company, size=1):
    return Unit("x", Traffic(company=company), (Point(64, 16),), size=size)


def test_the_hardest_is_the_highest_rate_else_the_most_at_once():
    units = [unit("together:32", 32), unit("rate:5", 9), unit("rate:40", 6), unit("beside:4")]
    assert hardest(units) == units[2]
    assert hardest([*units[:1], unit("together:4", 4)]) == units[0]
    assert hardest([unit("beside:4")]) is None
    assert measure_client_load([unit("beside:4")], (1,)) is None


def test_what_the_client_adds_is_told_and_small_beside_what_the_server_held():
    load = measure_client_load([unit("rate:200", 20)], (1,))
    assert (load.requests, load.per_s) == (20, 200)
    assert 0 <= load.late_p99_ms < 10 * DELAY_MS
    assert 0 < load.ttft_p99_ms < 10 * DELAY_MS


def test_all_at_once_are_under_way_at_once():
    """One after the other would take 30 x 10 ms."""
    load = measure_client_load([unit("together:30", 30)], (1,))
    assert load.per_s is None
    assert load.ttft_p99_ms < 29 * DELAY_MS
