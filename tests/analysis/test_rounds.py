import numpy as np
import pytest
from scipy import stats

from append_prefill.analysis.rounds import (
    alike,
    by_round,
    launch_figures,
    pair_figures,
    rounds_of,
)
from append_prefill.analysis.summary import faster_half
from append_prefill.workload.points import Point
from tests.analysis.factory import start

A, B = Point(512, 128), Point(512, 512)


def launch(log_ms, side="candidate", alternated="sample", blocks=None):
    """A launch from log samples, shape (rounds, 2 points); NaN is an invalid one."""
    table = np.asarray(log_ms, dtype=float)
    numbers = list(range(len(table))) if blocks is None else blocks
    made = start(0, {A: [], B: []}, side=side)
    for series, column in zip(made.series, table.T, strict=True):
        kept = [
            (n, float(np.exp(v))) for n, v in zip(numbers, column, strict=True) if not np.isnan(v)
        ]
        series.block = [n for n, _ in kept]
        series.ttft_ms = [v for _, v in kept]
        series.e2e_ms = [v + 1 for v in series.ttft_ms]
        series.itl_ms = [None] * len(kept)
        series.output_tokens = [2] * len(kept)
        series.cached_tokens = [0] * len(kept)
    return made.model_copy(update={"interleaved": True, "alternated": alternated})


@pytest.mark.parametrize(
    ("differences", "middle"),
    [([100.0, 1, 2, 3, 4, 5, 6, -100], 3.5), ([1.0, 2.0, 6.0], 3.0), ([7.0], 7.0)],
)
def test_the_middle_half_leaves_out_a_quarter_at_either_end(differences, middle):
    one = launch([[value, np.nan] for value in differences])
    other = launch([[0.0, 0.0] for _ in differences], side="reference")
    told = pair_figures(one, other, [A, B]).values
    assert told.tolist() == [pytest.approx(middle), pytest.approx(np.nan, nan_ok=True)]


def by_hand(figure, table, less=None):
    """The figure of each column's values, less that of the like column of another table, and the
    jackknife's covariance, a round at a time.
    """

    def one(some):
        columns = [column[~np.isnan(column)] for column in some.T]
        return np.array([figure(np.sort(c)) if c.size else np.nan for c in columns])

    def told(some):
        return one(some) if less is None else one(some[:, :2]) - one(some[:, 2:])

    table = table if less is None else np.hstack([table, less])

    without = np.array([told(np.delete(table, row, axis=0)) for row in range(len(table))])
    centred = np.nan_to_num(without - without.mean(axis=0))
    return told(table), (len(table) - 1) / len(table) * centred.T @ centred


def middle(ranked):
    cut = int(0.25 * len(ranked))
    return ranked[cut : len(ranked) - cut].mean()


def faster(ranked):
    return ranked[: (len(ranked) + 1) // 2].mean()


@pytest.mark.parametrize("rounds", range(2, 14))
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_a_round_at_a_time_is_what_all_at_once_says(rounds, missing):
    """With equal values among them, and samples that are not there."""
    rng = np.random.default_rng(rounds)
    a, b = 3 + rng.integers(0, 9, size=(2, rounds, 2)) / 10
    a[rng.random(a.shape) < missing] = np.nan
    one, other = launch(a), launch(b, side="reference")
    told = pair_figures(one, other, [A, B], fewest=2)
    # Rounds of which neither side has a sample at a point are in no table, and change nothing.
    values, covariance = by_hand(middle, a - b)
    np.testing.assert_allclose(told.values, values, atol=1e-12)
    np.testing.assert_allclose(told.covariance, covariance, atol=1e-12)
    alone = launch_figures(one, [A, B])
    there = a[~np.isnan(a).all(axis=1)]
    values, covariance = by_hand(faster, there)
    np.testing.assert_allclose(alone.values, values, atol=1e-12)
    if len(there) >= 3:
        np.testing.assert_allclose(alone.covariance, covariance, atol=1e-12)
    by_block = pair_figures(launch(a, alternated="block"), other, [A, B], fewest=2)
    values, covariance = by_hand(faster, a, less=b)
    np.testing.assert_allclose(by_block.values, values, atol=1e-12)
    np.testing.assert_allclose(by_block.covariance, covariance, atol=1e-12)


@pytest.mark.parametrize("alternated", ["sample", "block"])
def test_of_no_points_nothing_is_told(alternated):
    """As of a stratum that a record has no point of."""
    sides = [launch([[3.0, 3.0]] * 3, side, alternated) for side in ("candidate", "reference")]
    nothing = pair_figures(*sides, [], fewest=2)
    assert nothing.values.size == nothing.covariance.size == 0


def test_rounds_stand_in_their_rows_and_invalid_samples_are_holes():
    a = launch([[3.0, 3.1], [3.2, np.nan]], blocks=[4, 7])
    table = by_round(a, [A, B], [4, 5, 7])
    np.testing.assert_allclose(table, [[3.0, 3.1], [np.nan, np.nan], [3.2, np.nan]])
    assert rounds_of(a, launch([[3.0, 3.0]], blocks=[5])) == [4, 5, 7]
    assert np.isnan(by_round(a, [Point(1, 1)], [4, 7])).all()


def test_like_samples_are_those_taken_in_turns():
    one, other = launch([[3.0, 3.0]]), launch([[3.0, 3.0]], side="reference")
    by_block = launch([[3.0, 3.0]], alternated="block")
    assert alike(one, other)
    assert not alike(by_block, other)
    assert not alike(one, by_block)
    assert not alike(one, launch([[3.0, 3.0]], alternated=None))


def test_what_both_like_samples_share_is_not_in_their_pairs_figure():
    rng = np.random.default_rng(1)
    shared = 0.5 * rng.normal(size=(12, 2))
    b = 3 + shared
    a = b + np.array([0.02, 0.05])
    figures = pair_figures(launch(a), launch(b, side="reference"), [A, B])
    np.testing.assert_allclose(figures.values, [0.02, 0.05], atol=1e-12)
    np.testing.assert_allclose(figures.covariance, 0, atol=1e-15)
    apart = pair_figures(launch(a, alternated="block"), launch(b, side="reference"), [A, B])
    expected = faster_half(a.T) - faster_half(b.T)
    np.testing.assert_allclose(apart.values, expected)


def test_a_sample_without_its_like_does_not_count():
    a = [[3.1, 3.0], [9.0, 3.0], [3.1, 3.0], [3.1, 3.0]]
    b = [[3.0, 3.0], [np.nan, 3.0], [3.0, 3.0], [3.0, 3.0]]
    figures = pair_figures(launch(a), launch(b, side="reference"), [A, B])
    np.testing.assert_allclose(figures.values, [0.1, 0.0], atol=1e-12)


def test_a_round_that_one_side_alone_has_does_not_count():
    more, fewer = [[3.1, 3.0], [3.1, 3.0], [9.0, 9.0]], [[3.0, 3.0], [3.0, 3.0]]
    figures = pair_figures(launch(more), launch(fewer, side="reference"), [A, B])
    np.testing.assert_allclose(figures.values, [0.1, 0.0], atol=1e-12)
    figures = pair_figures(launch(fewer), launch(more, side="reference"), [A, B])
    np.testing.assert_allclose(figures.values, [-0.1, 0.0], atol=1e-12)


def test_a_point_without_samples_has_no_figure_and_spoils_no_other():
    a = [[np.nan, 3.0], [np.nan, 3.2], [np.nan, 3.4], [np.nan, 3.6]]
    figures = launch_figures(launch(a), [A, B])
    assert np.isnan(figures.values[0])
    assert figures.values[1] == pytest.approx(3.1)
    assert np.isfinite(figures.covariance).all()


@pytest.mark.parametrize(("rounds", "told"), [(2, False), (3, True)])
def test_two_rounds_tell_nothing_of_their_own_error(rounds, told):
    a = 3 + 0.1 * np.random.default_rng(2).normal(size=(rounds, 2))
    assert (launch_figures(launch(a), [A, B]).covariance is not None) is told


@pytest.mark.parametrize("alternated", ["sample", "block"])
def test_two_rounds_are_told_of_where_they_are_enough(alternated):
    a = launch([[3.1, 3.0], [3.3, 3.2]], alternated=alternated)
    b = launch([[3.0, 3.0], [3.0, 3.0]], side="reference", alternated=alternated)
    assert pair_figures(a, b, [A, B]).covariance is None
    # Without either round both points are 0.1 off their mean, to the same side.
    found = pair_figures(a, b, [A, B], fewest=2).covariance
    np.testing.assert_allclose(found, np.full((2, 2), 0.01))
    np.testing.assert_allclose(pair_figures(a, b, [B], fewest=2).covariance, [[0.01]])


def test_a_launch_without_rounds_has_no_figures():
    figures = launch_figures(start(0, {A: [], B: []}), [A, B])
    assert np.isnan(figures.values).tolist() == [True, True]
    assert figures.covariance is None


@pytest.mark.simulation
@pytest.mark.parametrize("alternated", ["sample", "block"])
def test_a_pairs_error_is_what_it_says(alternated):
    """Blocks have a state of their own, 10 %, common to both points: the figures of 400 pairs
    scatter as the mean jackknife says (within a tenth: four standard errors of a variance from 400
    draws are a fifth), and points as common as they are."""
    rng = np.random.default_rng(3)
    found, said = [], []
    for _ in range(400):
        tables = [
            3 + 0.1 * rng.normal(size=(20, 1)) + 0.05 * rng.normal(size=(20, 2)) for _ in range(2)
        ]
        a = launch(tables[0], alternated=alternated)
        b = launch(tables[1], side="reference", alternated=alternated)
        figures = pair_figures(a, b, [A, B])
        found.append(figures.values)
        said.append(figures.covariance)
    true, mean = np.cov(np.array(found).T), np.mean(said, axis=0)
    np.testing.assert_allclose(mean, true, rtol=0.25)
    assert true[0, 1] / true[0, 0] == pytest.approx(0.8, abs=0.1)
    assert stats.chi2(400).cdf(400 * true[0, 0] / mean[0, 0]) > 1e-4


def test_several_samples_of_a_round_count_as_their_mean():
    """In company a block has several; two rounds of one sample each are what is left of them."""
    several = launch([[0.0, np.nan], [0.4, 1.0], [2.0, np.nan]], blocks=[0, 0, 3])
    table = by_round(several, [A, B], rounds_of(several))
    assert table[:, 0] == pytest.approx([0.2, 2.0])
    assert table[0, 1] == pytest.approx(1.0)
    assert np.isnan(table[1, 1])


def test_several_series_of_a_point_are_one():
    """As of one point under several conditions: some rounds are of one, some of another."""
    both = launch([[3.0, 1.0], [3.5, 1.0]], blocks=[0, 1])
    both.series += launch([[4.0, np.nan], [4.5, np.nan]], blocks=[1, 2]).series
    table = by_round(both, [A, B], [0, 1, 2])
    np.testing.assert_allclose(table, [[3.0, 1.0], [3.75, 1.0], [4.5, np.nan]])
