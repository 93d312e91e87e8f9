import random

import pytest

from append_prefill.analysis.boundary import boundary
from tests.report.parts import Model, starts_of
from tests.report.traffic_parts import conversation, talking

TEXT = conversation(
    "text", context="primed", conversation=None, form="text", points=[[256, 64], [2048, 128]]
)
MERGED = [0, 2, 0, 1, 0]


def launches(merged=MERGED, *, page=1, more_ms=0.5, count=3):
    """Of each five prompts those lose so many tokens, and take `more_ms` longer if any."""
    points = [condition.point for condition in TEXT.conditions]
    starts = starts_of(points, "candidate", Model(), random.Random(1), count=count)
    starts = talking(starts, TEXT, Model(), sd=0)
    for number, start in enumerate(starts):
        for series in start.traffic:
            series.boundary_merged_tokens = [*merged]
            series.cached_tokens = [
                (series.context_tokens - tokens) // page * page for tokens in merged
            ]
            took_ms = Model()(series.point) * (1 + number / 10)
            series.ttft_ms = [took_ms + (more_ms if tokens else 0) for tokens in merged]
    return starts


def test_how_often_and_how_much_is_merged_and_what_it_costs():
    found = boundary(launches(), TEXT)
    assert (found.share, found.tokens, found.prefilled_again_tokens) == (0.4, 1.5, 1.5)
    assert found.cost_ms.value == pytest.approx(0.5)
    assert found.cost_ms.low <= 0.5 + 1e-9
    assert found.cost_ms.high >= 0.5 - 1e-9


def test_the_rest_of_the_page_is_prefilled_again_too():
    found = boundary(launches(page=64), TEXT)
    assert (found.tokens, found.prefilled_again_tokens) == (1.5, 64)


def test_prompts_are_held_against_those_of_their_own_point():
    """Of 256 cached tokens 6 are lost by one of two prompts, of 2,048 twelve and 24 by two."""
    (start,) = launches(count=1)
    for series, merged in zip(start.traffic, ([0, 6], [12, 0, 24]), strict=True):
        series.boundary_merged_tokens = merged
        series.cached_tokens = [series.context_tokens - tokens for tokens in merged]
        series.ttft_ms = [20 + tokens for tokens in merged]
    found = boundary([start], TEXT)
    assert (found.share, found.tokens, found.prefilled_again_tokens) == (0.6, 14, 14)
    # Medians of a point, and their mean: 6 ms, and 18.
    assert found.cost_ms.value == 12
    # One point says the same of itself; one at which nothing could merge says nothing.
    start.traffic[0].boundary_merged_tokens = []
    found = boundary([start], TEXT)
    assert (found.tokens, found.prefilled_again_tokens) == (18, 18)
    assert found.cost_ms.value == 18
    del start.traffic[0]
    assert boundary([start], TEXT).prefilled_again_tokens == 18


def test_where_nothing_merges_the_share_is_zero_and_nothing_else_is_told():
    found = boundary(launches([0] * 5), TEXT)
    assert found.share == 0
    assert (found.tokens, found.prefilled_again_tokens, found.cost_ms) == (None, None, None)


def test_where_every_prompt_merges_there_is_nothing_to_hold_them_against():
    found = boundary(launches([1] * 5), TEXT)
    assert (found.share, found.tokens) == (1, 1)
    assert (found.prefilled_again_tokens, found.cost_ms) == (None, None)


def test_one_launch_has_no_interval():
    assert boundary(launches(count=1), TEXT).cost_ms.low is None


def test_a_launch_that_failed_does_not_count():
    starts = launches()
    for start in starts[1:]:
        start.failure = "died"
    starts[0].traffic[0].boundary_merged_tokens = [0] * 5
    assert boundary(starts, TEXT).share == 0.2


def test_where_nothing_could_merge_there_is_none():
    starts = launches()
    for start in starts:
        for series in start.traffic:
            series.boundary_merged_tokens = []
    assert boundary(starts, TEXT) is None
    assert boundary([], TEXT) is None
    assert boundary(launches(), conversation()) is None
