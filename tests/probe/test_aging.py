import os
from contextlib import contextmanager

import pytest

from append_prefill.errors import InfrastructureError
from append_prefill.planted.cost import Cost
from append_prefill.planted.faults import Faults
from append_prefill.planted.protocol import Settings
from append_prefill.planted.server import PlantedServer
from append_prefill.probe.aging import Ager, resident_bytes
from append_prefill.probe.call import Crowd
from append_prefill.workload.prompts import PromptSource
from append_prefill.workload.states import Aging

COST = Cost(floor_ms=0.05, new_token_us=0, cached_token_us=0, decode_ms=0.05)
WHY = "An argument of at least twenty letters."


@contextmanager
def ager_of(leaves, seconds_max=30.0, *, page=1, capacity=2_000, filler=64, **settings):
    told = Settings(kv_capacity_tokens=capacity, page_size_tokens=page, **settings)
    with PlantedServer(COST, Faults(), told, start_seed=1) as server:
        crowd = Crowd(server.base_url, None)
        try:
            ager = Ager(
                crowd,
                PromptSource((1,), 32000),
                Aging(leaves=leaves, seconds_max=seconds_max, argument=WHY),
                capacity_tokens=capacity,
                page_tokens=page,
                filler_tokens=filler,
            )
            yield ager, server.scheduler.cache
        finally:
            crowd.close()


def test_the_pool_is_full_before_the_leaves_grow_in_it():
    with ager_of(200) as (ager, cache):
        assert ager.fill() == 32
        assert cache.tokens > 1_900
        grown = []
        for share in (0.25, 0.5, 1.0):
            grown.append(ager.grow(share))
            assert cache.tokens > 1_900
            # What is reckoned is what is there, but for the order of what was under way at once.
            assert ager.leaves == pytest.approx(cache.leaves, abs=3)
        record = ager.record(1, 2)
    assert grown == [50, 50, 100]
    assert (record.leaves, record.leaf_tokens) == (200, 9)
    assert record.tokens == 32 * 64 + 200 * 9
    assert (record.resident_before_bytes, record.resident_full_bytes) == (1, 2)
    assert ager.leaves > 200  # and some fillers, which go first


def test_samples_count_as_leaves_that_push_others_out():
    with ager_of(200) as (ager, _):
        ager.fill()
        before = ager.leaves
        ager.add(640)
        assert ager.leaves == before - 9


def test_where_time_is_out_there_are_fewer_leaves():
    with ager_of(1_000, 1e-6) as (ager, cache):
        ager.fill()
        assert ager.grow(1.0) == 0
        assert cache.tokens > 1_900


def test_a_leaf_is_whole_pages_and_no_longer_than_a_filler():
    with ager_of(300, page=16, filler=8) as (ager, _):
        assert ager.fill() == 128
        assert ager.record(None, None).leaf_tokens == 16


def test_a_server_that_refuses_a_prompt_is_not_aged():
    with (
        ager_of(1, filler=64, context_length_tokens=32) as (ager, _),
        pytest.raises(InfrastructureError, match="could not be aged: The input"),
    ):
        ager.fill()


def test_memory_is_that_of_all_processes_or_not_known():
    own = resident_bytes({os.getpid()})
    assert own is not None
    assert own > 1_000_000
    assert resident_bytes(set()) is None
    assert resident_bytes({os.getpid(), 2**22 + 1}) is None
