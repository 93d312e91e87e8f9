"""What SGLang tells of itself, by its version: bodies as dictionaries. Pure."""

from __future__ import annotations

from typing import Any

from append_prefill.engines.versions import prefill_graph_info
from append_prefill.planted.cost import graph_buckets
from append_prefill.planted.protocol import Settings

FLUSHED_TEXT = (
    "Cache flushed.\nPlease check backend logs for more details. "
    "(When there are running or waiting requests, the operation will not be performed.)\n"
)


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
        "skip_tokenizer_init": False,
        "enable_cache_report": True,
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
        **({"enable_streaming_session": True} if settings.traits.streaming_sessions else {}),
        **prefill_graph_info(
            settings.traits.prefill_graph,
            on=prefill_graph,
            tokens=graph_buckets(settings.chunked_prefill_tokens),
        ),
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
