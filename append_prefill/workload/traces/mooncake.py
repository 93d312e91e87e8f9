"""The Mooncake trace format: a request per line, as its traces, SGLang and AIPerf have it.

`timestamp` (ms), `input_length`, `output_length`, `hash_ids` of blocks of 512 tokens. AIPerf adds
`session_id`, `delay` (ms after the reply before), and prompts as text or messages; this suite
`conversation`, a number, where hashes cannot tell (prompts without a full block).
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from pydantic import Field, model_validator

from append_prefill.workload.conversation import Conversation, Turn
from append_prefill.workload.traces.chains import (
    BLOCK_TOKENS,
    HashedRequest,
    Request,
    chained,
    estimated_tokens,
    extends,
    turns_of_new,
    turns_of_whole,
)
from append_prefill.workload.traces.messages import Message
from append_prefill.workload.traces.rows import Fields, Milliseconds, Row, Tokens
from append_prefill.workload.traces.trace import Trace, trace_of

_REMEDY = (
    'A request is {"timestamp": ms, "input_length": tokens, "output_length": tokens, '
    '"hash_ids": [blocks of 512 tokens]}.'
)
_WHOLE_PROMPTS = "message_array_with_responses"
"""AIPerf's name for rows that each hold the whole prompt, the replies before included."""


class MooncakeRequest(Fields):
    """A line of the format."""

    timestamp: Milliseconds | None = None
    delay: Milliseconds | None = None
    input_length: Tokens | None = None
    text_input: str | None = None
    messages: list[Message] | None = Field(default=None, min_length=1)
    message_mode: Literal["history", "delta"] = "history"
    output_length: Tokens | None = None
    hash_ids: list[int] | None = None
    session_id: str | int | None = None
    context_mode: str | None = None
    conversation: int | None = None

    @model_validator(mode="after")
    def _has_one_prompt(self) -> MooncakeRequest:
        prompts = (self.input_length, self.text_input, self.messages)
        if sum(prompt is not None for prompt in prompts) != 1:
            raise ValueError("a request has one of input_length, text_input and messages")
        if self.hash_ids is not None:
            if self.input_length is None:
                raise ValueError("hash_ids are of a prompt with input_length")
            need = self.input_length / BLOCK_TOKENS
            if len(self.hash_ids) not in (math.floor(need), math.ceil(need)):
                raise ValueError(
                    f"{len(self.hash_ids)} hash_ids are not the blocks of {BLOCK_TOKENS} tokens "
                    f"of {self.input_length}"
                )
        return self

    @property
    def prompt_tokens(self) -> int:
        if self.messages is not None:
            return estimated_tokens(sum(message.characters for message in self.messages))
        return self.input_length or estimated_tokens(len(self.text_input or ""))


Placed = tuple[Row, MooncakeRequest]


def read_mooncake(rows: Iterable[Row]) -> Trace:
    """The conversations of a file: by `conversation` or `session_id`, else by hashes.

    Raises UsageError for a row that is malformed, naming its line.
    """
    sessions: dict[tuple[str | int | None, int | None], list[Placed]] = {}
    alone: list[Placed] = []
    estimated = False
    for row in rows:
        request = row.fields(MooncakeRequest, _REMEDY)
        estimated = estimated or request.input_length is None
        named = (request.session_id, request.conversation)
        if named == (None, None):
            alone.append((row, request))
        else:
            sessions.setdefault(named, []).append((row, request))
    of_sessions = [_session(session) for session in sessions.values()]
    return trace_of(
        "mooncake",
        [*chained(_by_arrival(alone)), *itertools.chain.from_iterable(of_sessions)],
        resets=sum(len(found) - 1 for found in of_sessions),
        tokens_estimated=estimated,
    )


def _by_arrival(placed: Iterable[Placed]) -> list[HashedRequest]:
    found: list[HashedRequest] = []
    for row, request in placed:
        if request.timestamp is None or request.output_length is None:
            missing = "timestamp" if request.timestamp is None else "output_length"
            row.refuse(f"has no {missing}, and no session_id.", _REMEDY)
        found.append(
            HashedRequest(
                request.timestamp / 1000,
                request.prompt_tokens,
                request.output_length,
                tuple(request.hash_ids or ()),
            )
        )
    return sorted(found, key=lambda request: request.at_s)


def _session(session: Sequence[Placed]) -> list[list[Turn]]:
    requests = [
        Request(request.prompt_tokens, request.output_length, after_s)
        for (_, request), after_s in zip(session, _waits_s(session), strict=True)
    ]
    if _are_whole([request for _, request in session]):
        return turns_of_whole(requests)
    return [turns_of_new(requests)]


def _waits_s(session: Sequence[Placed]) -> Iterator[float]:
    """Seconds before each turn: its `delay`, or the time since the request before arrived."""
    before_ms: float | None = None
    for row, request in session:
        if request.delay is not None:
            yield request.delay / 1000
        elif request.timestamp is None or before_ms is None:
            yield 0.0
        elif request.timestamp < before_ms:
            row.refuse(
                f"timestamp {request.timestamp:g} is before that of the turn before it, "
                f"{before_ms:g}.",
                "The turns of a session stand in their order.",
            )
        else:
            yield (request.timestamp - before_ms) / 1000
        before_ms = request.timestamp


def _are_whole(session: Sequence[MooncakeRequest]) -> bool:
    """Whether each row has the whole prompt; AIPerf's rows have only what is new by default."""
    first = session[0]
    if first.messages is not None:
        return first.message_mode == "history"
    if first.context_mode is not None:
        return first.context_mode == _WHOLE_PROMPTS
    if first.conversation is not None:
        return True
    return len(session) > 1 and all(
        extends(later.hash_ids or (), earlier.hash_ids or (), _full_blocks(earlier))
        for earlier, later in itertools.pairwise(session)
    )


def _full_blocks(request: MooncakeRequest) -> int:
    return min(request.prompt_tokens // BLOCK_TOKENS, len(request.hash_ids or ()))


def mooncake_lines(conversations: Iterable[Conversation]) -> Iterator[str]:
    """The conversations in the format, one after the other, a request per line.

    `timestamp` in whole milliseconds. `conversation` is for `read_mooncake`; other readers pass
    over it, where a `session_id` would tell some of them that prompts are to be added up.
    """
    hashes = itertools.count()
    at_ms = 0
    for number, conversation in enumerate(conversations):
        blocks: list[int] = []  # those that are full
        held = 0
        for turn in conversation.turns:
            at_ms += round(turn.after_s * 1000)
            prompt = held + turn.append_tokens
            while len(blocks) < prompt // BLOCK_TOKENS:
                blocks.append(next(hashes))
            begun = [next(hashes)] if prompt % BLOCK_TOKENS else []
            yield json.dumps(
                {
                    "timestamp": at_ms,
                    "input_length": prompt,
                    "output_length": turn.reply_tokens,
                    "hash_ids": [*blocks, *begun],
                    "conversation": number,
                }
            )
            held = prompt + turn.reply_tokens
