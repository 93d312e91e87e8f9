"""What /v1/chat/completions answers: OpenAI's bodies and chunks as SGLang fills them."""

from __future__ import annotations

import time
from typing import Any

from append_prefill.planted.native import Progress, spoken
from append_prefill.planted.protocol import Generate, Settings
from append_prefill.planted.reading import ChatOptions
from append_prefill.planted.wire import event


def refusal(message: str) -> dict[str, Any]:
    """The body of a chat that is refused, and the `error` of one that fails in its stream."""
    return {
        "object": "error",
        "message": message,
        "type": "BadRequestError",
        "param": None,
        "code": 400,
    }


class ChatAnswer:
    """The answer to one chat."""

    # From 0.5.10 on, SGLang sends the head with the first chunk, so that it can refuse until then.
    head_first = False

    def __init__(
        self, request: Generate, options: ChatOptions, settings: Settings, output_ids: list[int]
    ) -> None:
        self._request = request
        self._options = options
        self._settings = settings
        self._output_ids = output_ids

    def events(self, progress: Progress) -> bytes:
        """The chunks that a token brings, ready to send.

        The role comes with the first token, in a chunk that holds none; behind the last token come
        the reason that it is the last and, where asked for, the usage, without a choice.
        """
        text = spoken(self._output_ids[progress.sent : progress.token])
        chunks = [self._chunk({"content": text})]
        if progress.sent == 0:
            chunks.insert(0, self._chunk({"role": "assistant", "content": ""}))
        if progress.finished_after_s is not None:
            chunks.append(self._chunk({}, finish_reason="length"))
            if self._options.include_usage:
                usage = {"choices": [], "usage": self._usage(progress)}
                chunks.append({**self._head("chat.completion.chunk"), **usage})
        return b"".join(map(event, chunks))

    def error(self, message: str) -> bytes:
        """The event of a chat that fails in its stream."""
        return event({"error": refusal(message)})

    def body(self, progress: Progress) -> dict[str, Any]:
        """The whole answer of a chat that is not streamed."""
        text = spoken(self._output_ids[: progress.token])
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text, "reasoning_content": None},
            **_ending("length"),
        }
        return {
            **self._head("chat.completion"),
            "choices": [choice],
            "usage": self._usage(progress),
        }

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self._request.rid,
            "object": kind,
            "created": int(time.time()),
            "model": self._options.model,
        }

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {
            "index": 0,
            "delta": {"reasoning_content": None, **delta},
            **_ending(finish_reason),
        }
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def _usage(self, progress: Progress) -> dict[str, Any]:
        cached = progress.cached_tokens
        said = cached > 0 or self._settings.traits.usage_of_none_cached
        return {
            "prompt_tokens": self._request.prompt_tokens,
            "total_tokens": self._request.prompt_tokens + progress.token,
            "completion_tokens": progress.token,
            "prompt_tokens_details": {"cached_tokens": cached} if said else None,
            "reasoning_tokens": 0,
        }


def _ending(finish_reason: str | None) -> dict[str, Any]:
    return {"logprobs": None, "finish_reason": finish_reason, "matched_stop": None}
