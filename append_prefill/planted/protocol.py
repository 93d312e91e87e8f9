"""What a request to SGLang is and what it answers, by its version: bodies as dictionaries. Pure.

What differs between versions is taken from `engines.versions`, as the real client takes it; the
rest was read off the `http_server.py`, `tokenizer_manager.py` and `scheduler.py` of 0.5.5.post3 and
0.5.23.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any, Literal

from append_prefill.engines.versions import NEWEST, VersionTraits, traits_of
from append_prefill.planted.cost import RequestForm

# Llama 3's. Output ids stay clear of 0-13, which health probes and SGLang's warm-up use.
_VOCABULARY = 128_256
_FIRST_OUTPUT_ID = 14


# Which half of a P/D pair it is, if any; SGLang's own word for none.
Mode = Literal["null", "prefill", "decode"]


class RequestError(Exception):
    """A request that SGLang refuses.

    `in_stream`: after it has begun to answer a stream. `aborted_rid`: the id of a request that the
    scheduler aborts, whose stream has the reason in its only event; None for any other.
    """

    def __init__(self, message: str, *, in_stream: bool, aborted_rid: str | None = None) -> None:
        self.in_stream = in_stream
        self.aborted_rid = aborted_rid
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the server is, apart from its costs. Raises ValueError for what cannot be.

    `sglang_version`: the SGLang whose protocol it speaks, and that it says it is.
    `ready_after_s`: the port opens after half of it, health is 503 for the other half.
    `disaggregation_mode`: which half of a P/D pair; the prefill half listens on `bootstrap_port`.
    `api_key`: where set, every path but health wants `Authorization: Bearer KEY`.
    """

    page_size_tokens: int = 1
    kv_capacity_tokens: int = 400_000
    context_length_tokens: int = 131_072
    chunked_prefill_tokens: int = 8192
    ready_after_s: float = 0.0
    sglang_version: str = NEWEST
    api_key: str | None = field(default=None, repr=False)
    disaggregation_mode: Mode = "null"
    bootstrap_port: int | None = None
    # Kept, since it is asked for every event of every stream.
    traits: VersionTraits = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.page_size_tokens < 1 or self.chunked_prefill_tokens < 1:
            raise ValueError("page size and chunked prefill size are at least 1 token")
        if self.kv_capacity_tokens < max(16, self.page_size_tokens):
            raise ValueError("the KV capacity is at least a page, and 16 tokens")
        if (self.disaggregation_mode == "null") != (self.bootstrap_port is None):
            raise ValueError("one half of a pair has a bootstrap port, and no other server")
        if self.context_length_tokens < 16:
            raise ValueError("the context length is at least 16 tokens")
        if self.ready_after_s < 0:
            raise ValueError("ready_after_s is at least 0")
        object.__setattr__(self, "traits", traits_of(self.sglang_version))

    @property
    def max_request_tokens(self) -> int:
        """Scheduler.max_req_len: prompt and output together stay below this."""
        return min(self.context_length_tokens, self.kv_capacity_tokens) - 1

    @property
    def max_input_tokens(self) -> int:
        """Scheduler.max_req_input_len: a prompt stays below this."""
        return self.max_request_tokens - 5

    def room_tokens(self, prompt_tokens: int) -> int:
        """How much output there is room for behind a prompt."""
        return self.max_request_tokens - prompt_tokens - 1


@dataclass(frozen=True, slots=True)
class Generate:
    """A checked request. `prompt`: token ids as `prefix_cache.pack` packs them.

    `form` is what the prompt came as, `text_tokens` how many of its tokens had to be made of text.
    A later turn of a streaming session runs on KV of the session's own: `kept_tokens` of its prompt
    are there, None for any other request, whose prompt is looked for in the prefix tree. `room` is
    the number under which the halves of a P/D pair know it, `room_port` where the prefill half
    answers for it; None for a request to one server.
    """

    rid: str
    prompt: bytes
    prompt_tokens: int
    max_new_tokens: int
    stream: bool
    form: RequestForm = "ids"
    text_tokens: int = 0
    kept_tokens: int | None = None
    room: int | None = None
    room_port: int | None = None

    def output_ids(self) -> list[int]:
        """The tokens 'generated': a fixed function of the prompt, as at temperature 0."""
        seed = zlib.crc32(self.prompt)
        span = _VOCABULARY - _FIRST_OUTPUT_ID
        return [_FIRST_OUTPUT_ID + (seed + 7919 * k) % span for k in range(self.max_new_tokens)]


def check_length(prompt_tokens: int, new_tokens: int, stream: bool, settings: Settings) -> None:
    """Raises RequestError for a prompt and an output that the context or the pool cannot hold."""
    limit = settings.context_length_tokens
    if prompt_tokens >= limit:
        raise RequestError(
            f"The input ({prompt_tokens} tokens) is longer than the model's context length "
            f"({limit} tokens).",
            in_stream=stream,
        )
    total = prompt_tokens + new_tokens
    if total > limit or (total == limit and not settings.traits.fills_context):
        raise RequestError(
            f"Requested token count exceeds the model's maximum context length of {limit} tokens. "
            f"You requested a total of {total} tokens: {prompt_tokens} tokens from the input "
            f"messages and {new_tokens} tokens for the completion. Please reduce the number of "
            "tokens in the input messages or the completion to fit within the limit.",
            in_stream=stream,
        )
    if prompt_tokens >= settings.max_input_tokens:
        raise RequestError(
            f"Input length ({prompt_tokens} tokens) exceeds the maximum allowed length "
            f"({settings.max_input_tokens} tokens). Use a shorter input or enable "
            "--allow-auto-truncate.",
            in_stream=stream,
        )


def error_body(message: str, settings: Settings) -> dict[str, Any]:
    """The body, or the stream event, of a refused request."""
    if not settings.traits.stream_error_code:
        return {"error": {"message": message}}
    return {
        "error": {
            "message": message,
            "type": "invalid_request_error",
            "code": 400,
            "retryable": False,
        }
    }
