import pytest

from append_prefill.analysis.transfer import STUDY_TRANSFER_MS, kv_bytes_per_token, transfer_ms

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
