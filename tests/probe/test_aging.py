import os

import pytest

from append_prefill.errors import InfrastructureError
from append_prefill.planted.cost import Cost
from append_prefill.planted.faults import Faults
from append_prefill.planted.protocol import Settings
from append_prefill.planted.server import PlantedServer
from append_prefill.probe.aging import age, resident_bytes
from append_prefill.probe.call import Crowd
from append_prefill.workload.profile import Aging
from append_prefill.workload.prompts import PromptSource

COST = Cost(floor_ms=0.05, new_token_us=0, cached_token_us=0, decode_ms=0.05)
WHY = "An argument of at least twenty letters."


def aged(leaves, seconds_max=30.0, *, page=1, capacity=2_000, faults=None, longest=None):
    settings = Settings(kv_capacity_tokens=capacity, page_size_tokens=page)
    with PlantedServer(COST, faults or Faults(), settings, start_seed=1) as server:
        crowd = Crowd(server.base_url, None)
        try:
            record = age(
                crowd,
                PromptSource((1,), 32000),
                Aging(leaves=leaves, seconds_max=seconds_max, argument=WHY),
                capacity_tokens=capacity,
                page_tokens=page,
                longest_tokens=longest,
                pids={os.getpid()},
            )
        finally:
            crowd.close()
        return record, server.scheduler.cache


def test_the_pool_is_full_of_leaves_and_evicts():
    record, cache = aged(200)
    assert (record.leaves, record.leaf_tokens) == (200, 10)
    assert record.tokens > record.capacity_tokens == 2_000
    assert cache.tokens > 1_900
    # Of the oldest leaves those had to go that the last prompts took the place of.
    assert 180 < cache.leaves <= 201


def test_where_time_is_out_long_prompts_fill_what_is_left():
    record, cache = aged(1_000, 1e-6)
    assert record.leaves < 100
    assert record.tokens > 2_000
    assert cache.tokens > 1_900


def test_a_leaf_is_whole_pages():
    record, cache = aged(300, page=16)
    assert record.leaf_tokens == 16
    assert record.leaves == 1.02 * 2_000 // 16
    assert cache.tokens > 1_900


def test_no_prompt_is_longer_than_the_server_takes():
    record, _ = aged(1, 1e-6, longest=31)
    assert record.tokens > 2_000


def test_a_server_that_refuses_a_prompt_is_not_aged():
    with pytest.raises(InfrastructureError, match="could not be aged: Input length"):
        aged(1, longest=2_400)


def test_memory_is_that_of_all_processes_or_not_known():
    own = resident_bytes({os.getpid()})
    assert own is not None
    assert own > 1_000_000
    assert resident_bytes(set()) is None
    assert resident_bytes({os.getpid(), 2**22 + 1}) is None
