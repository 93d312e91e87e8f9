"""Many requests at once, and requests beside each other.

What was planned is known to the nanosecond (`served`, and the `e2e_latency` that the server says);
a client on a busy machine may see it later, and never earlier.
"""

from __future__ import annotations

import concurrent.futures
import random
import threading
import time

import pytest

from append_prefill.planted.cost import Cost
from append_prefill.planted.protocol import Settings
from append_prefill.planted.server import PlantedServer
from append_prefill.probe.client import TimedClient
from append_prefill.probe.timing import Timing
from tests.planted.client import client_of, quick_server


def at_once(server: PlantedServer, k: int) -> list[Timing]:
    """k requests of 8 tokens for one more, each on a connection of its own."""
    together = threading.Barrier(k)

    def one(number: int) -> Timing:
        with TimedClient(server.base_url) as client:
            together.wait()
            first = 1000 * (number + 1)
            return client.generate(range(first, first + 8), max_new_tokens=1)

    with concurrent.futures.ThreadPoolExecutor(k) as pool:
        return list(pool.map(one, range(k)))


def beside(
    server: PlantedServer, *, decode_tokens: int, prefill_tokens: int
) -> tuple[float, float, float]:
    """Planned ms of a request that decodes, measured ms of it, planned ms of the prefill beside."""

    def decode() -> tuple[float, float]:
        with client_of(server) as client:
            started_s = time.perf_counter()
            stream = client.stream_generate(range(1000, 1008), decode_tokens)
            spent_ms = (time.perf_counter() - started_s) * 1000
            return stream.last["e2e_latency"] * 1000, spent_ms

    with concurrent.futures.ThreadPoolExecutor(1) as pool, client_of(server) as client:
        decoding = pool.submit(decode)
        while not server.served:
            time.sleep(0.001)
        prefill = client.stream_generate(range(5000, 5000 + prefill_tokens), 1)
        return (*decoding.result(), prefill.last["e2e_latency"] * 1000)


def test_64_connections_at_once_are_served_in_turn():
    cost = Cost(floor_ms=10, new_token_us=0, cached_token_us=0)
    with quick_server(cost=cost) as server:
        timings = at_once(server, 64)
        served = list(server.served)
    assert [t.error for t in timings] == [None] * 64
    assert [s.prefill_ms for s in served] == [10.0] * 64
    # How many were there at the same time is the machine's; that some were is the test's.
    assert max(s.queue_ms for s in served) >= 10
    truths = sorted(s.queue_ms + s.prefill_ms for s in served)
    measured = sorted(t.ttft_ms for t in timings)
    assert all(ms >= truth for ms, truth in zip(measured, truths, strict=True))


def test_arrivals_that_wait_for_nobody_queue_as_planned():
    """Open loop at three quarters of what the server can do."""
    cost = Cost(floor_ms=6, new_token_us=0, cached_token_us=0)
    chance = random.Random(3)
    gaps_s = [chance.expovariate(0.75 / 0.006) for _ in range(40)]

    def one(number: int) -> Timing:
        with TimedClient(server.base_url) as client:
            first = 1000 * (number + 1)
            return client.generate(range(first, first + 8), max_new_tokens=1)

    with quick_server(cost=cost) as server, concurrent.futures.ThreadPoolExecutor(40) as pool:
        sent = []
        for number, gap_s in enumerate(gaps_s):
            time.sleep(gap_s)
            sent.append(pool.submit(one, number))
        timings = [future.result() for future in sent]
        served = list(server.served)
    assert [t.error for t in timings] == [None] * 40
    waited_ms = [s.queue_ms for s in served]
    assert min(waited_ms) == 0
    assert max(waited_ms) > 0
    assert sum(t.ttft_ms for t in timings) >= sum(waited_ms) + 40 * 6


@pytest.mark.parametrize("interference", [1.0, 0.5, 0.0])
def test_a_prefill_beside_it_delays_a_decode_by_what_was_planned(interference):
    shares = {"new_token_us": 1000, "cached_token_us": 0, "interference": interference}
    with quick_server(cost=Cost(floor_ms=0, decode_ms=5, **shares)) as server:
        planned_ms, measured_ms, prefill_ms = beside(server, decode_tokens=100, prefill_tokens=200)
    assert prefill_ms == pytest.approx(200)
    # Its own prefill, 99 steps, and the share of the other's prefill for which they stood still.
    assert planned_ms == pytest.approx(8 + 99 * 5 + 200 * interference, abs=0.01)
    assert measured_ms >= planned_ms


def test_requests_that_decode_slow_a_prefill_and_step_between_its_chunks():
    shares = {"new_token_us": 1000, "cached_token_us": 0, "decode_load": 0.5}
    settings = Settings(chunked_prefill_tokens=20)
    with quick_server(settings=settings, cost=Cost(floor_ms=0, decode_ms=10, **shares)) as server:
        planned_ms, measured_ms, prefill_ms = beside(server, decode_tokens=50, prefill_tokens=60)
        assert [s.prefill_ms for s in server.served] == [8, 90]
    assert prefill_ms == pytest.approx(90 + 2 * 10)
    assert planned_ms == pytest.approx(8 + 49 * 10 + 90, abs=0.01)
    assert measured_ms >= planned_ms


def test_a_server_with_a_full_pool_is_slower_by_its_leaves():
    cost = Cost(floor_ms=2, new_token_us=0, cached_token_us=0, evict_us_per_leaf=100)
    with (
        quick_server(settings=Settings(kv_capacity_tokens=1600), cost=cost) as server,
        client_of(server) as client,
        TimedClient(server.base_url) as timed,
    ):
        for k in range(200):
            client.stream_generate([20 + k, *range(300, 307)], 0)
        aged = [timed.generate(range(k, k + 8), max_new_tokens=1) for k in (60_000, 70_000)]
        client.get("/flush_cache")
        timed.generate(range(60_000, 60_008), max_new_tokens=1)
        assert [s.evict_ms for s in server.served] == [0] * 200 + [20, 20, 0]
        assert [s.prefill_ms for s in server.served] == [2] * 200 + [22, 22, 2]
    assert all(timing.ttft_ms >= 22 for timing in aged)
