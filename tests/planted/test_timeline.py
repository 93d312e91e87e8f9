"""What prefills and decodes make of one device's time: exact, without a server or a wait."""

from __future__ import annotations

from dataclasses import replace

import pytest

from append_prefill.planted.cost import Cost
from append_prefill.planted.faults import Faults
from append_prefill.planted.prefix_cache import pack
from append_prefill.planted.protocol import Generate, Settings
from append_prefill.planted.scheduler import Scheduler
from append_prefill.planted.timeline import Timeline

COST = Cost(floor_ms=10, new_token_us=0, cached_token_us=0, decode_ms=4, text_us=0)
MS = 1_000_000


def request(first: int, *, tokens: int = 8, max_new_tokens: int = 6, **more) -> Generate:
    prompt = pack(range(first, first + tokens))
    return Generate("rid", prompt, tokens, max_new_tokens, stream=True, **more)


def scheduler(cost: Cost = COST, **settings) -> Scheduler:
    return Scheduler(cost, Faults(), Settings(**settings), 1, None)


def due_ms(job) -> list[float]:
    return [job.token_due_ns(token) / MS for token in range(1, job.last_token + 1)]


def test_a_prefill_holds_up_the_next_token_by_its_own_time():
    device = scheduler()
    job = device.admit(request(100), 0)
    assert due_ms(job) == [10, 14, 18, 22, 26, 30]
    assert device.admit(request(200), 15 * MS).first_ns == 25 * MS
    assert due_ms(job) == [10, 14, 28, 32, 36, 40]


def test_half_an_interference_holds_it_up_by_half():
    device = scheduler(replace(COST, interference=0.5))
    job = device.admit(request(100), 0)
    device.admit(request(200), 15 * MS)
    # From 15 on the third token needs 3 more, which take 6 beside the prefill; the fourth 8.
    assert due_ms(job) == [10, 14, 21, 27, 31, 35]


def test_without_interference_decodes_go_on():
    device = scheduler(replace(COST, interference=0.0))
    job = device.admit(request(100), 0)
    device.admit(request(200), 15 * MS)
    assert due_ms(job) == [10, 14, 18, 22, 26, 30]


def test_a_prefill_that_comes_later_moves_no_token_that_was_due():
    timeline = Timeline(1.0)
    timeline.prefill(0, [10], step_ns=4, decodes=lambda _: 0)
    assert timeline.due_ns(10, 5) == 15
    timeline.prefill(15, [10], step_ns=4, decodes=lambda _: 1)
    assert (timeline.due_ns(10, 5), timeline.due_ns(10, 6)) == (15, 26)


def test_each_request_that_decodes_makes_a_prefill_longer():
    device = scheduler(replace(COST, decode_load=0.25, interference=0.0))
    assert [device.admit(request(100 * k), 0).prefill_ms for k in (1, 2, 3)] == [10, 12.5, 15]
    # The first decodes from 10 to 30, the second from 22.5 to 42.5, the third from 37.5 to 57.5.
    assert device.admit(request(400), 40 * MS).prefill_ms == 15
    assert device.admit(request(500), 100 * MS).prefill_ms == 10


def test_decodes_get_a_step_between_two_chunks():
    cost = replace(COST, floor_ms=0, new_token_us=1000)
    device = scheduler(cost, chunked_prefill_tokens=3)
    job = device.admit(request(100), 0)
    assert job.first_ns == 8 * MS  # alone, chunks follow each other at once
    long = device.admit(request(200), 9 * MS)
    # Chunks of 3, 3 and 2 ms with 4 ms for the other's tokens between them.
    assert long.first_ns == (9 + 8 + 2 * 4) * MS
    assert long.prefill_ms == 8
    assert due_ms(job) == [8, 9 + 3 + 3, 9 + 3 + 4 + 3 + 3, 9 + 16 + 3, 32, 36]


def test_chunks_leave_no_gap_where_decodes_go_on_beside_them():
    cost = replace(COST, floor_ms=0, new_token_us=1000, interference=0.0)
    device = scheduler(cost, chunked_prefill_tokens=3)
    device.admit(request(100), 0)
    assert device.admit(request(200), 9 * MS).first_ns == 17 * MS


def test_what_ended_early_holds_nobody_up():
    device = scheduler(replace(COST, decode_load=1.0))
    job = device.admit(request(100, max_new_tokens=1000), 0)
    assert device.admit(request(200), 20 * MS).prefill_ms == 20
    device.finish(job)
    # The second decodes by then.
    assert device.admit(request(300), 42 * MS).prefill_ms == 20


def test_a_finished_servers_past_is_forgotten():
    device = scheduler()
    jobs = [device.admit(request(100 * k), 0) for k in range(1, 6)]
    assert len(jobs[0].timeline.spans) == 5
    for job in jobs[:3]:
        device.finish(job)
    # What began before the fourth's first token is behind all that still run.
    assert len(jobs[0].timeline.spans) == 1
    for job in jobs[3:]:
        device.finish(job)
    assert jobs[0].timeline.spans == ()


def test_a_queue_is_served_in_order_and_waits_for_those_before():
    device = scheduler()
    jobs = [device.admit(request(100 * k, max_new_tokens=1), k * MS) for k in range(1, 65)]
    assert [job.first_ns // MS for job in jobs] == [1 + 10 * k for k in range(1, 65)]
    assert [round(job.queue_ms) for job in jobs] == [9 * k for k in range(64)]


@pytest.mark.parametrize(("form", "ms"), [("ids", 0), ("text", 2), ("chat", 3)])
def test_text_is_tokenized_before_it_is_prefilled(form, ms):
    device = scheduler(replace(COST, text_us=250, template_us=125))
    given = request(100, form=form, text_tokens=0 if form == "ids" else 8)
    jobs = [device.admit(given, 0), device.admit(given, 0)]
    assert [job.form_ms for job in jobs] == [ms, ms]
    assert [job.first_ns / MS for job in jobs] == [ms + 10, ms + 20]


def test_texts_are_tokenized_one_after_the_other():
    device = scheduler(replace(COST, floor_ms=0, text_us=1000))
    jobs = [device.admit(request(100, form="text", text_tokens=8), 0) for _ in range(3)]
    assert [job.first_ns / MS for job in jobs] == [8, 16, 24]


def test_an_eviction_costs_as_many_leaves_as_there_are():
    cost = replace(COST, evict_us_per_leaf=500)
    device = scheduler(cost, kv_capacity_tokens=32)
    for k in range(1, 5):
        given = request(100 * k)
        job = device.admit(given, 0)
        assert (job.evict_ms, job.prefill_ms) == (0, 10)
        device.store(given.prompt)
    job = device.admit(request(500), 0)
    assert (job.evict_ms, job.prefill_ms) == (2, 12)


def test_only_what_is_new_needs_room():
    device = scheduler(replace(COST, evict_us_per_leaf=500), kv_capacity_tokens=20)
    device.store(request(100, tokens=16).prompt)
    assert device.admit(request(100, tokens=20), 0).evict_ms == 0
    assert device.admit(request(100, tokens=21), 0).evict_ms == 0.5
