"""What a client saw of one request, and the words for what went wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from append_prefill.engines.versions import stream_error_status

ERROR_TEXT_CHARS = 300  # enough for a server's sentence, too little for its traceback


@dataclass(frozen=True, slots=True)
class Timing:
    """One request as the client saw it; a value that did not come is None.

    All times are ms since just before the request's first byte was sent. `ttft_ms`: the arrival
    of the first event with `completion_tokens` >= 1; `e2e_ms`: that of the last event with
    `meta_info`; `token_times_ms`: (completion_tokens, ms) of every event that brought a token.
    Events that one read brought together share its time. The token counts and `retractions` are
    the server's words in its last event that says them. `error` says why the request proves
    nothing, or is None.
    """

    ttft_ms: float | None
    e2e_ms: float | None
    token_times_ms: list[tuple[int, float]]
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    retractions: int | None
    error: str | None
    output_ids: tuple[int, ...] | None = None
    text: str | None = None


def failed(error: str) -> Timing:
    """The Timing of a request that proves nothing."""
    return Timing(
        ttft_ms=None,
        e2e_ms=None,
        token_times_ms=[],
        prompt_tokens=None,
        cached_tokens=None,
        completion_tokens=None,
        retractions=None,
        error=error,
    )


def in_stream_error(problem: Any) -> tuple[str, int]:
    """Text and status of `{"error": …}`."""
    said = problem if isinstance(problem, dict) else {"message": problem}
    return shorten(str(said.get("message", said))), stream_error_status(said)


_COUNTS = ("prompt_tokens", "completion_tokens", "cached_tokens")


def wrong_kind(counts: Any, ids: Any = None) -> str | None:
    """What is wrong with an answer's counts and ids: another kind than SGLang's; None if nothing.

    Worded without what came, so that counting by reason groups them.
    """
    if not isinstance(counts, dict):
        return "an event whose token counts are no JSON object"
    for name in _COUNTS:
        value = counts.get(name)
        if value is not None and (type(value) is not int or value < 0):
            return f"{name} is no count"
    if ids is not None and not (isinstance(ids, list) and all(type(one) is int for one in ids)):
        return "output_ids are no list of ids"
    return None


def shorten(text: str | bytes) -> str:
    """A server's words, no longer than a sentence."""
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    text = text.strip()
    return text if len(text) <= ERROR_TEXT_CHARS else text[:ERROR_TEXT_CHARS] + "…"
