"""What SGLang says and takes, by its version: bodies as dictionaries. Pure.

What differs between versions is taken from `engines.versions`, as the real client takes it; the
rest was read off the `http_server.py`, `tokenizer_manager.py` and `scheduler.py` of 0.5.5.post3 and
0.5.23.
"""

from __future__ import annotations

import time
import uuid
import zlib
from dataclasses import dataclass, field
from typing import Any

import orjson

from append_prefill.engines.versions import NEWEST, VersionTraits, prefill_graph_info, traits_of
from append_prefill.planted.prefix_cache import pack

_DEFAULT_MAX_NEW_TOKENS = 128  # SamplingParams.max_new_tokens
# Llama 3's. Output ids stay clear of 0-13, which health probes and SGLang's warm-up use.
_VOCABULARY = 128_256
_FIRST_OUTPUT_ID = 14

FLUSHED_TEXT = (
    "Cache flushed.\nPlease check backend logs for more details. "
    "(When there are running or waiting requests, the operation will not be performed.)\n"
)


class RequestError(Exception):
    """A /generate body that SGLang refuses; `in_stream`: after it has begun to answer a stream."""

    def __init__(self, message: str, *, in_stream: bool) -> None:
        self.in_stream = in_stream
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the server is, apart from its costs. Raises ValueError for what cannot be.

    `sglang_version`: the SGLang whose protocol it speaks, and that it says it is.
    `ready_after_s`: the port opens after half of it, health is 503 for the other half.
    `api_key`: where set, every path but health wants `Authorization: Bearer KEY`.
    """

    page_size_tokens: int = 1
    kv_capacity_tokens: int = 400_000
    context_length_tokens: int = 131_072
    chunked_prefill_tokens: int = 8192
    ready_after_s: float = 0.0
    sglang_version: str = NEWEST
    api_key: str | None = field(default=None, repr=False)
    # Kept, since it is asked for every event of every stream.
    traits: VersionTraits = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.page_size_tokens < 1 or self.chunked_prefill_tokens < 1:
            raise ValueError("page size and chunked prefill size are at least 1 token")
        if self.kv_capacity_tokens < max(16, self.page_size_tokens):
            raise ValueError("the KV capacity is at least a page, and 16 tokens")
        if self.context_length_tokens < 16:
            raise ValueError("the context length is at least 16 tokens")
        if self.ready_after_s < 0:
            raise ValueError("ready_after_s is at least 0")
        object.__setattr__(self, "traits", traits_of(self.sglang_version))

    @property
    def has_tokenizer(self) -> bool:
        """Without one `output_ids` are cumulative in every version, so a delta takes one."""
        return self.traits.output_ids == "delta"

    @property
    def max_request_tokens(self) -> int:
        """Scheduler.max_req_len: prompt and output together stay below this."""
        return min(self.context_length_tokens, self.kv_capacity_tokens) - 1

    @property
    def max_input_tokens(self) -> int:
        """Scheduler.max_req_input_len: a prompt stays below this."""
        return self.max_request_tokens - 5


@dataclass(frozen=True, slots=True)
class Generate:
    """A checked /generate body. `prompt`: token ids as `prefix_cache.pack` packs them."""

    rid: str
    prompt: bytes
    prompt_tokens: int
    max_new_tokens: int
    stream: bool

    def output_ids(self) -> list[int]:
        """The tokens 'generated': a fixed function of the prompt, as at temperature 0."""
        seed = zlib.crc32(self.prompt)
        span = _VOCABULARY - _FIRST_OUTPUT_ID
        return [_FIRST_OUTPUT_ID + (seed + 7919 * k) % span for k in range(self.max_new_tokens)]


def parse_generate(body: bytes | bytearray, settings: Settings) -> Generate:
    """Read a /generate body as SGLang does. Raises RequestError for what it would refuse."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"body is not JSON: {error}", in_stream=False) from None
    if not isinstance(content, dict):
        raise RequestError("body must be a JSON object", in_stream=False)
    stream = content.get("stream", False)
    sampling = content.get("sampling_params") or {}
    if not isinstance(stream, bool) or not isinstance(sampling, dict):
        raise RequestError(
            "stream must be true or false, sampling_params an object", in_stream=False
        )
    token_ids = content.get("input_ids")
    if not isinstance(token_ids, list) or not token_ids:
        raise RequestError("input_ids must be a list of integers, not empty", in_stream=False)
    try:
        prompt = pack(token_ids)
    except (TypeError, OverflowError):
        raise RequestError("input_ids must be integers of at least 0", in_stream=False) from None
    new_tokens = sampling.get("max_new_tokens", _DEFAULT_MAX_NEW_TOKENS)
    if not isinstance(new_tokens, int) or new_tokens < 0:
        raise RequestError(
            f"max_new_tokens must be at least 0, got {new_tokens}.", in_stream=stream
        )
    _check_length(len(token_ids), new_tokens, stream, settings)
    room = settings.max_request_tokens - len(token_ids) - 1
    return Generate(
        rid=str(content.get("rid") or uuid.uuid4().hex),
        prompt=prompt,
        prompt_tokens=len(token_ids),
        max_new_tokens=min(new_tokens, room),
        stream=stream,
    )


def _check_length(prompt_tokens: int, new_tokens: int, stream: bool, settings: Settings) -> None:
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


def answer_body(
    request: Generate,
    settings: Settings,
    *,
    output_ids: list[int],
    completion_tokens: int,
    cached_tokens: int,
    retractions: int,
    finished_after_s: float | None,
) -> dict[str, Any]:
    """One stream event, or the whole answer. `finished_after_s` is None until the last token.

    `output_ids` are those this body carries: a delta or all so far, as the version has it.
    """
    finished = finished_after_s is not None
    meta: dict[str, Any] = {
        "id": request.rid,
        "finish_reason": {"type": "length", "length": completion_tokens} if finished else None,
        "prompt_tokens": request.prompt_tokens,
        "weight_version": "default",
        "completion_tokens": completion_tokens,
        "cached_tokens": cached_tokens,
    }
    meta[settings.traits.retraction_key] = retractions
    if settings.traits.cached_details:
        meta["cached_tokens_details"] = (
            {"device": cached_tokens, "host": 0} if cached_tokens else None
        )
    if finished:
        meta["e2e_latency"] = finished_after_s
    meta["response_sent_to_client_ts"] = time.time()
    body: dict[str, Any] = {"output_ids": output_ids, "meta_info": meta}
    if settings.has_tokenizer:
        body["text"] = " simulated" * completion_tokens
    return body


def model_info(settings: Settings) -> dict[str, Any]:
    """The body of /model_info (/get_model_info)."""
    info: dict[str, Any] = {
        "model_path": "planted",
        "tokenizer_path": "planted",
        "is_generation": True,
        "preferred_sampling_params": None,
        "weight_version": "default",
        "has_image_understanding": False,
        "has_audio_understanding": False,
    }
    if settings.traits.model_info_names:
        info |= {"served_model_name": "planted", "load_format": "dummy"}
    return info


def server_info(
    settings: Settings,
    *,
    host: str,
    port: int,
    start_seed: int,
    prefill_graph: bool,
    radix_cache: bool,
    version: str,
) -> dict[str, Any]:
    """The body of /server_info (/get_server_info): resolved arguments, KV pool, internal state.

    `version`: what it says it is.
    """
    arguments: dict[str, Any] = {
        "model_path": "planted",
        "tokenizer_path": "planted",
        "skip_tokenizer_init": not settings.has_tokenizer,
        "load_format": "dummy",
        "dtype": "bfloat16",
        "kv_cache_dtype": "auto",
        "context_length": settings.context_length_tokens,
        "host": host,
        "port": port,
        "device": "cpu",
        "tp_size": 1,
        "pp_size": 1,
        "dp_size": 1,
        "page_size": settings.page_size_tokens,
        "max_total_tokens": settings.kv_capacity_tokens,
        "chunked_prefill_size": settings.chunked_prefill_tokens,
        "max_prefill_tokens": 16384,
        "schedule_policy": "fcfs",
        "stream_interval": 1,
        "random_seed": start_seed,
        "attention_backend": "planted",
        "disable_radix_cache": not radix_cache,
        "disable_overlap_schedule": False,
        "disaggregation_mode": "null",
        "launch_command": "python -m append_prefill.planted",
        **prefill_graph_info(settings.traits.prefill_graph, on=prefill_graph),
    }
    memory = {"weight": 0.0, "kvcache": 0.0, "token_capacity": settings.kv_capacity_tokens}
    return {
        **arguments,
        "status": "ready",
        "max_total_num_tokens": settings.kv_capacity_tokens,
        "max_req_input_len": settings.max_input_tokens,
        "internal_states": [{**arguments, "last_gen_throughput": 0.0, "memory_usage": memory}],
        "version": version,
    }
