"""Files: their format is told by their content, and what is malformed is refused with its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from append_prefill.errors import UsageError
from append_prefill.workload.traces.read import read_trace
from tests.workload.traces.strategies import lines_of, written

SESSION = {"session_id": "a", "turns": [{"text": "hello"}, {"text": "more"}]}
HASHED = [
    {"timestamp": 0, "input_length": 600, "output_length": 20, "hash_ids": [1, 2]},
    {"timestamp": 9, "input_length": 700, "output_length": 9, "hash_ids": [1, 3]},
]
CHAT = {"messages": [{"role": role, "content": "a"} for role in ("user", "assistant", "user")]}
SHARED = {"conversations": [{"from": who, "value": "a"} for who in ("human", "gpt", "human")]}
AGENT = {"conversations": [[{"messages": CHAT["messages"], "prompt_tokens": n} for n in (9, 400)]]}


@pytest.mark.parametrize(
    ("text", "source"),
    [
        (lines_of(HASHED), "mooncake"),
        (json.dumps(HASHED, indent=1), "mooncake"),
        (lines_of([SESSION]), "aiperf multi-turn"),
        (lines_of([CHAT, CHAT]), "chat messages"),
        (json.dumps([SHARED]), "chat messages"),
        (lines_of([{"timestamp": 3, "conversation": CHAT["messages"]}]), "chat messages"),
        (lines_of([SHARED]), "chat messages"),
        (json.dumps(AGENT, indent=2), "sglang agentic-trace"),
        ("\ufeff\n" + lines_of([AGENT]) + "\n\n", "sglang agentic-trace"),
        (lines_of(HASHED).replace("\n", "\r\n\r\n"), "mooncake"),
    ],
)
def test_the_content_tells_the_format(tmp_path: Path, text: str, source: str) -> None:
    trace = read_trace(written(tmp_path, text))
    assert trace.source == source
    assert all(len(conversation.turns) == 2 for conversation in trace.conversations)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        (" \n ", "is empty"),
        ("[]", "has no entries"),
        ("3", ":1: is of no known format"),
        ('{"prompt": "a"}\n', ":1: is of no known format"),
        ('{"conversations": 3}', ":1: conversations"),
        (lines_of(HASHED) + '\n{"input_length": ', ":4: is no JSON"),
        (lines_of(HASHED) + '{"input_length": NaN}', ":3: is no JSON"),
        (lines_of(HASHED) + "[" * 100_000, ":3: is no JSON"),
        ("{\n\n oops", ":3: is no JSON"),
        ("not json", ":1: is no JSON"),
        (lines_of([*HASHED, {"input_length": -4}]), ":3: input_length"),
        (lines_of([*HASHED, 3]), ":3: the row"),
        (json.dumps([HASHED[0], {}]), " entry 2: the row"),
        (lines_of([SESSION, {"turns": [{}]}]), ":2: turns.0"),
        (lines_of(HASHED[:1]), "only 1 requests on their own"),
        (json.dumps({"conversations": [[{"messages": 3}]]}), ":1: conversations.0.0.messages"),
    ],
)
def test_what_is_no_trace_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        read_trace(path)
    assert problem in str(caught.value)
    assert str(caught.value).startswith(f"--trace {path}")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_trace(tmp_path / "none.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'{"text_input": "\xe9"}')
    with pytest.raises(UsageError, match="cannot be read"):
        read_trace(tmp_path / "latin.jsonl")


_text = st.text(max_size=9)
_few_ms = st.integers(0, 50)
_count = st.integers(1, 1200)
_message = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool"])}, optional={"content": _text}
)
_request = st.builds(
    lambda tokens, hashes, more: {
        "input_length": tokens,
        "output_length": 3,
        "timestamp": 0,
        "hash_ids": hashes[: -(-tokens // 512)],
        **more,
    },
    _count,
    st.lists(st.integers(0, 1), min_size=3, max_size=3),
    st.fixed_dictionaries(
        {},
        optional={
            "session_id": st.sampled_from(["a", 3]),
            "delay": _few_ms,
            "context_mode": st.sampled_from([None, "message_array_with_responses", "other"]),
        },
    ),
)
_turn = st.fixed_dictionaries({"text": _text}, optional={"delay": _few_ms, "output_length": _count})
_agent_turn = st.fixed_dictionaries(
    {"messages": st.lists(_message, min_size=1, max_size=2)},
    optional={"prompt_tokens": st.integers(0, 900)},
)
_formats = st.one_of(
    st.lists(_request, min_size=2, max_size=6),
    st.lists(st.fixed_dictionaries({"turns": st.lists(_turn, min_size=2)}), min_size=1, max_size=2),
    st.lists(
        st.fixed_dictionaries({"messages": st.lists(_message, min_size=3)}), min_size=1, max_size=2
    ),
    st.lists(
        st.fixed_dictionaries(
            {"conversations": st.lists(st.lists(_agent_turn, min_size=2), min_size=1, max_size=2)}
        ),
        min_size=1,
        max_size=1,
    ),
)
_wrong = st.sampled_from([None, -1, 0, 1.5, True, "", [], {}, [3], {"a": 1}, float("nan")])


@st.composite
def _rows(draw: st.DrawFn) -> list[Any]:
    """Rows of a format, in half of the draws with one value of one row replaced."""
    rows: list[Any] = draw(_formats)
    if draw(st.booleans()):
        place = draw(st.integers(0, len(rows) - 1))
        rows[place] = {**rows[place], draw(st.sampled_from(sorted(rows[place]))): draw(_wrong)}
    return rows


@settings(
    max_examples=60,
    deadline=None,  # it writes and reads files
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(_rows(), st.booleans())
def test_a_file_is_conversations_or_a_usage_error(
    tmp_path: Path, rows: list[Any], as_list: bool
) -> None:
    """Whatever stands in it; Conversation and Turn refuse what is none."""
    path = written(tmp_path, json.dumps(rows) if as_list else lines_of(rows))
    try:
        trace = read_trace(path)
    except UsageError:
        return
    assert trace.conversations
    for conversation in trace.conversations:
        assert conversation.turns[0].after_s == 0
        assert list(conversation.points())
