"""Formats whose conversations are texts: AIPerf's multi-turn, ShareGPT's, SGLang's agentic trace.

None has a tokenizer with it, so that tokens are estimated from characters
(`chains.CHARACTERS_PER_TOKEN`) where the file does not have their number.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from pydantic import AliasChoices, Field, model_validator

from append_prefill.workload.conversation import Turn
from append_prefill.workload.traces.chains import (
    REPLY_TOKENS,
    Request,
    estimated_tokens,
    turns_of_new,
    turns_of_whole,
)
from append_prefill.workload.traces.messages import Message
from append_prefill.workload.traces.rows import Fields, Milliseconds, Row, Tokens
from append_prefill.workload.traces.trace import Trace, trace_of

_MEDIA = ("image", "images", "audio", "audios", "video", "videos")


class Texts(Fields):
    """AIPerf's named batch of texts."""

    contents: list[str] = Field(default_factory=list)


class SessionTurn(Fields):
    """One turn of AIPerf's multi-turn format. `delay` and `timestamp` in ms."""

    role: str | None = None
    text: str | None = None
    texts: list[str | Texts] | None = None
    delay: Milliseconds | None = None
    timestamp: Milliseconds | None = None
    output_length: Tokens | None = None

    @model_validator(mode="before")
    @classmethod
    def _is_text(cls, data: Any) -> Any:
        if isinstance(data, dict) and any(data.get(key) for key in _MEDIA):
            raise ValueError("images, audio and video have no place in a prompt of token ids")
        return data

    @model_validator(mode="after")
    def _has_text(self) -> SessionTurn:
        if self.text is None and self.texts is None:
            raise ValueError("a turn has text or texts")
        return self

    @property
    def characters(self) -> int:
        parts = [
            "".join(part.contents) if isinstance(part, Texts) else part for part in self.texts or ()
        ]
        return len(self.text or "") + sum(map(len, parts))

    @property
    def is_system_prompt(self) -> bool:
        """Belongs to the next turn, as AIPerf sends it: no request of its own."""
        timing = (self.delay, self.timestamp, self.output_length)
        return self.role == "system" and timing == (None, None, None)


class Session(Fields):
    """A line of AIPerf's multi-turn format."""

    turns: list[SessionTurn] = Field(min_length=1)


class Chat(Fields):
    """A conversation with its replies: ShareGPT, SGLang's `custom` and `openai` data sets."""

    messages: list[Message] = Field(
        validation_alias=AliasChoices("messages", "conversations", "conversation"), min_length=1
    )
    max_tokens: Tokens | None = None


class AgentTurn(Fields):
    """A turn of SGLang's agentic trace: the new messages, and the length of the whole prompt."""

    messages: list[Message]
    prompt_tokens: Tokens | Literal[0] = 0


class AgenticTrace(Fields):
    """SGLang's agentic trace: one JSON document."""

    conversations: list[list[AgentTurn]] = Field(min_length=1)


def read_sessions(rows: Iterable[Row]) -> Trace:
    """AIPerf's multi-turn format. Raises UsageError with the line of what is malformed."""
    remedy = 'A line is {"turns": [{"text": …, "delay": ms, "output_length": tokens}, …]}.'
    chains = [turns_of_new(_requests(row, row.fields(Session, remedy))) for row in rows]
    return trace_of("aiperf multi-turn", chains, tokens_estimated=True)


def _requests(row: Row, session: Session) -> Iterator[Request]:
    turns = list(session.turns)
    before = 0
    while turns and turns[0].is_system_prompt:
        before += turns.pop(0).characters
    times_ms = [None, *(turn.timestamp for turn in turns)]
    for number, (turn, last_ms) in enumerate(zip(turns, times_ms, strict=False), start=1):
        after_ms = turn.delay or 0.0
        if turn.delay is None and turn.timestamp is not None and last_ms is not None:
            after_ms = turn.timestamp - last_ms
        if after_ms < 0:
            row.refuse(
                f"turn {number} has a timestamp before that of the turn before it.",
                "The turns of a session stand in their order.",
            )
        tokens = estimated_tokens(before + turn.characters)
        yield Request(tokens, turn.output_length, after_ms / 1000)
        before = 0


def read_chats(rows: Iterable[Row]) -> Trace:
    """Conversations as messages. Raises UsageError with the line of what is malformed."""
    remedy = 'A conversation is {"messages": [{"role": …, "content": …}, …]}.'
    chains = [list(_turns(row.fields(Chat, remedy))) for row in rows]
    return trace_of("chat messages", chains, tokens_estimated=True)


def _turns(chat: Chat) -> Iterator[Turn]:
    """Each run of replies is one turn's; what stands before it is what that turn appends."""
    append: int | None = None
    for is_reply, run in itertools.groupby(chat.messages, key=lambda message: message.is_reply):
        characters = sum(message.characters for message in run)
        if is_reply and append is not None:
            yield Turn(append, estimated_tokens(characters))
            append = None
        else:  # a reply that nothing stands before is the beginning of the prompt
            append = (append or 0) + estimated_tokens(characters)
    if append is not None:
        yield Turn(append, chat.max_tokens or REPLY_TOKENS)


def read_agentic(row: Row) -> Trace:
    """SGLang's agentic trace. Raises UsageError naming the entry that is malformed.

    It has no replies: `chains.REPLY_TOKENS` each, as its loader does. A turn without messages is
    no request there either.
    """
    remedy = 'The document is {"conversations": [[{"messages": […], "prompt_tokens": N}, …], …]}.'
    chains: list[list[Turn]] = []
    resets = 0
    estimated = False
    for conversation in row.fields(AgenticTrace, remedy).conversations:
        turns = [turn for turn in conversation if turn.messages]
        if turns and all(turn.prompt_tokens for turn in turns):
            found = turns_of_whole(Request(turn.prompt_tokens, None) for turn in turns)
            resets += len(found) - 1
            chains += found
            continue
        estimated = True
        characters = (sum(message.characters for message in turn.messages) for turn in turns)
        chains.append(turns_of_new(Request(estimated_tokens(c), None) for c in characters))
    return trace_of("sglang agentic-trace", chains, resets=resets, tokens_estimated=estimated)
