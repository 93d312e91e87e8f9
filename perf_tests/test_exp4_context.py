"""Experiment 4: a fixed append, varied context. The study: "L x 32, TTFT x 1.26, factor 0.11"."""

import pytest

pytestmark = pytest.mark.append_prefill("context")


def test_ttft_is_flat_in_the_cached_context(finding):
    finding("context_flatness")


def test_ttft_grows_far_less_than_the_total(finding):
    finding("context_factor")
