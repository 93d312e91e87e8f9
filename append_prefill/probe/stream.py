"""What an event stream says: JSON objects, each with its time, until it ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from append_prefill.probe.sse import parse_events
from append_prefill.probe.timing import in_stream_error, shorten, wrong_kind
from append_prefill.probe.transport import Exchange


@dataclass(frozen=True, slots=True)
class Stream:
    """`payloads`: (ms since the request's first byte was sent, object), up to `[DONE]`, if it came
    (`done`), or to what proves nothing: `error` then says why, and `status` is HTTP's word for it,
    where the server named one.
    """

    payloads: list[tuple[float, dict[str, Any]]]
    done: bool = False
    error: str | None = None
    status: int | None = None


def read_stream(exchange: Exchange) -> Stream:
    """What the events of a finished exchange said."""
    payloads: list[tuple[float, dict[str, Any]]] = []
    for event in parse_events(exchange.body):
        if event.data == b"[DONE]":
            return Stream(payloads, done=True)
        try:
            payload = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            payload = None
        if not isinstance(payload, dict):
            return Stream(payloads, error=f"an event that is no JSON object: {shorten(event.data)}")
        if "error" in payload:
            error, status = in_stream_error(payload["error"])
            return Stream(payloads, error=error, status=status)
        counts = payload.get("meta_info", payload.get("usage") or {})
        if (wrong := wrong_kind(counts, payload.get("output_ids"))) is not None:
            return Stream(payloads, error=wrong)
        payloads.append(((event.stamp_ns - exchange.sent_ns) / 1e6, payload))
    return Stream(payloads)
