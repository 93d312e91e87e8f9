import pytest

from append_prefill.analysis.transfer import (
    STUDY_TRANSFER_MS,
    KvSize,
    kv_bytes_per_token,
    kv_size,
    transfer_ms,
)
from append_prefill.workload.loading import load_profile

LLAMA = {
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_size": 4096,
}
DEEPSEEK_V3 = {
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
    "hidden_size": 7168,
}


def test_llama_8b() -> None:
    size = kv_bytes_per_token(LLAMA)
    assert size == 131_072
    took = transfer_ms(1024 * size, 25)
    assert took == pytest.approx(5.37, abs=5e-3)
    # The study: "about 1 MB per 1024 tokens", 0.04 ms at 25 GB/s.
    assert 1024 * size / 2**20 == 128
    assert took / STUDY_TRANSFER_MS == pytest.approx(128 * 2**20 / 25e9 / 0.04e-3)
    assert transfer_ms(1024 * size, 450) == pytest.approx(0.298, abs=1e-3)


def test_head_dim_counts_where_it_is_given() -> None:
    assert kv_bytes_per_token({**LLAMA, "head_dim": 64}) == 65_536
    assert kv_bytes_per_token({**LLAMA, "head_dim": None}) == 131_072


def test_multi_head_attention_has_as_many_kv_heads() -> None:
    plain = {k: v for k, v in LLAMA.items() if k != "num_key_value_heads"}
    assert kv_bytes_per_token(plain) == 4 * 131_072
    assert kv_bytes_per_token({"n_layer": 12, "n_head": 12, "n_embd": 768}) == 12 * 2 * 768 * 2


def test_ranks_share_heads_and_then_copy_them() -> None:
    assert kv_bytes_per_token(LLAMA, tp_size=4) == 131_072 // 4
    assert kv_bytes_per_token(LLAMA, tp_size=16) == 131_072 // 8
    with pytest.raises(ValueError, match="cannot be spread"):
        kv_bytes_per_token(LLAMA, tp_size=3)


def test_latent_attention_is_small_and_not_split() -> None:
    assert kv_bytes_per_token(DEEPSEEK_V3) == 61 * 576 * 2 == 70_272
    assert kv_bytes_per_token(DEEPSEEK_V3, tp_size=8) == 70_272


# By hand: layers x (K and V) x KV heads x head size x 2 bytes; of latent attention layers x
# (latent + rope) x 2 bytes; a window's tokens counted once.
SHIPPED = {
    "llama-3.1-8b": (32 * 2 * 8 * 128 * 2, 0),
    "qwen3-30b-a3b": (48 * 2 * 4 * 128 * 2, 0),
    "deepseek-v2-lite": (27 * (512 + 64) * 2, 0),
    "gemma-3-4b": (34 * 2 * 4 * 256 * 2, 0),
    "gpt-oss-20b": (12 * 2 * 8 * 64 * 2, 12 * 2 * 8 * 64 * 2 * 128),
    "cpu-nano": (1 * 2 * 1 * 64 * 2, 0),
    "cpu-nano-moe": (1 * 2 * 1 * 64 * 2, 0),
    "cpu-nano-gemma": (2 * 2 * 1 * 64 * 2, 0),
    "cpu-nano-swa": (1 * 2 * 1 * 64 * 2, 1 * 2 * 1 * 64 * 2 * 128),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_geometries(name: str) -> None:
    config = load_profile(name).model.config
    assert config is not None
    size = kv_size(config)
    assert (size.token_bytes, size.fixed_bytes) == SHIPPED[name]


def test_a_window_is_kept_whole_where_the_server_has_no_pool_for_it() -> None:
    """Gemma 3: 34 layers, each sixth of full attention, 4,096 bytes a token and layer."""
    gemma = load_profile("gemma-3-4b").model.config
    assert gemma is not None
    assert kv_size(gemma) == KvSize(34 * 4096)
    pooled = {**gemma, "architectures": ["GptOssForCausalLM"]}
    assert kv_size(pooled) == KvSize(5 * 4096, 29 * 4096, 1024)
    del pooled["sliding_window"]
    with pytest.raises(ValueError, match="sliding_window"):
        kv_size(pooled)


def test_which_layers_have_a_window_is_a_pattern_or_none() -> None:
    """Each third layer keeps all: of eight those are the third and the sixth."""
    pooled = {
        **LLAMA,
        "num_hidden_layers": 8,
        "architectures": ["GptOssForCausalLM"],
        "sliding_window": 128,
    }
    a_layer = 2 * 8 * 128 * 2
    assert kv_size(pooled) == KvSize(8 * a_layer)
    assert kv_size({**pooled, "sliding_window_pattern": 3}) == KvSize(2 * a_layer, 6 * a_layer, 128)


QWEN3_NEXT = {
    "num_hidden_layers": 48,
    "full_attention_interval": 4,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "head_dim": 256,
    "linear_num_value_heads": 32,
    "linear_value_head_dim": 128,
    "linear_num_key_heads": 16,
    "linear_key_head_dim": 128,
    "linear_conv_kernel_dim": 4,
}
FALCON_H1_7B = {
    "num_hidden_layers": 44,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "head_dim": 128,
    "mamba_n_heads": 24,
    "mamba_d_head": 128,
    "mamba_n_groups": 1,
    "mamba_d_state": 256,
    "mamba_d_conv": 4,
}


def test_linear_attention_has_a_state_and_no_tokens() -> None:
    """36 of 48 layers: 32 float32 matrices of 128 by 128, and 3 inputs of 8,192 bf16 channels."""
    state = 36 * (32 * 128 * 128 * 4 + 3 * (32 * 128 + 2 * 16 * 128) * 2)
    assert kv_size(QWEN3_NEXT) == KvSize(12 * 2 * 2 * 256 * 2, state_bytes=state)
    assert (kv_bytes_per_token(QWEN3_NEXT), state) == (24_576, 77_266_944)
    types = ["linear_attention", "linear_attention", "linear_attention", "full_attention"] * 12
    named = {**QWEN3_NEXT, "full_attention_interval": None, "layer_types": types}
    assert kv_size(named) == kv_size(QWEN3_NEXT)
    assert kv_size(QWEN3_NEXT, tp_size=2).state_bytes == state // 2


def test_mamba_beside_attention_has_both() -> None:
    """In each of 44 layers 24 matrices of 128 by 256, and 3 inputs of 3,584 channels."""
    state = 44 * (24 * 128 * 256 * 4 + 3 * (24 * 128 + 2 * 256) * 2)
    assert kv_size(FALCON_H1_7B) == KvSize(44 * 2 * 2 * 128 * 2, state_bytes=state)
    assert kv_size(FALCON_H1_7B).fixed_bytes == 139_358_208
    with pytest.raises(ValueError, match="24 heads in 1 groups"):
        kv_size(FALCON_H1_7B, tp_size=2)


def test_states_of_either_kind_add_up_and_stand_beside_windows() -> None:
    mamba = {name: value for name, value in FALCON_H1_7B.items() if name.startswith("mamba")}
    alone = 48 * (kv_size(FALCON_H1_7B).state_bytes // 44)
    both = kv_size({**QWEN3_NEXT, **mamba})
    assert both.state_bytes == kv_size(QWEN3_NEXT).state_bytes + alone
    window = {
        "architectures": ["GptOssForCausalLM"],
        "sliding_window": 128,
        "sliding_window_pattern": 2,
    }
    assert kv_size({**FALCON_H1_7B, **window}).state_bytes == kv_size(FALCON_H1_7B).state_bytes


def test_states_are_those_that_servers_allocated() -> None:
    """0.5.23 says GiB for a number of sequences: 0.36 and 2.56 for 335,628, 0.25 and 2.69 for
    176,065 (docs/models.md)."""
    next_nano = {
        **QWEN3_NEXT,
        "num_hidden_layers": 2,
        "full_attention_interval": 2,
        "linear_num_value_heads": 2,
        "linear_value_head_dim": 32,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 32,
    }
    falcon_nano = {
        **FALCON_H1_7B,
        "num_hidden_layers": 2,
        "mamba_n_heads": 2,
        "mamba_d_head": 32,
        "mamba_d_state": 32,
    }
    for config, sequences, said in ((next_nano, 335_628, 2.92), (falcon_nano, 176_065, 2.94)):
        allocated_gib = kv_size(config).state_bytes * sequences / 2**30
        assert allocated_gib == pytest.approx(said, abs=0.011)


def test_layers_of_an_unknown_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="layer_types has conv; known are full_attention"):
        kv_size({**LLAMA, "layer_types": ["conv", *["full_attention"] * 31]})
    with pytest.raises(ValueError, match="31 entries for 32 layers"):
        kv_size({**LLAMA, "layer_types": ["full_attention"] * 31})


def test_eight_bit_kv_and_nested_configs() -> None:
    assert kv_bytes_per_token(LLAMA, kv_bytes_per_element=1) == 65_536
    assert kv_bytes_per_token({"text_config": LLAMA, "num_hidden_layers": 1}) == 131_072


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"num_hidden_layers": 32},
        {**LLAMA, "num_hidden_layers": 0},
        {**LLAMA, "num_key_value_heads": "8"},
        {k: v for k, v in LLAMA.items() if k != "hidden_size"},
    ],
)
def test_a_config_that_does_not_say_is_refused(broken) -> None:
    with pytest.raises(ValueError, match=r"config has none of|whole number"):
        kv_bytes_per_token(broken)


@pytest.mark.parametrize(("size", "speed"), [(-1, 1), (1, 0), (1, -5)])
def test_impossible_transfers(size: float, speed: float) -> None:
    with pytest.raises(ValueError, match="positive speed"):
        transfer_ms(size, speed)


def test_impossible_ranks() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        kv_bytes_per_token(LLAMA, tp_size=0)


def test_the_least_of_everything_is_something() -> None:
    assert transfer_ms(0, 0.5) == 0.0
    assert transfer_ms(0.5, 0.5e-9) == 1e3
    assert transfer_ms(10**9, 1.0) == 1e3
    one = {"num_hidden_layers": 1, "num_attention_heads": 1, "head_dim": 1}
    assert kv_bytes_per_token(one, 1, 1) == 2
