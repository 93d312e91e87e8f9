"""Formats of texts: AIPerf's multi-turn, ShareGPT's, SGLang's agentic trace."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from append_prefill.errors import UsageError
from append_prefill.workload.conversation import Conversation, Turn
from append_prefill.workload.traces.chains import REPLY_TOKENS, Request, turns_of_whole
from append_prefill.workload.traces.chats import read_agentic, read_chats, read_sessions
from append_prefill.workload.traces.rows import Row

EIGHT = "x" * 8  # two tokens


def row(value: Any) -> Row:
    return Row("trace.json:1", value)


def test_a_session_of_aiperf() -> None:
    turns = [
        {"role": "system", "text": EIGHT},
        {"text": EIGHT, "output_length": 30, "delay": 900},  # after nothing
        {"texts": [EIGHT, {"name": "n", "contents": ["y" * 4]}], "delay": 1500},
        {"text": "", "timestamp": 7},
    ]
    trace = read_sessions([row({"session_id": "a", "turns": turns})])
    expected = (Turn(4, 30), Turn(3, REPLY_TOKENS, 1.5), Turn(1, REPLY_TOKENS))
    assert trace.conversations == (Conversation(expected),)
    assert trace.tokens_estimated


def test_times_of_a_session_are_gaps() -> None:
    turns = [{"text": "a", "timestamp": at_ms} for at_ms in (100, 350, 400)]
    (conversation,) = read_sessions([row({"turns": turns})]).conversations
    assert [turn.after_s for turn in conversation.turns] == [0, 0.25, 0.05]


@pytest.mark.parametrize(
    "session",
    [
        {"turns": []},
        {"turns": [{"delay": 4}]},
        {"turns": [{"text": "a", "image": "picture.png"}]},
        {"turns": [{"text": "a", "delay": -1}]},
        {"turns": [{"text": "a", "output_length": 0}]},
        {"turns": [{"text": "a", "timestamp": 2}, {"text": "a", "timestamp": 1}]},
        {"turns": "none"},
        {},
    ],
)
def test_a_malformed_session_is_refused(session: Any) -> None:
    with pytest.raises(UsageError, match=r"^--trace trace.json:1: "):
        read_sessions([row(session)])


@pytest.mark.parametrize(
    ("role", "text", "user", "assistant"),
    [("role", "content", "user", "assistant"), ("from", "value", "human", "gpt")],
)
def test_a_chat_in_both_spellings(role: str, text: str, user: str, assistant: str) -> None:
    said = [
        (assistant, EIGHT),  # greets first: part of the prompt
        (user, EIGHT),
        (assistant, EIGHT * 2),
        (assistant, EIGHT),
        (user, EIGHT * 4),
        ("tool", EIGHT),
    ]
    messages = [{role: who, text: what} for who, what in said]
    trace = read_chats([row({"conversations": messages, "max_tokens": 17})])
    assert trace.conversations == (Conversation((Turn(4, 6), Turn(10, 17))),)


def test_a_chats_tool_calls_and_parts_count() -> None:
    messages = [
        {"role": "user", "content": [{"type": "text", "text": EIGHT}, {"type": "image_url"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"a": 1}]},
        {"role": "user", "content": "x"},
    ]
    (conversation,) = read_chats([row({"messages": messages})]).conversations
    assert conversation.turns == (Turn(2, 3), Turn(1, REPLY_TOKENS))


@pytest.mark.parametrize(
    "chat", [{"messages": []}, {"messages": [{"content": "a"}]}, {"messages": [3]}, {}]
)
def test_a_malformed_chat_is_refused(chat: Any) -> None:
    with pytest.raises(UsageError, match=r"^--trace trace.json:1: "):
        read_chats([row(chat)])


def agent(*turns: tuple[int, int]) -> dict[str, Any]:
    """Turns of (prompt tokens, characters of the new messages)."""
    return {
        "metadata": {},
        "conversations": [
            [
                {"messages": [{"role": "user", "content": "x" * c}] if c else [], **known(n)}
                for n, c in turns
            ]
        ],
    }


def known(prompt_tokens: int) -> dict[str, int]:
    return {"prompt_tokens": prompt_tokens} if prompt_tokens else {}


def test_an_agentic_trace_keeps_the_lengths_of_its_prompts() -> None:
    trace = read_agentic(row(agent((1000, 8), (1500, 8), (1510, 8), (1512, 8))))
    expected = (Turn(1000, REPLY_TOKENS), Turn(280, 9), Turn(1, 1), Turn(1, REPLY_TOKENS))
    assert trace.conversations == (Conversation(expected),)
    assert not trace.tokens_estimated


def test_an_agentic_trace_without_lengths_is_estimated() -> None:
    trace = read_agentic(row(agent((0, 8), (0, 0), (0, 40))))
    assert trace.conversations == (Conversation((Turn(2, 220), Turn(10, 220))),)
    assert trace.tokens_estimated


def test_a_compacted_context_begins_anew() -> None:
    trace = read_agentic(row(agent((900, 8), (2000, 8), (700, 8), (1000, 8))))
    assert [len(c.turns) for c in trace.conversations] == [2, 2]
    assert trace.left_out.resets == 1


@given(st.lists(st.tuples(st.integers(1, 3000), st.none() | st.integers(1, 400)), max_size=20))
def test_whole_prompts_keep_their_lengths(requests: list[tuple[int, int | None]]) -> None:
    """However they grow and shrink, and whether or not replies are known."""
    chains = turns_of_whole(Request(prompt, reply) for prompt, reply in requests)
    prompts = []
    for turns in chains:
        held = 0
        for turn in turns:
            prompts.append(held + turn.append_tokens)
            held = prompts[-1] + turn.reply_tokens
    assert prompts == [prompt for prompt, _ in requests]


@pytest.mark.parametrize(
    "document",
    [
        {"conversations": []},
        {"conversations": [[{"prompt_tokens": 3}]]},
        {"conversations": [[{"messages": [], "prompt_tokens": -3}]]},
        {"conversations": [[{"messages": [{"content": "a"}]}]]},
    ],
)
def test_a_malformed_agentic_trace_is_refused(document: Any) -> None:
    with pytest.raises(UsageError, match="conversations"):
        read_agentic(row(document))
