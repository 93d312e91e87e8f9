"""Experiment 3: a fixed context, varied append. The study: "m x 32, TTFT x 1.02"."""

import pytest

pytestmark = pytest.mark.append_prefill("append")


def test_ttft_is_flat_in_the_appended_tokens(finding):
    finding("append_flatness")
