"""How many bytes a token's KV cache has, and how long they travel.

The study reckoned "about 1 MB per 1024 tokens" and "0.04 ms at 25 GB/s" for Llama-3.1-8B. Its
geometry gives 131,072 bytes a token, 128 MiB per 1024 tokens and 5.37 ms: 128 times as much.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STUDY_TRANSFER_MS = 0.04
"""What the study states for 1024 tokens at 25 GB/s."""


def _count(config: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = config.get(name)
        if value is not None:
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} is {value!r}, not a positive whole number")
            return value
    return None


def _needed(config: Mapping[str, Any], *names: str) -> int:
    value = _count(config, *names)
    if value is None:
        raise ValueError(f"the model's config has none of: {', '.join(names)}")
    return value


def kv_bytes_per_token(
    config: Mapping[str, Any], tp_size: int = 1, kv_bytes_per_element: int = 2
) -> int:
    """Bytes of KV cache that one token takes on one rank.

    `config` is a Hugging Face `config.json`; a nested `text_config` (multimodal models) is used
    where there is one. With grouped or multi-head attention: layers * 2 (K and V) *
    max(1, KV heads / tp_size) * head_dim * element size, head_dim falling back to
    hidden_size / num_attention_heads and KV heads to num_attention_heads, as in transformers.
    With multi-head latent attention (`kv_lora_rank`, DeepSeek): layers * (kv_lora_rank +
    qk_rope_head_dim) * element size, on every rank alike, for the latent is not split
    (DeepSeek-V2, arXiv 2405.04434, section 2.1).

    Counts every layer as full attention: for a model with sliding windows or linear attention it
    is an upper bound. Raises ValueError if the config lacks a field or tp_size does not divide.
    """
    inner = config.get("text_config")
    fields: Mapping[str, Any] = inner if isinstance(inner, Mapping) else config
    layers = _needed(fields, "num_hidden_layers", "n_layer")
    if tp_size < 1 or kv_bytes_per_element < 1:
        raise ValueError("tp_size and kv_bytes_per_element are at least 1")
    rank = _count(fields, "kv_lora_rank")
    if rank is not None:
        return layers * (rank + _needed(fields, "qk_rope_head_dim")) * kv_bytes_per_element
    heads = _needed(fields, "num_attention_heads", "n_head")
    kv_heads = _count(fields, "num_key_value_heads") or heads
    head_dim = _count(fields, "head_dim") or _needed(fields, "hidden_size", "n_embd") // heads
    if max(kv_heads, tp_size) % min(kv_heads, tp_size):
        raise ValueError(f"{kv_heads} KV heads cannot be spread over {tp_size} ranks")
    # Fewer KV heads than ranks are replicated: every rank then holds one.
    return layers * 2 * max(1, kv_heads // tp_size) * head_dim * kv_bytes_per_element


def transfer_ms(size_bytes: float, gb_per_s: float) -> float:
    """Milliseconds that `size_bytes` take at `gb_per_s` (1e9 bytes a second), latency left out.

    Raises ValueError if the speed is not positive or the size negative.
    """
    if gb_per_s <= 0 or size_bytes < 0:
        raise ValueError("a transfer needs a positive speed and a size of at least 0")
    return size_bytes / (gb_per_s * 1e9) * 1e3
