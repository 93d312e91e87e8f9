"""How many bytes a context's KV cache has, and how long they travel.

The study reckoned "about 1 MB per 1024 tokens" and "0.04 ms at 25 GB/s" for Llama-3.1-8B. Its
geometry gives 131,072 bytes a token, 128 MiB per 1024 tokens and 5.37 ms: 128 times as much.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

STUDY_TRANSFER_MS = 0.04
"""What the study states for 1024 tokens at 25 GB/s."""

WINDOW_POOLS = frozenset({"GptOssForCausalLM", "LagunaForCausalLM"})
"""Architectures whose layers with a sliding window SGLang keeps in a pool of their own, freeing
what the window left behind (`is_hybrid_swa_model` in its configs/model_config.py, 0.5.15.post1 and
0.5.23, as far as all their layers have the same heads). Of any other it keeps every token in every
layer, and the window only masks: Gemma 3 is one of those."""

Kind = Literal["full", "window", "state"]

_KINDS: Mapping[str, Kind] = {
    "full_attention": "full",
    "sliding_attention": "window",
    "linear_attention": "state",
}

# SGLang keeps the recurrent state as float32 and that of the convolution as bfloat16, whatever the
# KV cache is in (configs/mamba_utils.py, 0.5.23).
_STATE_BYTES = 4
_CONVOLUTION_BYTES = 2


@dataclass(frozen=True, slots=True)
class KvSize:
    """What one sequence takes on one rank, in bytes.

    `token_bytes` for every token, in the layers that keep all of them; `window_token_bytes` for
    each of the last `window_tokens`, in those that free the rest; `state_bytes` once, however long
    the sequence is.
    """

    token_bytes: int
    window_token_bytes: int = 0
    window_tokens: int = 0
    state_bytes: int = 0

    @property
    def fixed_bytes(self) -> int:
        """What does not grow with the context, from the window's length on."""
        return self.window_token_bytes * self.window_tokens + self.state_bytes


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


def kv_size(config: Mapping[str, Any], tp_size: int = 1, kv_bytes_per_element: int = 2) -> KvSize:
    """What a sequence of a model takes of one rank's memory, as SGLang keeps it.

    `config` is a Hugging Face `config.json`; a nested `text_config` (multimodal models) is used
    where there is one. By kind of layer:

    - attention, grouped or multi-head: 2 (K and V) * max(1, KV heads / tp_size) * head_dim *
      element size a token, head_dim falling back to hidden_size / num_attention_heads and KV heads
      to num_attention_heads, as in transformers;
    - multi-head latent attention (`kv_lora_rank`, DeepSeek): (kv_lora_rank + qk_rope_head_dim) *
      element size a token, on every rank alike, for the latent is not split (DeepSeek-V2, arXiv
      2405.04434, section 2.1);
    - sliding windows (`layer_types`, or every but each `sliding_window_pattern`-th layer): as
      attention, for the last `sliding_window` tokens where the architecture is one of
      `WINDOW_POOLS` (Mistral 7B, arXiv 2310.06825, section 2), else for all;
    - linear attention (`layer_types`, or all but each `full_attention_interval`-th layer): no KV
      but a state, `linear_num_value_heads` matrices of key by value head (Gated DeltaNet, arXiv
      2412.06464, section 3), and the convolution's last inputs before it;
    - Mamba-2 beside attention in every layer (`mamba_n_heads`, Falcon-H1, arXiv 2507.22448): both,
      its state being `mamba_n_heads` matrices of `mamba_d_head` by `mamba_d_state` (arXiv
      2405.21060).

    Raises ValueError if the config lacks a field, has layers of another kind, or tp_size does not
    divide.
    """
    inner = config.get("text_config")
    fields: Mapping[str, Any] = inner if isinstance(inner, Mapping) else config
    if tp_size < 1 or kv_bytes_per_element < 1:
        raise ValueError("tp_size and kv_bytes_per_element are at least 1")
    kinds = _layers(fields)
    token_bytes = _elements_per_token(fields, tp_size) * kv_bytes_per_element
    states = kinds.count("state") * _linear_state_bytes(fields, tp_size) if "state" in kinds else 0
    if fields.get("mamba_n_heads") is not None:
        states += len(kinds) * _mamba_state_bytes(fields, tp_size)
    windowed = kinds.count("window")
    if not windowed or WINDOW_POOLS.isdisjoint(config.get("architectures") or ()):
        return KvSize((kinds.count("full") + windowed) * token_bytes, state_bytes=states)
    return KvSize(
        kinds.count("full") * token_bytes,
        windowed * token_bytes,
        _needed(fields, "sliding_window"),
        states,
    )


def kv_bytes_per_token(
    config: Mapping[str, Any], tp_size: int = 1, kv_bytes_per_element: int = 2
) -> int:
    """Bytes of KV cache that one more token of a long context takes on one rank.

    `kv_size` without windows and states, which are not per token. Raises ValueError as it does.
    """
    return kv_size(config, tp_size, kv_bytes_per_element).token_bytes


def _layers(fields: Mapping[str, Any]) -> list[Kind]:
    layers = _needed(fields, "num_hidden_layers", "n_layer")
    named = fields.get("layer_types")
    if named is not None:
        unknown = sorted({str(name) for name in named} - set(_KINDS))
        if unknown or len(named) != layers:
            raise ValueError(
                f"layer_types has {len(named)} entries for {layers} layers"
                if not unknown
                else f"layer_types has {', '.join(unknown)}; known are {', '.join(_KINDS)}"
            )
        return [_KINDS[name] for name in named]
    interval = _count(fields, "full_attention_interval")
    other: Kind = "window" if interval is None else "state"
    interval = interval or _count(fields, "sliding_window_pattern") or 1
    return ["full" if (layer + 1) % interval == 0 else other for layer in range(layers)]


def _elements_per_token(fields: Mapping[str, Any], tp_size: int) -> int:
    """Of one layer of attention."""
    rank = _count(fields, "kv_lora_rank")
    if rank is not None:
        return rank + _needed(fields, "qk_rope_head_dim")
    heads = _needed(fields, "num_attention_heads", "n_head")
    kv_heads = _count(fields, "num_key_value_heads") or heads
    head_dim = _count(fields, "head_dim") or _needed(fields, "hidden_size", "n_embd") // heads
    if max(kv_heads, tp_size) % min(kv_heads, tp_size):
        raise ValueError(f"{kv_heads} KV heads cannot be spread over {tp_size} ranks")
    # Fewer KV heads than ranks are replicated: every rank then holds one.
    return 2 * max(1, kv_heads // tp_size) * head_dim


def _linear_state_bytes(fields: Mapping[str, Any], tp_size: int) -> int:
    """Of one layer of gated linear attention."""
    return _state_bytes(
        tp_size,
        heads=_needed(fields, "linear_num_value_heads"),
        head_dim=_needed(fields, "linear_value_head_dim"),
        groups=_needed(fields, "linear_num_key_heads"),
        state_dim=_needed(fields, "linear_key_head_dim"),
        kernel=_needed(fields, "linear_conv_kernel_dim"),
    )


def _mamba_state_bytes(fields: Mapping[str, Any], tp_size: int) -> int:
    """Of one Mamba-2 mixer."""
    return _state_bytes(
        tp_size,
        heads=_needed(fields, "mamba_n_heads"),
        head_dim=_needed(fields, "mamba_d_head"),
        groups=_needed(fields, "mamba_n_groups"),
        state_dim=_needed(fields, "mamba_d_state"),
        kernel=_needed(fields, "mamba_d_conv"),
    )


def _state_bytes(
    tp_size: int, *, heads: int, head_dim: int, groups: int, state_dim: int, kernel: int
) -> int:
    if heads % tp_size or groups % tp_size:
        raise ValueError(f"{heads} heads in {groups} groups cannot be spread over {tp_size} ranks")
    # The convolution is over queries, keys and values (B, C and x): a group has the first two.
    channels = heads * head_dim + 2 * groups * state_dim
    recurrent = heads * head_dim * state_dim * _STATE_BYTES
    return (recurrent + channels * (kernel - 1) * _CONVOLUTION_BYTES) // tp_size


def transfer_ms(size_bytes: float, gb_per_s: float) -> float:
    """Milliseconds that `size_bytes` take at `gb_per_s` (1e9 bytes a second), latency left out.

    Raises ValueError if the speed is not positive or the size negative.
    """
    if gb_per_s <= 0 or size_bytes < 0:
        raise ValueError("a transfer needs a positive speed and a size of at least 0")
    return size_bytes / (gb_per_s * 1e9) * 1e3
