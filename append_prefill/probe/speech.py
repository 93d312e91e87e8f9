"""How a conversation is sent: as token ids, as text, as chat messages, or into a session.

Each says a turn of so many new tokens and remembers what was said. A text's tokens are counted by
the suite's own vocabulary (`workload.wordlevel`), so that a turn has as many as its plan says in
every form.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from append_prefill.probe.client import TimedClient
from append_prefill.probe.timing import Timing
from append_prefill.workload.points import Point
from append_prefill.workload.prompts import PromptSource
from append_prefill.workload.traffic import Traffic
from append_prefill.workload.wordlevel import decode, encode, encode_chat

CHARACTERS_A_TOKEN = 12
"""`w128255` and a space are eight characters; a session's capacity is given in characters."""


class Speech(Protocol):
    """One conversation with one server."""

    @property
    def told(self) -> str | None:
        """Why the conversation cannot go on after the last turn, or None."""
        ...

    def say(self, append_tokens: int, reply_tokens: int) -> Timing:
        """Send a turn of `append_tokens` new tokens, to be answered by `reply_tokens`."""
        ...


@contextmanager
def speech_of(traffic: Traffic, client: TimedClient, prompts: PromptSource) -> Iterator[Speech]:
    """A conversation as `traffic` wants it. Raises InfrastructureError without a session."""
    if traffic.context == "session":
        session = client.post_json(
            "/open_session",
            {"capacity_of_str_len": 1_000_000 * CHARACTERS_A_TOKEN, "streaming": True},
        )
        try:
            yield _Session(client, prompts, str(session))
        finally:
            client.post_json("/close_session", {"session_id": session})
    elif traffic.form == "chat":
        yield _Chat(client, prompts)
    else:
        yield _Whole(client, prompts, as_text=traffic.form == "text")


class _Whole:
    """Each turn sends all that was said before it, as ids or as text."""

    def __init__(self, client: TimedClient, prompts: PromptSource, *, as_text: bool) -> None:
        self._client, self._prompts, self._as_text = client, prompts, as_text
        self._held: list[int] = []
        self.told: str | None = None

    def say(self, append_tokens: int, reply_tokens: int) -> Timing:
        new = _new(self._prompts, append_tokens, first=not self._held)
        prompt = [*self._held, *new]
        timing = self._client.generate(
            decode(prompt) if self._as_text else prompt, max_new_tokens=reply_tokens
        )
        if timing.error is None and timing.output_ids is None:
            self.told = "the server told no ids of its reply"
        self._held = [*prompt, *(timing.output_ids or ())]
        if self._as_text and encode(decode(self._held)) != self._held:
            self.told = "the reply has a token that is no word"
        return timing


class _Chat:
    """Each turn sends all messages; the server's template puts markers around them."""

    def __init__(self, client: TimedClient, prompts: PromptSource) -> None:
        self._client, self._prompts = client, prompts
        self._messages: list[tuple[str, str]] = []
        self._held: list[int] = []
        self.told: str | None = None

    def say(self, append_tokens: int, reply_tokens: int) -> Timing:
        first = not self._messages
        # What the template adds to the words of a turn: the last reply's end, the markers around
        # the message, and that of the reply to come.
        around = len(encode_chat([("user", "")])) + (not first)
        words = append_tokens - around
        if words < 1:
            raise ValueError(
                f"a turn of a chat has {around + 1} tokens or more, not {append_tokens}"
            )
        message = ("user", decode(_new(self._prompts, words, first=first)))
        messages = [*self._messages, message]
        timing = self._client.chat(messages, max_new_tokens=reply_tokens)
        reply = encode(timing.text or "")
        if timing.error is None and len(reply) != reply_tokens:
            self.told = f"the reply's text has {len(reply)} tokens, not {reply_tokens}"
        self._messages = [*messages, ("assistant", decode(reply))]
        return timing


class _Session:
    """Each turn sends what is new; the server holds what was before."""

    def __init__(self, client: TimedClient, prompts: PromptSource, session: str) -> None:
        self._client, self._prompts, self._session = client, prompts, session
        self._begun = False
        self.told: str | None = None

    def say(self, append_tokens: int, reply_tokens: int) -> Timing:
        new = _new(self._prompts, append_tokens, first=not self._begun)
        self._begun = True
        return self._client.generate(
            new, max_new_tokens=reply_tokens, fields={"session_params": {"id": self._session}}
        )


def _new(prompts: PromptSource, tokens: int, *, first: bool) -> list[int]:
    """Fresh ids; those that begin a conversation are like no others."""
    return prompts.draw(Point(tokens, 1))[0] if first else prompts.suffix(tokens)
