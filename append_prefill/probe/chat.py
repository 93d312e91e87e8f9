"""The timed exchange of `/v1/chat/completions`: its body, and what its chunks say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from append_prefill.probe.stream import read_stream
from append_prefill.probe.timing import Timing, failed, wrong_kind
from append_prefill.probe.transport import Exchange

Message = tuple[str, str]
"""(role, text)."""


def chat_body(messages: Sequence[Message], *, max_new_tokens: int) -> bytes:
    """The JSON body of a streaming greedy chat whose reply has exactly `max_new_tokens` tokens."""
    return orjson.dumps(
        {
            "model": "default",
            "messages": [{"role": role, "content": text} for role, text in messages],
            "max_tokens": max_new_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    )


def read_chat(exchange: Exchange) -> tuple[Timing, int | None]:
    """The Timing, and the HTTP status of its error where the server named one.

    The first token is the first chunk that has some of the reply's text; the chunk with the role,
    which a server could send before it has computed anything, does not count. Chunks do not tell
    how many tokens they bring, so `token_times_ms` has the first alone.
    """
    first_ms: float | None = None
    last_ms: float | None = None
    text: list[str] = []
    usage: dict[str, Any] = {}
    stream = read_stream(exchange)
    if stream.error is not None:
        return failed(stream.error), stream.status
    for at_ms, payload in stream.payloads:
        usage |= payload.get("usage") or {}
        for choice in payload.get("choices") or []:
            last_ms = at_ms
            content = (choice.get("delta") or {}).get("content")
            if content:
                first_ms = at_ms if first_ms is None else first_ms
                text.append(content)
    if first_ms is None:
        return failed("no chunk with any of the reply's text"), None
    if not stream.done:
        return failed("the stream ended before [DONE]"), None
    details = usage.get("prompt_tokens_details") or {}
    if (wrong := wrong_kind(details)) is not None:
        return failed(wrong), None
    timing = Timing(
        ttft_ms=first_ms,
        e2e_ms=last_ms,
        token_times_ms=[(1, first_ms)],
        prompt_tokens=usage.get("prompt_tokens"),
        # Up to 0.5.21 nothing is told where nothing was cached. Of a server that never tells, no
        # chat is sent (see `shooter`).
        cached_tokens=details.get("cached_tokens", 0 if usage else None),
        completion_tokens=usage.get("completion_tokens"),
        retractions=None,
        error=None,
        text="".join(text),
    )
    return timing, None
