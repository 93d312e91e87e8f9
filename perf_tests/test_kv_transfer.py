"""KV transfer time beside TTFT: computed from the model's geometry, for the profile's link."""

import pytest

from append_prefill.analysis.transfer import kv_bytes_per_token, transfer_ms
from append_prefill.workload.loading import load_profile

pytestmark = pytest.mark.append_prefill("scale", "context")


def test_kv_transfer_takes_a_small_share_of_ttft(finding):
    finding("kv_transfer_time")


def test_the_studys_transfer_figure_is_refuted(measured):
    """The study: "1 MB per 1,024 tokens, 0.04 ms at 25 GB/s". Its model's geometry says 128 times
    as much, so a transfer over PCIe is no rounding error beside a 20 ms TTFT."""
    config = load_profile("llama-3.1-8b").model.config
    bytes_per_token = kv_bytes_per_token(config)
    assert bytes_per_token == 2 * 32 * 8 * 128 * 2 == 131_072
    corrected_ms = transfer_ms(1024 * bytes_per_token, 25)
    assert corrected_ms == pytest.approx(5.369, abs=0.001)
    assert corrected_ms / 0.04 > 100
