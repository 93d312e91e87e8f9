"""The time line: when each token is due, without a server or a wait."""

from __future__ import annotations

import time

import pytest

from append_prefill.planted.cost import Cost
from append_prefill.planted.faults import Faults
from append_prefill.planted.prefix_cache import pack
from append_prefill.planted.protocol import Generate, Settings
from append_prefill.planted.scheduler import Scheduler

COST = Cost(floor_ms=10, new_token_us=0, cached_token_us=0, decode_ms=2)


def request(first: int, max_new_tokens: int = 3) -> Generate:
    return Generate("rid", pack(range(first, first + 8)), 8, max_new_tokens, stream=True)


def scheduler(faults: Faults | None = None, settings: Settings | None = None) -> Scheduler:
    return Scheduler(COST, faults or Faults(), settings or Settings(), 1, None)


def test_tokens_are_due_a_decode_step_apart():
    job = scheduler().admit(request(100), 0)
    assert [job.token_due_ns(k) / 1e6 for k in (1, 2, 3)] == [10, 12, 14]


def test_a_retraction_puts_a_second_prefill_after_the_first_token():
    job = scheduler(Faults(retraction=1)).admit(request(100), 0)
    assert [job.token_due_ns(k) / 1e6 for k in (1, 2, 3)] == [10, 22, 24]


def test_two_prefills_at_once_take_turns_and_decodes_do_not_block():
    device = scheduler()
    assert device.admit(request(100), 0).first_ns == 10_000_000
    assert device.admit(request(200), 4_000_000).first_ns == 20_000_000
    assert device.admit(request(300), 21_000_000).first_ns == 31_000_000


def test_nothing_is_cached_before_its_prefill_is_done():
    device = scheduler()
    assert device.admit(request(100), 0).cached_tokens == 0
    assert device.admit(request(100), 0).cached_tokens == 0
    device.store(request(100).prompt)
    assert device.admit(request(100), 0).cached_tokens == 7


def test_flush_waits_for_the_last_request_and_then_empties():
    device = scheduler()
    job = device.admit(request(100), time.perf_counter_ns())
    device.store(request(100).prompt)
    assert not device.flush(0)
    assert not device.flush(0.01)
    assert device.cache.tokens == 8
    device.finish(job)
    assert device.flush(0)
    assert (device.cache.tokens, device.running) == (0, 0)


def test_drift_counts_from_where_it_is_told_to():
    cost = Cost(floor_ms=10, drift_per_hour=1.0)
    device = Scheduler(cost, Faults(), Settings(), 1, time.time() - 7200)
    device.begin()
    job = device.admit(request(100), time.perf_counter_ns())
    # Two hours and the moments this test takes; a moment is far below 0.1 % of two hours.
    assert job.prefill_ms == pytest.approx(30, rel=1e-3)
