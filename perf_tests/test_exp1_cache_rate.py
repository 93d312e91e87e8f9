"""Experiment 1: a fixed total, varied cache rate. The study: "varies only 14 %"."""

import pytest

pytestmark = pytest.mark.append_prefill("cache_rate")


def test_ttft_stays_in_a_band_over_cache_rates(finding):
    finding("cache_rate_band")
