"""The share of samples that prove nothing, where it is worth a word."""

import pytest

from append_prefill.records.grounds import DEVICE_STATE
from append_prefill.records.launch import Void
from append_prefill.report import format as fmt
from append_prefill.report.headline import headline_of
from append_prefill.report.invalid import invalid_words
from append_prefill.report.terminal import summary_lines
from tests.report import samples


def with_invalid(count: int, reason: str):
    """A run of whose samples so many more are invalid."""
    run = samples.sound(samples.passing())
    starts = [s.model_copy(deep=True) for s in run.starts]
    for start in starts:
        for series in start.series:
            series.void = []
    starts[0].series[0].void = [Void(reason=reason, count=count)]
    taken = sum(len(s.ttft_ms) for start in starts for s in start.series)
    return run.model_copy(update={"starts": starts}), taken


def test_one_in_a_hundred_is_said_with_its_reason():
    _, taken = with_invalid(1, "error: HTTP 500")
    count = taken // 99 + 1
    run, _ = with_invalid(count, "error: HTTP 500")
    words = invalid_words(run)
    assert f"({fmt.count(count)} of {fmt.count(taken + count)})" in words
    assert "error: HTTP 500" in words
    assert f"warning: {words}" in summary_lines(run, None)
    assert any(mark.title == "Invalid samples" for mark in headline_of(run).reservations)


@pytest.mark.parametrize(
    ("count", "reason"),
    [(1, "error: HTTP 500"), (10_000, DEVICE_STATE), (10_000, "device state made a hole of it")],
)
def test_rarer_ones_and_what_the_device_made_invalid_are_in_the_table_alone(count, reason):
    run, _ = with_invalid(count, reason)
    assert invalid_words(run) is None
