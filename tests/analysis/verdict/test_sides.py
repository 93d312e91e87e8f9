"""The sides of a comparison as arrays: which launches and points are left, and what they weigh."""

from __future__ import annotations

import numpy as np
import pytest

from append_prefill.analysis.verdict.sides import Sides, complete, sides_of
from append_prefill.workload.points import Point
from tests.analysis.factory import start

A, B, C = Point(64, 32), Point(64, 64), Point(128, 64)
NAN = np.nan


@pytest.mark.parametrize(
    ("a", "b", "left"),
    [
        ([[0, 0]], [[0, 0]], ([0], [0], [0, 1])),
        # A launch that lacks most goes first, whichever side it is on.
        ([[0, 0, 0], [NAN, NAN, 0]], [[0, 0, 0]], ([0], [0], [0, 1, 2])),
        ([[0, 0, 0]], [[0, 0, 0], [NAN, 0, NAN]], ([0], [0], [0, 1, 2])),
        # The first launch of `b` is not the last of `a`.
        ([[0, 0, 0]], [[NAN, 0, NAN], [0, 0, 0]], ([0], [1], [0, 1, 2])),
        ([[NAN, NAN, 0], [0, 0, 0]], [[0, 0, 0]], ([1], [0], [0, 1, 2])),
        # A point that most launches lack.
        ([[0, 0, NAN], [0, 0, NAN]], [[0, 0, 0]], ([0, 1], [0], [0, 1])),
        # Equal shares: the point goes.
        ([[0, NAN], [0, 0]], [], ([0, 1], [], [0])),
        # One after the other until none is left.
        ([[NAN, 0, NAN], [0, 0, 0], [0, 0, NAN]], [[0, 0, 0]], ([1, 2], [0], [0, 1])),
        ([[NAN, NAN]], [[NAN, NAN]], ([0], [0], [])),
    ],
)
def test_the_worst_is_cut_first(a, b, left) -> None:
    columns = len(a[0])
    assert complete(np.array(a, float), np.array(b, float).reshape(-1, columns)) == left


def launches(*tables, first: int = 0):
    """Launches from the samples at A, B and C; an empty list is a hole."""
    return [
        start(first + n, dict(zip((A, B, C), row, strict=True))) for n, row in enumerate(tables)
    ]


def test_holes_are_cut_out_of_both_sides_and_counted() -> None:
    """B is measured by one of five launches, so it goes."""
    a = launches([[2.0], [], [4.0]], [[2.0], [], [4.0]])
    b = launches([[8.0], [], [1.0]], [[8.0], [9.0], [1.0]], [[1.0], [], [2.0, 2.0, 8.0]])
    sides = sides_of(a, b, [A, B, C], paired=False)
    np.testing.assert_allclose(np.exp(sides.candidate), [[2, 4], [2, 4]])
    np.testing.assert_allclose(np.exp(sides.reference), [[8, 1], [8, 1], [1, 2]])
    np.testing.assert_allclose(np.exp(sides.candidate_medians), [[2, 4], [2, 4]])
    np.testing.assert_allclose(np.exp(sides.reference_medians), [[8, 1], [8, 1], [1, 2]])
    assert (sides.points, sides.paired) == ((A, C), False)
    assert (sides.left_out_starts, sides.left_out_points) == (0, 1)


def test_the_statistic_and_the_median_are_of_the_same_launches() -> None:
    """The faster half of 1, 2 and 16 is 1 and 2; one launch of each side lacks everything."""
    a = launches([[], [], []], [[1.0, 2.0, 16.0]] * 3)
    b = launches([[4.0, 8.0, 64.0]] * 3, [[], [], []], [[1.0]] * 3)
    sides = sides_of(a, b, [A, B, C], paired=False)
    np.testing.assert_allclose(np.exp(sides.candidate), [[2**0.5] * 3])
    np.testing.assert_allclose(np.exp(sides.candidate_medians), [[2] * 3])
    np.testing.assert_allclose(np.exp(sides.reference), [[32**0.5] * 3, [1] * 3])
    np.testing.assert_allclose(np.exp(sides.reference_medians), [[8] * 3, [1] * 3])
    assert (sides.left_out_starts, sides.left_out_points) == (2, 0)


def test_a_hole_in_one_half_of_a_pair_takes_the_other() -> None:
    whole, none = [[1.0], [2.0], [3.0]], [[], [], []]
    a, b = launches(none, whole, whole, whole), launches(whole, whole, none, [[5.0]] * 3)
    sides = sides_of(a, b, [A, B, C], paired=True)
    np.testing.assert_allclose(np.exp(sides.candidate), [[1, 2, 3], [1, 2, 3]])
    np.testing.assert_allclose(np.exp(sides.reference), [[1, 2, 3], [5, 5, 5]])
    assert (sides.paired, sides.left_out_starts, sides.left_out_points) == (True, 4, 0)


def sides(na: int, nb: int, *, paired: bool = False, points=(A, B)) -> Sides:
    rng = np.random.default_rng(1)
    a, b = (rng.normal(size=(n, len(points))) for n in (na, nb))
    return Sides(a, b, a, b, tuple(points), paired, 0, 0)


@pytest.mark.parametrize(
    ("na", "nb", "paired", "per_start", "own_df"),
    [(2, 5, False, 0.7, 5.0), (4, 4, False, 0.5, 6.0), (4, 4, True, 0.25, 3.0)],
)
def test_what_launches_and_pairs_weigh(na, nb, paired, per_start, own_df) -> None:
    made = sides(na, nb, paired=paired)
    assert (made.per_start, made.own_df, made.fewest) == (per_start, own_df, min(na, nb))
    spread = made.spread(made.candidate, made.reference)
    if paired:
        variance = (made.candidate - made.reference).var(axis=0, ddof=1) / na
    else:
        variance = made.candidate.var(axis=0, ddof=1) / na + made.reference.var(axis=0, ddof=1) / nb
    np.testing.assert_allclose(spread.variance, variance)


def test_without_a_point_no_launch_counts() -> None:
    assert sides(3, 2, points=()).fewest == 0
