"""How much of a reply the next turn finds in the cache, by version and by fault."""

from __future__ import annotations

import pytest

from append_prefill.planted.cost import Cost
from append_prefill.planted.faults import Faults
from append_prefill.planted.meaning import refuse_meaningless
from append_prefill.planted.protocol import Settings
from tests.planted.client import client_of, quick_server

INSTANT = Cost(floor_ms=0.2, new_token_us=0, cached_token_us=0, decode_ms=0)
PROMPT, NEW = list(range(100, 200)), list(range(9000, 9020))


def second_turn(faults: Faults | None = None, page_tokens: int = 1, **settings) -> int:
    """Cached tokens of turn 2, after 100 prompt and 50 generated tokens and before 20 new ones."""
    chosen = Settings(page_size_tokens=page_tokens, **settings)
    with quick_server(faults, chosen, cost=INSTANT) as server, client_of(server) as client:
        reply = client.whole_generate(PROMPT, 50).json()["output_ids"]
        return client.cached([*PROMPT, *reply, *NEW])


@pytest.mark.parametrize(
    ("version", "cached"), [("0.5.7", 100), ("0.5.9", 150), ("0.5.23", 149), ("0.5.6", 100)]
)
def test_a_version_caches_of_a_reply_what_the_real_one_does(version, cached):
    """What real servers of these versions answered to the same two requests."""
    assert second_turn(sglang_version=version) == cached


def test_pages_floor_a_reply_too():
    assert second_turn(page_tokens=16) == 144


def test_a_lost_reply_leaves_the_prompt():
    assert second_turn(Faults(reply_lost=1)) == 100


def test_replies_are_lost_at_their_share():
    """Fixed seed: deterministic. 60 of 200 expected; the bounds are 4 sd."""
    with quick_server(Faults(reply_lost=0.3), cost=INSTANT) as server, client_of(server) as client:
        lost = 0
        for k in range(200):
            prompt = [20 + k, 5]
            reply = client.whole_generate(prompt, 3).json()["output_ids"]
            cached = client.cached([*prompt, *reply, 9])
            assert cached in (2, 4)
            lost += cached == 2
    assert 34 <= lost <= 86


def test_a_lost_reply_is_computed_again_and_takes_its_time():
    cost = Cost(floor_ms=0, new_token_us=100, cached_token_us=0, decode_ms=0)
    for faults, new_tokens in ((Faults(), 71 - 50), (Faults(reply_lost=1), 70)):
        with quick_server(faults, cost=cost) as server, client_of(server) as client:
            reply = client.whole_generate(PROMPT, 50).json()["output_ids"]
            client.cached([*PROMPT, *reply, *NEW])
            assert server.served[1].prefill_ms == pytest.approx(new_tokens / 10)


@pytest.mark.parametrize(
    ("cost", "faults", "version", "words"),
    [
        ({}, {"reply_lost": 0.5, "radix_off": True}, "0.5.23", "no reply is ever cached"),
        ({}, {"reply_lost": 0.5}, "0.5.8", "0.5.8 caches no reply"),
        ({}, {"cache_loss": 0.5, "radix_off": True}, "0.5.23", "none to lose"),
        ({"evict_us_per_leaf": 1}, {"radix_off": True}, "0.5.23", "evict_us_per_leaf"),
    ],
)
def test_what_would_change_nothing_is_refused(cost, faults, version, words):
    with pytest.raises(ValueError, match=words):
        refuse_meaningless(Cost(**cost), Faults(**faults), Settings(sglang_version=version))
    with pytest.raises(ValueError, match=words):
        quick_server(Faults(**faults), Settings(sglang_version=version), cost=Cost(**cost))
