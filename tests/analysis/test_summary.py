import itertools

import numpy as np
import pytest
from scipy import stats

from append_prefill.analysis.summary import (
    FIGURE_VARIANCE,
    SAMPLES_BEYOND,
    as_candidate,
    faster_half,
    geometric_interval,
    log_matrix,
    log_median,
    point_medians,
    samples_of,
    start_medians,
    summarise_points,
    t_interval,
    upper_quantile,
    usable,
)
from append_prefill.records.launch import Void
from append_prefill.workload.points import Point
from tests.analysis.factory import POINTS, profile, start, starts_of

A, B = Point(512, 128), Point(512, 512)


def test_interval_of_none_one_and_two() -> None:
    with pytest.raises(ValueError, match="at least one"):
        t_interval([])
    one = t_interval([3.0])
    assert (one.value, one.low, one.high) == (3.0, None, None)
    two = t_interval([1.0, 2.0])
    half = stats.t.ppf(0.975, 1) * 0.5
    assert two.value == 1.5
    assert two.low == pytest.approx(1.5 - half)
    assert two.high == pytest.approx(1.5 + half)


def test_interval_agrees_with_scipy() -> None:
    values = np.random.default_rng(0).normal(size=7)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = t_interval(values)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_geometric_interval_refuses_what_has_no_logarithm() -> None:
    with pytest.raises(ValueError, match="positive"):
        geometric_interval([1.0, 0.0])
    assert geometric_interval([2.0, 8.0]).value == pytest.approx(4.0)


def test_medians_by_point_and_start() -> None:
    starts = [start(0, {A: [3.0, 1.0, 2.0], B: [9.0]}), start(1, {A: [5.0, 7.0], B: []})]
    assert start_medians(starts) == {A: {0: 2.0, 1: 6.0}, B: {0: 9.0}}


def test_sides_and_failed_starts_do_not_mix() -> None:
    starts = [
        start(0, {A: [1.0]}),
        start(1, {A: [2.0]}, side="reference"),
        start(2, {A: [3.0]}, failure="died"),
    ]
    assert start_medians(starts) == {A: {0: 1.0}}
    assert start_medians(starts, "reference") == {A: {1: 2.0}}
    assert start_medians(starts, None) == {A: {0: 1.0, 1: 2.0}}
    assert start_medians([]) == {}


def test_two_starts_of_one_index_are_refused() -> None:
    with pytest.raises(ValueError, match="share an index"):
        start_medians([start(0, {A: [1.0]}), start(0, {A: [2.0]})])


def test_matrix_has_holes_where_nothing_was_measured() -> None:
    table = log_matrix([start(0, {A: [np.e]}), start(1, {B: [1.0]})], [A, B])
    np.testing.assert_allclose(table, [[1.0, np.nan], [np.nan, 0.0]])
    assert log_matrix([], [A, B]).shape == (0, 2)


def test_summary_lists_every_planned_and_drawn_point() -> None:
    drawn = Point(77, 33)
    starts = [start(i, {A: [20.0 + i], drawn: [30.0]}) for i in range(3)]
    table = {row.point: row for row in summarise_points(starts, profile())}
    assert set(table) == {*POINTS, drawn}
    assert list(table) == sorted(table)
    assert table[drawn].experiment == []
    assert table[A].experiment == ["append", "context"]
    assert table[A].median_ms == pytest.approx((20 * 21 * 22) ** (1 / 3))
    assert table[A].low_ms is not None
    assert table[A].high_ms is not None
    assert table[A].low_ms < 21 < table[A].high_ms
    missing = table[B]
    assert (missing.median_ms, missing.low_ms, missing.starts, missing.samples) == (
        None,
        None,
        0,
        0,
    )


def test_one_start_has_a_median_and_no_interval() -> None:
    row = summarise_points(starts_of(np.zeros((1, len(POINTS)))), profile())[0]
    assert (row.median_ms, row.low_ms, row.high_ms) == (1.0, None, None)


def test_the_faster_half_is_not_moved_by_what_only_adds() -> None:
    quiet = np.log([10.0, 11.0, 12.0, 13.0, 14.0])
    disturbed = quiet + np.log([1.0, 1.0, 1.0, 1.7, 1.7])
    for log_ms in (quiet, disturbed, disturbed[::-1]):
        assert np.exp(faster_half(log_ms)) == pytest.approx((10 * 11 * 12) ** (1 / 3))
    # A slow-down of everything is in it in full, and it works along the last axis.
    both = faster_half(np.array([quiet, quiet + np.log(1.03)]))
    assert np.exp(both[1] - both[0]) == pytest.approx(1.03)
    assert faster_half(np.log([7.0])) == pytest.approx(np.log(7.0))


def test_the_faster_half_of_ten_normal_samples_has_the_stated_variance() -> None:
    """20,000 draws: the standard error of a variance is 1 %; ten are not infinitely many."""
    figures = faster_half(np.random.default_rng(0).normal(size=(20_000, 10)))
    assert 10 * figures.var() == pytest.approx(FIGURE_VARIANCE, rel=0.06)


def test_the_faster_half_does_not_depend_on_the_order() -> None:
    for order in itertools.permutations(np.log([1.0, 2.0, 4.0, 8.0, 16.0])):
        assert np.exp(faster_half(np.array(order))) == pytest.approx(2.0)
    many = np.array([np.random.default_rng(seed).permutation(101) for seed in range(200)])
    assert faster_half(many).tolist() == [25.0] * 200


def test_a_median_is_each_rows_own() -> None:
    rows = np.log([[1.0, 2.0, 9.0], [5.0, 7.0, 8.0]])
    assert np.exp(log_median(rows)) == pytest.approx([2.0, 7.0])


def test_series_of_one_point_are_one() -> None:
    made = start(0, {A: [1.0, 2.0], B: [9.0]})
    made.series.append(start(0, {A: [30.0]}).series[0])
    assert samples_of(made, A).tolist() == [1.0, 2.0, 30.0]
    assert start_medians([made]) == {A: {0: 2.0}, B: {0: 9.0}}


def test_a_launch_as_the_candidate_is_that_launch() -> None:
    made = start(3, {A: [1.0]}, side="reference")
    assert as_candidate(made) == start(3, {A: [1.0]})


def test_the_summary_counts_the_candidates_samples_alone() -> None:
    void = [Void(reason="wrong split", count=2), Void(reason="hot", count=1)]
    own, other = start(0, {A: [20.0, 22.0]}), start(1, {A: [30.0], B: [30.0]}, side="reference")
    other.series.append(start(1, {Point(7, 7): [1.0]}).series[0])
    own.series[0].void = void
    rows = {row.point: row for row in summarise_points([own, other], profile())}
    assert (rows[A].starts, rows[A].samples, rows[A].void) == (1, 2, 3)
    assert rows[A].median_ms == pytest.approx(21.0)
    assert (rows[B].starts, rows[B].samples, rows[B].void) == (0, 0, 0)
    assert set(rows) == set(POINTS)


def test_log_matrix_takes_the_figure_asked_for() -> None:
    (row,) = log_matrix([start(0, {A: [1.0, 2.0, 4.0, 8.0]})], [A])
    assert np.exp(row) == pytest.approx([2**0.5])
    (row,) = log_matrix([start(0, {A: [1.0, 2.0, 4.0, 8.0]})], [A], log_median)
    assert np.exp(row) == pytest.approx([3.0])


@pytest.mark.parametrize(
    ("failure", "measured_s", "counts"),
    [(None, 12.0, True), (None, 0.0, True), ("died", 12.0, False), (None, None, False),
     ("died", None, False)],
)  # fmt: skip
def test_a_start_counts_if_it_was_measured_to_its_end(failure, measured_s, counts) -> None:
    whole = start(0, {POINTS[0]: [20.0]}, failure=failure)
    whole = whole.model_copy(update={"measured_s": measured_s})
    other = whole.model_copy(update={"side": "reference"})
    assert usable([whole, other], "candidate") == [whole] * counts
    assert usable([whole, other], "reference") == [other] * counts
    assert usable([whole, other], None) == [whole, other] * counts


def test_launches_of_several_runs_may_share_an_index() -> None:
    two_runs = [start(0, {A: [1.0, 2.0, 9.0]}), start(0, {A: [8.0], B: [5.0]})]
    assert point_medians(two_runs) == {A: pytest.approx(4.0), B: pytest.approx(5.0)}


def test_a_quantile_is_told_where_enough_samples_lie_beyond_it():
    few = 4 * SAMPLES_BEYOND
    samples = np.random.default_rng(2).exponential(1.0, few)
    assert upper_quantile(samples, 0.75) == np.quantile(samples, 0.75)
    assert upper_quantile(samples[1:], 0.75) is None
