"""An append-prefill beside decodes, against a server whose interference is known."""

import pytest

from append_prefill.planted.cost import Cost
from append_prefill.planted.server import PlantedServer
from append_prefill.probe import beside
from append_prefill.probe.beside import take_beside, token_ms
from append_prefill.probe.call import Crowd
from append_prefill.probe.client import TimedClient
from append_prefill.probe.sample import Times
from append_prefill.probe.timing import failed
from append_prefill.workload.points import Point
from append_prefill.workload.prompts import PromptSource
from append_prefill.workload.traffic import Traffic
from append_prefill.workload.traffic_experiment import WINDOW_TOKENS, Unit

UNIT = Unit("beside_2", Traffic(company="beside:2"), (Point(512, 16),))
DECODE_MS = 3.0


def sample_of(cost):
    with PlantedServer(cost, start_seed=1) as server, TimedClient(server.base_url) as client:
        crowd = Crowd(server.base_url, None)
        (sample,) = take_beside(
            client,
            crowd,
            PromptSource((1,), 32000),
            UNIT,
            page_tokens=1,
            output_tokens=2,
            pause=lambda _: None,
        )
        crowd.close()
        return sample


def cost(interference):
    """40 ms of prefill for 16 new tokens, 238 for all 528: more than a busy machine adds."""
    return Cost(
        floor_ms=40,
        new_token_us=450,
        cached_token_us=0,
        decode_ms=DECODE_MS,
        interference=interference,
    )


def test_decodes_wait_for_an_append_prefill_and_longer_for_a_full_one():
    sample = sample_of(cost(1.0))
    assert isinstance(sample.result, Times)
    assert sample.result.cached_tokens == 512
    assert sample.result.ttft_ms >= 40
    company = sample.company
    assert company.itl_before_ms == pytest.approx(DECODE_MS, rel=0.35)
    # A window of 32 tokens is longer by the prefill; what a busy machine adds is in all of them.
    append = (company.itl_append_ms - company.itl_before_ms) * WINDOW_TOKENS
    full = (company.itl_prefill_ms - company.itl_before_ms) * WINDOW_TOKENS
    assert append == pytest.approx(40, abs=30)
    assert full == pytest.approx(238, abs=80)


def test_where_both_go_on_side_by_side_no_decode_waits():
    company = sample_of(cost(0.0)).company
    # Standing still for the prefills would make it 1.4 and 3.5 times as much.
    assert company.itl_append_ms == pytest.approx(company.itl_before_ms, rel=0.3)
    assert company.itl_prefill_ms == pytest.approx(company.itl_before_ms, rel=0.3)


def test_decodes_that_end_too_early_prove_nothing(monkeypatch):
    monkeypatch.setattr(beside, "DECODE_TOKENS", 2 * WINDOW_TOKENS)
    sample = sample_of(cost(1.0))
    assert sample.result == "a decode ended before its windows were over"


def timing(times):
    made = failed("")
    return type(made)(
        ttft_ms=times[0][1],
        e2e_ms=times[-1][1],
        token_times_ms=times,
        prompt_tokens=1,
        cached_tokens=0,
        completion_tokens=times[-1][0],
        retractions=None,
        error=None,
    )


def test_a_window_goes_from_the_last_token_before_to_as_many_tokens_later():
    even = timing([(n, 10.0 * n) for n in range(1, 101)])
    assert token_ms(even, 455.0) == 10
    assert token_ms(even, 455.0, before=True) == 10
    slow = timing([(n, 10.0 * n + (320 if n > 45 else 0)) for n in range(1, 101)])
    assert token_ms(slow, 455.0) == 10 + 320 / WINDOW_TOKENS
    assert token_ms(slow, 455.0, before=True) == 10


def test_an_event_with_several_tokens_counts_for_all_of_them():
    pairs = timing([(n, 10.0 * n) for n in range(1, 101, 3)])
    assert token_ms(pairs, 455.0) == 10
    assert token_ms(pairs, 455.0, before=True) == 10


@pytest.mark.parametrize(("at_ms", "before"), [(5.0, False), (900.0, False), (200.0, True)])
def test_a_window_that_is_not_all_there_has_no_value(at_ms, before):
    even = timing([(n, 10.0 * n) for n in range(1, 101)])
    assert token_ms(even, at_ms, before=before) is None
