"""Across all four experiments: TTFT by cache-rate range, and its share of the whole latency."""

import pytest

pytestmark = pytest.mark.append_prefill("cache_rate", "scale", "append", "context")


def test_mean_ttft_agrees_across_cache_rate_ranges(finding):
    finding("cache_range_consistency")


def test_ttft_share_of_the_whole_latency(finding):
    finding("ttft_share")  # reported, never gated: skipped with its value
