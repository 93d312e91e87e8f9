"""What /generate answers: SGLang's own bodies and stream events. Pure, but for the time of day."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from append_prefill.planted.protocol import Generate, Settings, error_body
from append_prefill.planted.wire import chunk, event
from append_prefill.workload.wordlevel import spelled


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a request is: `token` tokens are generated, of which `sent` were sent before.

    `cached_tokens` are those to report. `finished_after_s` is None until the last token.
    """

    sent: int
    token: int
    cached_tokens: int
    retractions: int
    finished_after_s: float | None


def spoken(output_ids: list[int]) -> str:
    """What the detokenizer makes of a reply's ids: each word behind a space, as SGLang's does."""
    return "".join(f" {spelled(token_id)}" for token_id in output_ids)


def aborted_body(message: str, rid: str) -> dict[str, Any]:
    """The only event of a stream that the scheduler ended before it began."""
    reason = {"type": "abort", "message": message, "status_code": 400}
    meta = {
        "id": rid,
        "finish_reason": {**reason, "err_type": "BadRequestError"},
        "prompt_tokens": 1,  # SGLang runs such a request as one of a single token
        "completion_tokens": 1,
        "cached_tokens": 0,
    }
    return {"text": "", "output_ids": [], "meta_info": meta}


def spoilt(fate: str | None) -> bytes | None:
    """What is sent in place of an event whose stream a fault strikes; None where none does."""
    words: dict[str, object] = {
        "prompt_tokens": "all",
        "completion_tokens": "one",
        "cached_tokens": [1],
    }
    match fate:
        case "garbage":
            return chunk(b'data: {"text": \n\n')
        case "wrong types":
            return event({"text": "", "output_ids": "none", "meta_info": words})
        case "no meta":
            return event({"text": "", "output_ids": None, "meta_info": None})
    return None


class NativeAnswer:
    """The answer to one /generate."""

    # SGLang sends a stream's head before it looks at the request.
    head_first = True

    def __init__(self, request: Generate, settings: Settings, output_ids: list[int]) -> None:
        self._request = request
        self._settings = settings
        self._output_ids = output_ids
        # All so far, since every event carries it: putting it together anew would take a long reply
        # the square of its tokens.
        self._text = ""
        self._in_text = 0

    def events(self, progress: Progress) -> bytes:
        """The event of a token, ready to send."""
        return event(self.body(progress))

    def error(self, message: str) -> bytes:
        """The event of a request that fails in its stream."""
        return event(error_body(message, self._settings))

    def body(self, progress: Progress) -> dict[str, Any]:
        """One stream event, or the whole answer.

        Output ids are a delta or all so far, as the version has it; the text is all so far.
        """
        request, traits = self._request, self._settings.traits
        finished = progress.finished_after_s is not None
        meta: dict[str, Any] = {
            "id": request.rid,
            "finish_reason": {"type": "length", "length": progress.token} if finished else None,
            "prompt_tokens": request.prompt_tokens,
            "weight_version": "default",
            "completion_tokens": progress.token,
            "cached_tokens": progress.cached_tokens,
            traits.retraction_key: progress.retractions,
        }
        if traits.cached_details:
            meta["cached_tokens_details"] = (
                {"device": progress.cached_tokens, "host": 0} if progress.cached_tokens else None
            )
        if finished:
            meta["e2e_latency"] = progress.finished_after_s
        meta["response_sent_to_client_ts"] = time.time()
        delta = traits.output_ids == "delta" and request.stream
        return {
            "text": self._text_to(progress.token),
            "output_ids": self._output_ids[progress.sent if delta else 0 : progress.token],
            "meta_info": meta,
        }

    def _text_to(self, token: int) -> str:
        self._text += spoken(self._output_ids[self._in_text : token])
        self._in_text = token
        return self._text
