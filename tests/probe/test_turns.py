"""Conversations with a server that caches as SGLang does."""

import time

import pytest

from append_prefill.planted.cost import Cost
from append_prefill.planted.faults import Faults
from append_prefill.planted.protocol import Settings
from append_prefill.planted.server import PlantedServer
from append_prefill.probe.client import TimedClient
from append_prefill.probe.sample import Times
from append_prefill.probe.speech import _Whole
from append_prefill.probe.turns import Kept, take_turns
from append_prefill.workload.conversation import Conversation, Turn
from append_prefill.workload.prompts import PromptSource
from append_prefill.workload.traffic import Traffic
from append_prefill.workload.traffic_experiment import Unit

REPLIED = Traffic(context="replied")
TALK = Conversation((Turn(100, 50), Turn(20, 30), Turn(20, 30, after_s=1.5)))
UNIT = Unit("turns", REPLIED, tuple(point for _, point in TALK.points()), TALK)


def turns_of(version, *, tail=0, page=1, faults=None, waits=None, traffic=REPLIED, talk=TALK):
    settings = Settings(sglang_version=version, page_size_tokens=page)
    cost = Cost(floor_ms=0.5, new_token_us=0, cached_token_us=0, decode_ms=0.05)
    with (
        PlantedServer(cost, faults or Faults(), settings) as server,
        TimedClient(server.base_url) as client,
    ):
        taken = take_turns(
            client,
            PromptSource((1,), 32000),
            Unit("turns", traffic, tuple(point for _, point in talk.points()), talk),
            kept=Kept(page, tail),
            pause=(waits if waits is not None else []).append,
        )
        return [sample for samples in taken for sample in samples]


def split(samples):
    return [(s.result.cached_tokens, s.planned_cached_tokens) for s in samples]


@pytest.mark.parametrize(("version", "tail"), [("0.5.9", 0), ("0.5.21", 0), ("0.5.23", 1)])
def test_each_turn_finds_all_before_it_but_what_its_version_leaves_out(version, tail):
    samples = turns_of(version, tail=tail)
    assert split(samples) == [(150 - tail, 150 - tail), (200 - tail, 200 - tail)]
    assert [s.point for s in samples] == list(UNIT.points)
    assert all(s.traffic == REPLIED for s in samples)


def test_whole_pages_are_planned():
    assert split(turns_of("0.5.23", tail=1, page=16)) == [(144, 144), (192, 192)]


def test_a_lost_reply_is_a_sample_that_says_so_and_not_invalid():
    """Turn 3 finds the first reply, which turn 2 sent as a part of its prompt, but not the second.

    The planned tokens are those that a version which keeps replies would keep.
    """
    assert split(turns_of("0.5.7")) == [(100, 150), (170, 200)]


def test_the_last_reply_is_over_before_the_next_turn_is_sent():
    waits = []
    samples = turns_of("0.5.23", tail=1, waits=waits)
    assert max(waits[:2]) <= 0
    # Nobody's turn came between, so next to nothing of the pause had passed.
    assert 1.4 < waits[2] <= 1.5
    assert all(isinstance(s.result, Times) and s.result.output_tokens == 30 for s in samples)


def test_what_another_server_took_between_two_turns_is_no_longer_waited_for():
    waits = []
    with (
        PlantedServer(Cost(floor_ms=0.5), Faults(), Settings()) as server,
        TimedClient(server.base_url) as client,
    ):
        prompts = PromptSource((1,), 32000)
        turns = take_turns(client, prompts, UNIT, kept=Kept(1, 1), pause=waits.append)
        assert next(turns) == []  # the first turn, which is not counted
        assert len(next(turns)) == 1
        time.sleep(0.3)  # the other server's turn
        assert len(next(turns)) == 1
        assert list(turns) == []
    assert waits[2] <= 1.2


def test_what_a_failed_turn_takes_with_it_has_its_reason():
    samples = turns_of("0.5.23", tail=1, faults=Faults(http_500=1.0))
    assert [s.point for s in samples] == list(UNIT.points)
    assert {s.result for s in samples} == {
        "an earlier turn failed: HTTP 500: Internal Server Error"
    }


def test_a_turn_that_fails_takes_those_after_it_and_none_before(monkeypatch):
    said, say = [], _Whole.say

    def stumbling(self, append_tokens, reply_tokens):
        timing = say(self, append_tokens, reply_tokens)
        said.append(append_tokens)
        self.told = "no word" if len(said) == 3 else None
        return timing

    monkeypatch.setattr(_Whole, "say", stumbling)
    talk = Conversation(tuple(Turn(tokens, 10) for tokens in (100, 20, 30, 40, 50, 60)))
    samples = turns_of("0.5.23", tail=1, talk=talk)
    assert said == [100, 20, 30]
    assert [s.point for s in samples] == [point for _, point in talk.points()]
    assert isinstance(samples[0].result, Times)
    assert [s.result for s in samples[1:]] == ["no word", *["an earlier turn failed: no word"] * 3]
    assert {s.traffic for s in samples} == {REPLIED}


@pytest.mark.parametrize("traffic", [Traffic("replied", "text"), Traffic("replied", "chat")])
def test_text_and_chats_are_turns_of_as_many_tokens(traffic):
    samples = turns_of("0.5.23", tail=1, traffic=traffic)
    assert split(samples) == [(149, 149), (199, 199)]
    assert [s.point for s in samples] == list(UNIT.points)
    assert {s.traffic for s in samples} == {traffic}


def test_a_session_is_sent_what_is_new_and_finds_the_rest():
    samples = turns_of("0.5.23", tail=1, traffic=Traffic("session"))
    assert split(samples) == [(149, 149), (199, 199)]


def test_a_turn_too_short_for_the_markers_of_a_chat_is_refused():
    short = Conversation((Turn(100, 50), Turn(4, 30)))
    with pytest.raises(ValueError, match="5 tokens or more, not 4"):
        turns_of("0.5.23", traffic=Traffic("replied", "chat"), talk=short)
