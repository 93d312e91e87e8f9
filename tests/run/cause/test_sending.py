"""The requests that are profiled."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from append_prefill.errors import InfrastructureError
from append_prefill.probe.sample import Times
from append_prefill.probe.timing import Timing
from append_prefill.run.cause.sending import POOL_SHARE, UNTOLD_BATCH, PointWork, SampleWork
from append_prefill.workload.points import Point
from append_prefill.workload.prompts import PromptSource

POINT = Point(64, 8)


class Client:
    """A server that finds what was primed, and notes what it was asked."""

    def __init__(self, error=None):
        self.flushed, self.primed, self.sent, self.tokens, self._error = 0, [], [], [], error

    def flush_cache(self):
        self.flushed += 1

    def prime(self, prompt):
        self.primed.append(list(prompt))
        return SimpleNamespace(error=self._error)

    def generate(self, prompt, *, max_new_tokens):
        self.sent.append(list(prompt))
        self.tokens.append(max_new_tokens)
        return Timing(
            ttft_ms=2.0,
            e2e_ms=2.0,
            token_times_ms=[(1, 2.0)],
            prompt_tokens=len(prompt),
            cached_tokens=len(self.primed[-1]),
            completion_tokens=max_new_tokens,
            retractions=0,
            error=None,
            output_ids=(1,),
        )


def work(client, *, capacity=10_000, page=1, vocabulary=32_000):
    described = SimpleNamespace(page_size_tokens=page, kv_capacity_tokens=capacity)
    prompts = PromptSource((1,), vocabulary)
    return PointWork(client, prompts, described, POINT, vocab_size=vocabulary, idle_s=0.0)


def test_a_batch_is_behind_one_context_and_asks_for_one_token():
    client = Client()
    made = work(client)
    made.prepare()
    assert all(isinstance(one, Times) for one in made.send(5))
    assert (client.flushed, len(client.primed), client.tokens) == (1, 1, [1] * 5)
    (context,) = client.primed
    assert len(context) == POINT.context_tokens
    assert all(sent[:64] == context and len(sent) == 72 for sent in client.sent)


def test_no_two_suffixes_begin_alike_however_few_words_there_are():
    client = Client()
    made = work(client, vocabulary=14 + 60)
    room = made.prepare()
    assert room == 30
    made.send(room)
    assert len({sent[64] for sent in client.sent}) == 30


def test_a_batch_leaves_half_of_the_pool_free():
    room = work(Client(), capacity=10_000).prepare()
    assert 64 + room * (8 + 1) <= POOL_SHARE * 10_000
    assert work(Client(), capacity=10_000, page=16).prepare() < room
    assert work(Client(), capacity=70).prepare() == 1
    assert work(Client(), capacity=None).prepare() == UNTOLD_BATCH


def test_a_context_that_cannot_be_primed_is_no_condition():
    with pytest.raises(InfrastructureError, match="could not be primed: full"):
        work(Client("full")).prepare()


def samples(client, *, capacity=10_000, page=1):
    described = SimpleNamespace(page_size_tokens=page, kv_capacity_tokens=capacity)
    prompts = PromptSource((1,), 32_000)
    return SampleWork(client, prompts, described, POINT, output_tokens=4, idle_s=0.0)


def test_as_a_run_takes_them_each_has_a_prime_of_its_own():
    client = Client()
    made = samples(client)
    made.prepare()
    assert all(isinstance(one, Times) for one in made.send(5))
    assert (client.flushed, client.tokens) == (1, [4] * 5)
    assert len({tuple(context) for context in client.primed}) == 5
    for context, sent in zip(client.primed, client.sent, strict=True):
        assert sent[:64] == context
        assert len(sent) == 72


def test_samples_leave_half_of_the_pool_free_and_a_prime_that_fails_is_told():
    room = samples(Client()).prepare()
    assert room == int(POOL_SHARE * 10_000 / (72 + 4 + 1))
    assert samples(Client(), capacity=70).prepare() == 1
    assert samples(Client(), capacity=None).prepare() == UNTOLD_BATCH
    assert samples(Client("full")).send(1) == ["the context could not be primed: full"]
