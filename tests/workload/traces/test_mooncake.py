"""The Mooncake format: what is written is read, and requests are chained by their blocks."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from append_prefill.errors import UsageError
from append_prefill.workload.conversation import Conversation, Turn
from append_prefill.workload.traces.chains import BLOCK_TOKENS
from append_prefill.workload.traces.mooncake import mooncake_lines, read_mooncake
from append_prefill.workload.traces.rows import Row
from append_prefill.workload.traces.trace import Trace
from tests.workload.traces.strategies import conversations


def read(rows: list[dict[str, Any]]) -> Trace:
    return read_mooncake(Row(f"trace.jsonl:{n}", row) for n, row in enumerate(rows, 1))


def rounded(conversation: Conversation) -> Conversation:
    return Conversation(
        tuple(
            Turn(t.append_tokens, t.reply_tokens, round(t.after_s, 6)) for t in conversation.turns
        )
    )


def request(at_ms: float, tokens: int, reply: int, *blocks: int, **more: Any) -> dict[str, Any]:
    return {
        "timestamp": at_ms,
        "input_length": tokens,
        "output_length": reply,
        "hash_ids": list(blocks),
        **more,
    }


@given(st.lists(conversations(), max_size=4))
def test_what_is_written_is_read(whole: list[Conversation]) -> None:
    trace = read([json.loads(line) for line in mooncake_lines(whole)])
    assert [rounded(c) for c in trace.conversations] == whole
    assert trace.left_out.single_requests == trace.left_out.resets == 0
    assert not trace.tokens_estimated


@given(st.lists(conversations(opening_min=BLOCK_TOKENS), max_size=4), st.randoms())
def test_hashes_alone_tell_the_conversations(whole: list[Conversation], rng: random.Random) -> None:
    """As in the published traces: no session, requests of all conversations mixed."""
    rows: list[dict[str, Any]] = []
    for line in mooncake_lines(whole):
        row = json.loads(line)
        rows.append(row | {"timestamp": row["timestamp"] + len(rows)})  # none at the same time
        del rows[-1]["conversation"]
    rng.shuffle(rows)
    found = read(rows).conversations
    sizes = [[(t.append_tokens, t.reply_tokens) for t in c.turns] for c in found]
    assert sizes == [[(t.append_tokens, t.reply_tokens) for t in c.turns] for c in whole]


def test_a_gap_is_the_time_between_arrivals() -> None:
    trace = read([request(1000, 600, 20, 1, 2), request(3500, 700, 9, 1, 3)])
    assert trace.conversations == (Conversation((Turn(600, 20), Turn(80, 9, 2.5))),)


def test_a_system_prompt_in_common_makes_no_conversation() -> None:
    """Each begins with block 1, and none with a block that an earlier one alone has."""
    trace = read([request(n, 1100, 5, 1, 10 + n, 20 + n) for n in range(3)])
    assert not trace.conversations
    assert trace.left_out.single_requests == 3


def test_a_short_request_of_shared_blocks_is_continued_by_none() -> None:
    rows = [
        request(0, 1100, 5, 1, 2, 3),
        request(1, 600, 5, 1, 4),  # its one full block is the first one's
        request(2, 700, 5, 1, 5),
    ]
    assert read(rows).left_out.single_requests == 3


def test_the_longest_beginning_is_continued() -> None:
    rows = [
        request(0, 600, 900, 1, 2),
        request(1, 1100, 5, 1, 3, 4),  # has no room for the first and its reply
        request(2, 2000, 5, 1, 3, 5, 6),
        request(3, 1700, 5, 1, 7, 8, 9),
    ]
    turns = [[t.append_tokens for t in c.turns] for c in read(rows).conversations]
    assert turns == [[600, 200], [1100, 895]]


def test_a_prompt_without_room_for_the_reply_continues_nothing() -> None:
    assert not read([request(0, 600, 200, 1, 2), request(1, 800, 5, 1, 3)]).conversations
    assert read([request(0, 600, 200, 1, 2), request(1, 801, 5, 1, 3)]).conversations


def test_rows_of_a_session_have_what_is_new_by_default() -> None:
    """AIPerf's: delays in ms after the reply, and blocks of the new tokens alone."""
    rows = [
        {"session_id": "a", "input_length": 1024, "output_length": 7, "hash_ids": [1, 2]},
        {"session_id": "b", "input_length": 9, "output_length": 1},
        {"session_id": "a", "input_length": 512, "output_length": 8, "hash_ids": [3], "delay": 40},
    ]
    trace = read(rows)
    assert trace.conversations == (Conversation((Turn(1024, 7), Turn(512, 8, 0.04))),)
    assert trace.left_out.single_requests == 1


def test_rows_of_a_session_that_extend_each_other_have_whole_prompts() -> None:
    rows = [
        request(0, 1024, 7, 1, 2, session_id=4),
        request(500, 1536, 8, 1, 2, 3, session_id=4),
        request(900, 600, 8, 1, 9, session_id=4, context_mode=None),
    ]
    assert read(rows[:2]).conversations == (Conversation((Turn(1024, 7), Turn(505, 8, 0.5))),)
    assert [t.append_tokens for t in read(rows).conversations[0].turns] == [1024, 1536, 600]


def test_rows_of_a_session_without_a_full_block_have_what_is_new() -> None:
    rows = [request(0, 100, 7, 1, session_id=4), request(5, 300, 8, 1, session_id=4)]
    assert [t.append_tokens for t in read(rows).conversations[0].turns] == [100, 300]


def test_a_prompt_that_shrank_begins_the_next_conversation() -> None:
    whole = {"session_id": "a", "context_mode": "message_array_with_responses"}
    tokens = (100, 200, 50, 90, 140)
    trace = read([{"input_length": n, "output_length": 10, **whole} for n in tokens])
    turns = [[t.append_tokens for t in c.turns] for c in trace.conversations]
    assert turns == [[100, 90], [50, 30, 40]]
    assert trace.left_out.resets == 1


@pytest.mark.parametrize(
    ("mode", "appended"), [("history", [2, 2]), ("delta", [2, 5])], ids=["history", "delta"]
)
def test_messages_are_whole_prompts_or_what_is_new(mode: str, appended: list[int]) -> None:
    first = {"role": "user", "content": "eightchr"}
    rows = [
        {"session_id": 1, "messages": [first], "output_length": 1, "message_mode": mode},
        {
            "session_id": 1,
            "messages": [first, {"role": "user", "content": "twelve chars"}],
            "output_length": 1,
            "message_mode": mode,
        },
    ]
    trace = read(rows)
    assert [t.append_tokens for t in trace.conversations[0].turns] == appended
    assert trace.tokens_estimated


@pytest.mark.parametrize(
    ("row", "named"),
    [
        (request(-1, 5, 5), "timestamp"),
        (request(1e16, 5, 5), "timestamp"),
        (request(0, 0, 5), "input_length"),
        (request(0, 10**8, 5) | {"hash_ids": None}, "input_length"),
        (request(0, 5, 0), "output_length"),
        (request(0, 5, 5) | {"input_length": 5.5}, "input_length"),
        (request(0, 5, 5) | {"input_length": True}, "input_length"),
        (request(0, 1200, 5, 1), "hash_ids"),
        (request(0, 5, 5, 1, 2), "hash_ids"),
        (request(0, 5, 5) | {"hash_ids": ["a"]}, "hash_ids"),
        (request(0, 5, 5, text_input="x"), "one of input_length"),
        ({"timestamp": 0, "output_length": 5}, "one of input_length"),
        ({"timestamp": 0, "input_length": 5}, "output_length"),
        ({"input_length": 5, "output_length": 5}, "timestamp"),
        (["input_length"], "dictionary"),
    ],
)
def test_a_malformed_request_is_refused_with_its_line(row: Any, named: str) -> None:
    with pytest.raises(UsageError, match=named) as caught:
        read([request(0, 600, 20, 1, 2), request(1, 700, 9, 1, 3), row])
    assert caught.value.option == "--trace"
    assert caught.value.value == "trace.jsonl:3"


def test_a_session_goes_forward() -> None:
    rows = [request(5, 600, 20, session_id="a"), request(4, 700, 9, session_id="a")]
    for row in rows:
        del row["hash_ids"]
    with pytest.raises(UsageError, match="timestamp 4 is before") as caught:
        read(rows)
    assert caught.value.value == "trace.jsonl:2"
