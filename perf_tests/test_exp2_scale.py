"""Experiment 2: a fixed cache rate, varied scale. The study: "scaling factor 0.14"."""

import pytest

pytestmark = pytest.mark.append_prefill("scale")


def test_ttft_grows_far_less_than_the_input(finding):
    finding("scale_factor")
