"""What a cell says never contradicts the interval that stands beside it."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from append_prefill.records.comparison import PointEffect
from append_prefill.records.grounds import ComparisonVerdict
from append_prefill.report.words import label_of


def effect(verdict: ComparisonVerdict, low: float | None, ratio: float, high: float | None):
    return PointEffect(
        context_tokens=512,
        append_tokens=32,
        reference_ms=20.0,
        candidate_ms=20.0 * ratio,
        ratio=ratio,
        low=low,
        high=high,
        p=0.01,
        mde=0.02,
        verdict=verdict,
    )


@pytest.mark.parametrize(
    ("verdict", "low", "ratio", "high", "word"),
    [
        ("regression", 1.02, 1.05, 1.08, "regression"),
        ("regression", 0.995, 1.035, 1.077, "slower with others"),
        ("regression", 0.95, 0.99, 1.03, "inconclusive"),
        ("regression", 0.9, 0.95, 0.99, "faster"),
        ("improvement", 0.9, 0.95, 0.99, "improvement"),
        ("improvement", 0.9, 0.96, 1.02, "faster with others"),
        ("improvement", 1.01, 1.02, 1.03, "suspect"),
        ("pass", 0.6, 0.75, 0.88, "faster"),
        ("pass", 0.99, 1.0, 1.01, "pass"),
        ("pass", 1.005, 1.01, 1.02, "pass"),
        ("inconclusive", 0.5, 0.59, 0.7, "faster"),
        ("inconclusive", 1.01, 1.06, 1.11, "suspect"),
        ("inconclusive", 0.98, 1.02, 1.06, "inconclusive"),
        ("regression", None, 1.1, None, "inconclusive"),
    ],
)
def test_labels(verdict, low, ratio, high, word) -> None:
    assert label_of(effect(verdict, low, ratio, high)).word == word


@given(
    st.sampled_from(get_args(ComparisonVerdict)),
    st.floats(0.5, 2),
    st.floats(0, 0.5),
    st.floats(0, 0.5),
)
@example("pass", 0.8, 0.05, 0.05)
@example("regression", 1.02, 0.05, 0.05)
def test_no_label_stands_against_its_interval(verdict, ratio, below, above) -> None:
    low, high = ratio * (1 - below), ratio * (1 + above)
    word = label_of(effect(verdict, low, ratio, high)).word
    if word == "pass":
        assert high >= 1
    if word == "regression":
        assert low > 1
    if word in {"improvement", "faster"}:
        assert high < 1
    if word == "slower with others":
        assert verdict == "regression"
        assert low <= 1 < ratio
    if word == "faster with others":
        assert verdict == "improvement"
        assert ratio < 1 <= high
    if word == "suspect":
        assert low > 1
