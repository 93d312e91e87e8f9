import pytest

from append_prefill.analysis.transfer import KvSize, kv_size
from append_prefill.workload.loading import load_profile
from benchmarks.kv_pool import LATENT_POOL, POOL_BYTES, WINDOW_TOKENS, expected_gib, small


@pytest.mark.parametrize("name", ["qwen3-30b-a3b", "deepseek-v2-lite", "gemma-3-4b", "gpt-oss-20b"])
def test_a_geometry_made_small_keeps_its_kv(name):
    whole = load_profile(name)
    thin = small(whole)
    assert kv_size(thin.model.config) == kv_size(whole.model.config)
    assert thin.model.config["hidden_size"] == 64
    tokens = int(thin.server.args[-1])
    assert tokens * kv_size(thin.model.config).token_bytes == pytest.approx(POOL_BYTES, rel=1e-4)
    assert thin.device == "cpu"


def test_a_pool_for_windows_counts_with_its_own_tokens():
    """256 bytes for each of 40,000 and 32,000 tokens are 18,432,000."""
    assert expected_gib(KvSize(256, 256, 128), 40_000, 32_000) == 18_432_000 / 2**30


def test_what_a_log_says_of_pools():
    """As 0.5.23 writes it; windows are solved for twice and allocated once."""
    latent = "KV Cache is allocated. dtype: torch.bfloat16, #tokens: 64300, KV size: 1.86 GB"
    assert LATENT_POOL.search(latent).groups() == ("64300", "1.86")
    windows = (
        "Use sliding window memory pool. full_layer_tokens=14347621, swa_layer_tokens=11478096\n"
        "SWAKVPool mem usage: 0.02 GB, swa size: 32000, full size: 40000\n"
    )
    assert WINDOW_TOKENS.search(windows)[1] == "32000"
    assert LATENT_POOL.search(windows) is None
