"""The test that confirms a cliff, its rate over a whole search, and whether a kept one stands."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest
from scipy import stats

from append_prefill.analysis.cliffs.expected import LOG_BOUND
from append_prefill.analysis.cliffs.jump import contrasts_of, holm, jump_of, kept_on
from append_prefill.records.cliffs import Cliff, Edge
from append_prefill.records.launch import TrafficSeries
from append_prefill.workload.traffic import Traffic
from tests.records import builders

EDGE = Edge(axis="append", fast=(64, 256), slow=(64, 257), expected_ratio=1.01)


def cliff(**changes):
    fields = {
        **EDGE.model_dump(), "ratio": 1.5, "low": 1.4, "high": 1.6, "p": 1e-4, "launches": 5,
        "context_tokens": (2, 2048), "append_tokens": (257, 288),
        "found_at": datetime(2026, 11, 2, tzinfo=UTC), "version": "0.5.23", "device": "CPU",
    }  # fmt: skip
    return Cliff(**(fields | changes))


def test_one_launch_is_an_estimate_and_no_evidence():
    jump = jump_of([0.4])
    assert (jump.ratio, jump.p, jump.low) == (pytest.approx(math.exp(0.4)), None, None)
    assert jump_of([]) is None


def test_what_is_expected_is_taken_off_and_holes_are_left_out():
    rows = np.array([[1.0, 1.4], [1.0, np.nan], [2.0, 2.5]])
    assert contrasts_of(rows, EDGE) == pytest.approx([0.4 - math.log(1.01), 0.5 - math.log(1.01)])


@pytest.mark.parametrize(("jump", "sure"), [(LOG_BOUND + 0.2, True), (LOG_BOUND - 0.02, False)])
def test_launches_without_scatter_are_decided_by_the_bound(jump, sure):
    assert jump_of([jump] * 5).p == (0.0 if sure else 1.0)


def test_a_jump_of_just_the_bound_is_confirmed_as_rarely_as_stated():
    rng, rate, tried = np.random.default_rng(3), 0.01, 4000
    drawn = LOG_BOUND + 0.03 * rng.standard_normal((tried, 5))
    alarms = sum(jump_of(row).p < rate for row in drawn)
    # 40 are expected; 3.3 standard deviations of a Poisson count.
    assert 19 <= alarms <= 61


def test_holm_spends_the_rate_once():
    assert holm([0.004, 0.2, 0.003], 0.01) == [True, False, True]
    assert holm([0.004, 0.006, 0.2], 0.01) == [False, False, False]
    assert holm([], 0.01) == []


@pytest.mark.parametrize(
    ("ratio", "standing"), [(1.5, True), (1.0, False), (1.06, None)], ids=["there", "gone", "open"]
)
def test_a_kept_cliff_is_told_side_by_side(ratio, standing):
    kept = cliff()
    made = builders.side_by_side(points=kept.points)
    for start in made.starts:
        factor = ratio if start.side == "candidate" else 1.0
        scatter = 1 + 0.01 * (start.index - 1)
        for series in start.series:
            slow = factor * scatter * kept.expected_ratio if series.point == kept.points[1] else 1
            series.ttft_ms = [10.0 * slow] * len(series.ttft_ms)
    (told,) = kept_on(made.starts, [kept], ["candidate", "reference"], {})
    assert told.sides[0].standing is standing
    assert told.sides[0].ratio == pytest.approx(ratio, rel=0.001)
    assert told.sides[1].standing is False
    assert told.found == 1.5


def test_a_side_that_did_not_measure_it_says_nothing():
    (told,) = kept_on(builders.run().starts, [cliff()], ["candidate"], {})
    assert (told.sides[0].ratio, told.sides[0].standing) == (None, None)


def test_one_in_other_traffic_is_told_by_what_was_measured_there():
    company = Traffic(company="together:8")
    kept = cliff(experiment="together_8")
    made = builders.side_by_side(points=kept.points)
    for start in made.starts:
        # Alone TTFT jumps by half, in company by three quarters.
        start.traffic = [
            TrafficSeries(
                **series.model_dump(), company="together:8", planned_cached_tokens=64
            ).model_copy(update={"ttft_ms": [17.5 if series.point == kept.points[1] else 10.0] * 3})
            for series in start.series
        ]
        for series in start.series:
            series.ttft_ms = [15.0 if series.point == kept.points[1] else 10.0] * 3
    for name, ratio in (("together_8", 1.75), (None, 1.5)):
        edge = kept.model_copy(update={"experiment": name})
        (told,) = kept_on(made.starts, [edge], ["candidate"], {"together_8": company})
        assert told.sides[0].ratio == pytest.approx(ratio / 1.01)
        assert told.edge.experiment == name
    (told,) = kept_on(made.starts, [kept], ["candidate"], {})
    assert told.sides[0].ratio is None


def test_a_jump_is_students_over_launches_beyond_the_bound():
    """By hand: three launches 0.1, 0.2 and 0.3 beyond the bound; se = 0.1 / sqrt(3)."""
    jump = jump_of([LOG_BOUND + 0.1, LOG_BOUND + 0.2, LOG_BOUND + 0.3])
    assert jump.log_ratio == pytest.approx(LOG_BOUND + 0.2)
    assert jump.p == pytest.approx(stats.t.sf(0.2 / (0.1 / math.sqrt(3)), 2))
    half = stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert (jump.low, jump.high) == pytest.approx((jump.log_ratio - half, jump.log_ratio + half))
    assert jump.launches == 3
    assert jump_of([0.4]).launches == 1


def test_a_jump_of_the_bound_without_scatter_is_no_cliff():
    assert jump_of([LOG_BOUND] * 3).p == 1.0


def test_holm_rejects_at_the_rate_itself():
    assert holm([0.01], 0.01) == [True]
    assert holm([0.005, 0.01], 0.01) == [True, True]


def told_of(logs):
    """A kept cliff without anything expected, of launches whose jump is these logs."""
    kept = cliff(expected_ratio=1.0)
    made = builders.side_by_side(points=kept.points)
    starts = [start for start in made.starts if start.pair < len(logs)]
    for start in starts:
        for series in start.series:
            slow = math.exp(logs[start.pair]) if series.point == kept.points[1] else 1.0
            series.ttft_ms = [10.0 * slow] * len(series.ttft_ms)
    (told,) = kept_on(starts, [kept], ["candidate"], {})
    assert told.found_version == "0.5.23"
    return told.sides[0]


def test_the_interval_of_a_kept_cliff_is_that_of_its_launches():
    side = told_of([0.3, 0.4, 0.5])
    half = stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert side.side == "candidate"
    assert side.ratio == pytest.approx(math.exp(0.4))
    assert side.low == pytest.approx(math.exp(0.4 - half))
    assert side.high == pytest.approx(math.exp(0.4 + half))


def test_of_one_launch_a_kept_cliff_is_told_without_an_interval():
    side = told_of([0.4])
    assert (side.side, side.low, side.high, side.standing) == ("candidate", None, None, None)
    assert side.ratio == pytest.approx(math.exp(0.4))
