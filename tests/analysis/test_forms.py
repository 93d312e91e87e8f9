import random

import pytest

from append_prefill.analysis.forms import over_ids
from tests.report.parts import Model, starts_of
from tests.report.traffic_parts import conversation, talking

TEXT = conversation(
    "text", context="primed", conversation=None, form="text", points=[[256, 64], [2048, 128]]
)
POINTS = [condition.point for condition in TEXT.conditions]


def launches(more_ms=3.0, more_us=2.0, count=3):
    """As text a point takes 3 ms more, and 2 µs for each token of its prompt."""

    def as_text(point):
        return Model()(point) + more_ms + more_us * point.total_tokens / 1000

    starts = starts_of(POINTS, "candidate", Model(), random.Random(1), count=count, sd=1e-6)
    for start in starts:
        for series in start.series:
            series.ttft_ms = [Model()(series.point)] * len(series.ttft_ms)
    return talking(starts, TEXT, as_text, sd=1e-6)


def test_what_is_paid_once_and_what_a_token_pays():
    over = over_ids(launches(), TEXT)
    assert over.fixed_ms.value == pytest.approx(3, abs=0.01)
    assert over.per_1000_tokens_ms.value == pytest.approx(2, abs=0.001)
    assert over.fixed_ms.low < 3 < over.fixed_ms.high or over.fixed_ms.low == pytest.approx(
        3, abs=0.01
    )


def test_one_launch_has_no_interval():
    assert over_ids(launches(count=1), TEXT).fixed_ms.low is None


def test_without_both_forms_at_two_lengths_nothing_is_told():
    starts = launches()
    for start in starts:
        start.series = start.series[:1]
    assert over_ids(starts, TEXT) is None
    assert over_ids([], TEXT) is None


def test_ids_cost_nothing_over_ids():
    assert over_ids(launches(), conversation()) is None
