"""Drawn conversations: decided by the seed, and of the numbers that were published."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from append_prefill.errors import UsageError
from append_prefill.workload.conversation import Conversation, Turn
from append_prefill.workload.traces.mooncake import mooncake_lines
from append_prefill.workload.traces.shapes import (
    SHAPE_NAMES,
    Exponential,
    Lognormal,
    ShapeName,
    generated,
)
from append_prefill.workload.traces.spec import TraceSpec, load
from append_prefill.workload.traces.summary import summary_of
from append_prefill.workload.traces.trace import Trace, drawn, fitted, scaled
from tests.workload.traces.strategies import conversations, written

HERE = Path()


@settings(max_examples=20)
@given(st.sampled_from(SHAPE_NAMES), st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 4))
def test_the_seed_decides_and_more_keep_the_first(
    name: ShapeName, seed: int, few: int, more: int
) -> None:
    whole = generated(name, few + more, seed).conversations
    assert generated(name, few, seed).conversations == whole[:few]
    assert generated(name, few, seed + 1).conversations != whole[:few]


def test_a_seed_means_the_same_everywhere() -> None:
    """Changed draws change every stored trace: then say so in the changelog, and this hash."""
    lines = "\n".join(
        line for name in SHAPE_NAMES for line in mooncake_lines(generated(name, 3, 7).conversations)
    )
    assert hashlib.sha256(lines.encode()).hexdigest()[:16] == "d7e87ca95d980eb7"


def test_an_agents_conversations_are_as_published() -> None:
    """What the shape was not made from agrees, too: where a trial ends, and its rate of hits."""
    found = summary_of(generated("agentic", 150, seed=1))
    assert found.turns_each is not None
    assert found.opening_tokens is not None
    assert found.total_tokens is not None
    assert found.after_s is not None
    assert found.turns_each.p50 == pytest.approx(30, rel=0.15)
    assert found.turns_each.p90 == pytest.approx(57, rel=0.2)
    assert found.opening_tokens.p50 == pytest.approx(12_278, rel=0.02)
    assert found.after_s.p50 == pytest.approx(5.2, rel=0.1)
    assert found.after_s.p99 == pytest.approx(81.4, rel=0.2)
    assert found.total_tokens.p50 == pytest.approx(80_488, rel=0.15)
    assert found.total_tokens.p90 == pytest.approx(130_165, rel=0.2)
    assert found.cache_rate == pytest.approx(0.942, abs=0.03)


def test_peoples_conversations_are_as_published() -> None:
    trace = generated("chat", 300, seed=1)
    turns = [turn for conversation in trace.conversations for turn in conversation.turns]
    waits = [turn.after_s for c in trace.conversations for turn in c.turns[1:]]
    assert len(turns) / 300 == pytest.approx(3.5, rel=0.1)
    assert sum(turn.append_tokens for turn in turns) / len(turns) == pytest.approx(69.5, rel=0.1)
    assert sum(turn.reply_tokens for turn in turns) / len(turns) == pytest.approx(214.5, rel=0.1)
    assert sum(waits) / len(waits) == pytest.approx(100, rel=0.1)


def test_spreads_go_through_what_they_are_made_from() -> None:
    through = Lognormal.through(30, 0.9, 57)
    assert through.at(0.5) == pytest.approx(30)
    assert through.at(0.9) == pytest.approx(57)
    of_mean = Lognormal.of_mean(100, sigma=0.5)
    steps = [(n + 0.5) / 4000 for n in range(4000)]
    assert sum(map(of_mean.at, steps)) / 4000 == pytest.approx(100, rel=0.01)
    beyond = Exponential(3.5, least=2)
    assert beyond.at(0.0) == 2
    assert sum(map(beyond.at, steps)) / 4000 == pytest.approx(3.5, rel=0.01)


@given(st.lists(conversations(), min_size=1, max_size=4), st.integers(2, 9), st.integers(2, 9000))
def test_what_is_cut_is_counted(
    whole: list[Conversation], turns_max: int, total_tokens: int
) -> None:
    trace = fitted(Trace("t", tuple(whole)), turns_max=turns_max, total_tokens=total_tokens)
    for kept in trace.conversations:
        assert kept.total_tokens <= total_tokens
        assert len(kept.turns) <= turns_max
        assert any(kept.turns == c.turns[: len(kept.turns)] for c in whole)
    left = trace.left_out
    assert left.conversations_cut == len(whole) - len(trace.conversations)
    if not left.conversations_cut:
        turns = sum(len(c.turns) for c in trace.conversations)
        assert left.turns_cut == sum(len(c.turns) for c in whole) - turns


def test_the_longest_that_fits_is_kept() -> None:
    conversation = Conversation((Turn(10, 5), Turn(10, 5), Turn(10, 5)))
    trace = Trace("t", (conversation,))
    assert len(fitted(trace, turns_max=9, total_tokens=45).conversations[0].turns) == 3
    cut = fitted(trace, turns_max=9, total_tokens=44)
    assert len(cut.conversations[0].turns) == 2
    assert (cut.left_out.turns_cut, cut.left_out.conversations_cut) == (1, 0)
    assert fitted(trace, turns_max=9, total_tokens=29).left_out.conversations_cut == 1


def test_scaling_leaves_a_token_and_no_wait() -> None:
    trace = scaled(
        Trace("t", (Conversation((Turn(100, 40), Turn(3, 60, 5.0))),)), tokens=0.05, time=0
    )
    assert trace.conversations == (Conversation((Turn(5, 2), Turn(1, 3, 0.0))),)


@given(st.integers(1, 6), st.integers(0, 99))
def test_a_draw_keeps_the_order(count: int, seed: int) -> None:
    whole = generated("chat", 5, 0)
    found = drawn(whole, count, seed)
    assert found == drawn(whole, count, seed)
    places = [whole.conversations.index(c) for c in found.conversations]
    assert places == sorted(places)
    assert len(places) == min(count, 5)


def test_a_draw_reaches_every_conversation() -> None:
    whole = generated("chat", 5, 0)
    found = {c for seed in range(40) for c in drawn(whole, 1, seed).conversations}
    assert found == set(whole.conversations)


def test_a_spec_of_a_generator_fits_a_small_pool() -> None:
    spec = TraceSpec(generator="agentic", conversations=8, token_scale=0.03, time_scale=0.0)
    trace = load(spec, folder=HERE, total_tokens=4096)
    assert len(trace.conversations) == 8
    assert all(c.total_tokens <= 4096 for c in trace.conversations)
    assert all(turn.after_s == 0 for c in trace.conversations for turn in c.turns)
    assert max(len(c.turns) for c in trace.conversations) > 20


def test_a_spec_of_a_file_is_relative_to_its_folder(tmp_path: Path) -> None:
    whole = generated("chat", 6, 3).conversations
    path = written(tmp_path, "".join(f"{line}\n" for line in mooncake_lines(whole)))
    spec = TraceSpec(file=path.name, conversations=4, seed=2)
    trace = load(spec, folder=tmp_path)
    assert len(trace.conversations) == 4
    assert load(spec, folder=tmp_path) == trace


def test_a_trace_that_does_not_fit_is_refused() -> None:
    spec = TraceSpec(generator="agentic", conversations=2)
    with pytest.raises(UsageError, match=r"fit 4096 tokens; the shortest takes 1[2-9]\d\d\d"):
        load(spec, folder=HERE, total_tokens=4096)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"file": "a", "generator": "chat"},
        {"generator": "none"},
        {"generator": "chat", "conversations": 0},
        {"generator": "chat", "turns_max": 1},
        {"generator": "chat", "token_scale": 0},
        {"generator": "chat", "token_scale": 1001},
        {"generator": "chat", "time_scale": -1},
        {"generator": "chat", "time_scale": float("inf")},
        {"generator": "chat", "seed": -1},
        {"generator": "chat", "scale": 1},
    ],
)
def test_a_spec_that_means_nothing_does_not_validate(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TraceSpec.model_validate(fields)


def test_a_summary_in_numbers() -> None:
    trace = Trace(
        "t",
        (Conversation((Turn(100, 10), Turn(40, 20, 3.0))), Conversation((Turn(50, 5), Turn(5, 5)))),
    )
    found = summary_of(trace)
    assert (found.conversations, found.turns) == (2, 4)
    # Prompts of 100, 150, 50 and 60 tokens, of which 0, 110, 0 and 55 were there.
    assert found.cache_rate == pytest.approx(165 / 360)
    for quantiles, expected in (
        (found.context_tokens, (82.5, 104.5, 109.45, 110)),
        (found.reply_tokens, (7.5, 17, 19.7, 20)),
        (found.after_s, (1.5, 2.7, 2.97, 3)),
    ):
        assert quantiles is not None
        assert tuple(quantiles.model_dump().values()) == pytest.approx(expected)


def test_a_summary_of_nothing_has_no_numbers() -> None:
    found = summary_of(Trace("t", ()))
    assert found.cache_rate is None
    assert found.append_tokens is None
