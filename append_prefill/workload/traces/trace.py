"""A trace: conversations to replay, and what of their source is not among them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from append_prefill.workload.conversation import Conversation, Turn

_DRAW = 0x7ACE
"""Keeps this draw apart from the others that a run makes from the same seed."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What of a source is not replayed, counted.

    `single_requests`: requests that belong to no conversation of two turns. `resets`: where a
    prompt no longer held all before it, so that a conversation ends and the next begins.
    `turns_cut`: turns behind the one that no longer fitted, or behind the most that were wanted.
    `conversations_cut`: conversations of which fewer than two turns fitted.
    """

    single_requests: int = 0
    resets: int = 0
    turns_cut: int = 0
    conversations_cut: int = 0


@dataclass(frozen=True, slots=True)
class Trace:
    """Conversations in the order of their source.

    `source`: the format of the file, or the name of the shape. `tokens_estimated`: the source has
    texts, whose tokens were estimated from their characters.
    """

    source: str
    conversations: tuple[Conversation, ...]
    left_out: LeftOut = LeftOut()
    tokens_estimated: bool = False


def trace_of(
    source: str,
    chains: Iterable[list[Turn]],
    *,
    resets: int = 0,
    tokens_estimated: bool = False,
) -> Trace:
    """The chains of two turns or more, those of one turn counted."""
    conversations = []
    single = 0
    for turns in chains:
        if len(turns) > 1:
            # Nothing is before the first turn that it could wait for.
            conversations.append(Conversation((replace(turns[0], after_s=0.0), *turns[1:])))
        else:
            single += len(turns)
    return Trace(
        source,
        tuple(conversations),
        LeftOut(single_requests=single, resets=resets),
        tokens_estimated,
    )


def scaled(trace: Trace, *, tokens: float, time: float) -> Trace:
    """All numbers of tokens times `tokens`, rounded and at least 1, all waits times `time`."""
    return replace(
        trace,
        conversations=tuple(
            Conversation(
                tuple(
                    Turn(
                        max(1, round(turn.append_tokens * tokens)),
                        max(1, round(turn.reply_tokens * tokens)),
                        turn.after_s * time,
                    )
                    for turn in conversation.turns
                )
            )
            for conversation in trace.conversations
        ),
    )


def drawn(trace: Trace, count: int, seed: int) -> Trace:
    """`count` of the conversations, all equally likely, in their order; all where it has fewer."""
    among = trace.conversations
    if len(among) <= count:
        return trace
    rng = np.random.Generator(np.random.PCG64([seed, _DRAW]))
    # The order of uniform draws: unlike `choice`, the same in every version of numpy.
    chosen = sorted(np.argsort(rng.random(len(among)), kind="stable")[:count])
    return replace(trace, conversations=tuple(among[index] for index in chosen))


def fitted(trace: Trace, *, turns_max: int, total_tokens: int | None = None) -> Trace:
    """Each conversation up to the last turn that fits `total_tokens`, its reply included.

    A conversation of which fewer than two turns fit is left out. What is cut is added to
    `left_out`. `total_tokens` None: no limit.
    """
    kept: list[Conversation] = []
    turns_cut = conversations_cut = 0
    for conversation in trace.conversations:
        turns = tuple(_fitting(conversation.turns[:turns_max], total_tokens))
        if len(turns) < 2:
            conversations_cut += 1
            continue
        turns_cut += len(conversation.turns) - len(turns)
        kept.append(Conversation(turns))
    before = trace.left_out
    left_out = replace(
        before,
        turns_cut=before.turns_cut + turns_cut,
        conversations_cut=before.conversations_cut + conversations_cut,
    )
    return replace(trace, conversations=tuple(kept), left_out=left_out)


def _fitting(turns: Iterable[Turn], total_tokens: int | None) -> Iterator[Turn]:
    held = 0
    for turn in turns:
        held += turn.append_tokens + turn.reply_tokens
        if total_tokens is not None and held > total_tokens:
            return
        yield turn
