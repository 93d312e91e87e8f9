"""The sides of a comparison as arrays: which launches and points are left, and what they weigh."""

from __future__ import annotations

import numpy as np
import pytest

from append_prefill.analysis.rounds import launch_figures, pair_figures
from append_prefill.analysis.verdict.sides import (
    Sides,
    complete,
    sides_of,
    sides_through_control,
)
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


RNG = np.random.default_rng(2)


def rounds(index, side="candidate", *, alternated="sample", count=5, lacks=(), points=(A, B)):
    """A launch of `count` rounds, each a sample a point; `lacks` a point in all of them."""
    values = {
        p: [] if p in lacks else list(20 * np.exp(0.1 * RNG.normal(size=count))) for p in points
    }
    return start(index, values, side=side).model_copy(
        update={"interleaved": True, "alternated": alternated, "pair": index}
    )


def test_pairs_that_alternated_by_sample_are_compared_by_like_samples() -> None:
    a, b = ([rounds(n, side) for n in range(3)] for side in ("candidate", "reference"))
    made = sides_of(a, b, [A, B], paired=True)
    assert made.alike
    each = [pair_figures(*pair, [A, B]) for pair in zip(a, b, strict=True)]
    np.testing.assert_allclose(made.candidate - made.reference, [f.values for f in each])
    np.testing.assert_allclose(
        made.reference, [launch_figures(launch, [A, B]).values for launch in b]
    )
    # A mean over pairs: the sum of the pairs' own errors over their number squared.
    np.testing.assert_allclose(made.within, sum(f.covariance for f in each) / 9)
    by_block = sides_of([*a[:2], rounds(2, alternated="block")], b, [A, B], paired=True)
    assert not by_block.alike


def test_launches_one_by_one_are_compared_by_their_faster_halves() -> None:
    a = [rounds(n) for n in range(2)]
    b = [rounds(n, "reference") for n in range(4)]
    made = sides_of(a, b, [A, B], paired=False)
    assert not made.alike
    figures = [[launch_figures(launch, [A, B]) for launch in side] for side in (a, b)]
    np.testing.assert_allclose(made.candidate, [f.values for f in figures[0]])
    np.testing.assert_allclose(made.reference, [f.values for f in figures[1]])
    errors = [sum(f.covariance for f in of) / len(of) ** 2 for of in figures]
    np.testing.assert_allclose(made.within, errors[0] + errors[1])


@pytest.mark.parametrize("paired", [False, True])
def test_blocks_tell_only_where_every_launch_has_three(paired) -> None:
    a, b = ([rounds(n, side) for n in range(2)] for side in ("candidate", "reference"))
    assert sides_of(a, b, [A, B], paired=paired).within is not None
    for side in (a, b):
        short = rounds(1, side[0].side, count=2)
        some = [side[0], short]
        made = sides_of(*((some, b) if side is a else (a, some)), [A, B], paired=paired)
        # Of a pair both rounds count that either side has a sample of.
        assert (made.within is None) is (not paired)
    few = ([rounds(n, side, count=2) for n in range(2)] for side in ("candidate", "reference"))
    assert sides_of(*few, [A, B], paired=paired).within is None


@pytest.mark.parametrize("paired", [False, True])
def test_the_blocks_error_is_of_what_is_left(paired) -> None:
    """B, which most lack, goes; a launch without C takes its pair, whose error no longer counts."""
    points = (A, B, C)
    a = [rounds(0, lacks=(B,), points=points), rounds(1, points=points), rounds(2, points=points)]
    b = [rounds(n, "reference", lacks=(B,), points=points) for n in range(3)]
    a.append(rounds(3, lacks=points, points=points))
    b.append(rounds(3, "reference", points=points))
    made = sides_of(a, b, [A, B, C], paired=paired)
    assert made.points == (A, C)
    kept = 3 if paired else 4
    expected = sides_of(a[:3], b[:kept], [A, C], paired=paired)
    np.testing.assert_allclose(made.within, expected.within)


def with_control(count: int, **lacking) -> list:
    """Pairs of a side and the control; `lacking`: what the last pair lacks."""
    pairs = [
        [rounds(n, points=(A, B, C)), rounds(n, "reference", points=(A, B, C))]
        for n in range(count)
    ]
    pairs[-1][0] = rounds(count - 1, points=(A, B, C), **lacking)
    return [tuple(pair) for pair in pairs]


def log_median_ratios(pairs, points) -> np.ndarray:
    def medians(launch) -> np.ndarray:
        of = {series.point: series.ttft_ms for series in launch.series}
        return np.log([np.median(of[point]) for point in points])

    return np.array([medians(side) - medians(control) for side, control in pairs])


def test_through_a_control_each_pair_is_a_launch_of_ratios() -> None:
    """Most of the candidate's pairs lack C, so it goes; one that lacks everything goes whole."""
    points, left = [A, C, B], (A, B)
    a, b = with_control(3, lacks=(A, B, C)), with_control(4)
    a[:2] = [(rounds(n, lacks=(C,), points=(A, B, C)), a[n][1]) for n in range(2)]
    made = sides_through_control(a, b, points)
    assert made.points == left
    assert (made.left_out_starts, made.left_out_points) == (1, 1)
    assert (made.paired, made.alike, made.fewest) == (False, True, 2)
    for pairs, values, medians in (
        (a[:2], made.candidate, made.candidate_medians),
        (b, made.reference, made.reference_medians),
    ):
        np.testing.assert_allclose(values, [pair_figures(*pair, left).values for pair in pairs])
        np.testing.assert_allclose(medians, log_median_ratios(pairs, left))
    errors = [
        sum(pair_figures(*pair, left).covariance for pair in pairs) / len(pairs) ** 2
        for pairs in (a[:2], b)
    ]
    np.testing.assert_allclose(made.within, errors[0] + errors[1])


@pytest.mark.parametrize("of", ["candidate", "reference"])
def test_through_a_control_one_pair_of_too_few_rounds_leaves_the_errors_unknown(of) -> None:
    pairs = {"candidate": with_control(2), "reference": with_control(2)}
    few = [rounds(1, side, count=2, points=(A, B, C)) for side in ("candidate", "reference")]
    pairs[of][1] = tuple(few)
    made = sides_through_control(pairs["candidate"], pairs["reference"], [A, B, C])
    assert made.within is None
    assert (len(made.candidate), len(made.reference)) == (2, 2)


@pytest.mark.parametrize("of", ["candidate", "reference"])
def test_through_a_control_samples_are_like_where_all_pairs_took_turns(of) -> None:
    pairs = {"candidate": with_control(2), "reference": with_control(2)}
    by_block = rounds(1, alternated="block", points=(A, B, C))
    pairs[of][1] = (by_block, pairs[of][1][1])
    assert not sides_through_control(pairs["candidate"], pairs["reference"], [A, B, C]).alike


def sides(na: int, nb: int, *, paired: bool = False, points=(A, B)) -> Sides:
    rng = np.random.default_rng(1)
    a, b = (rng.normal(size=(n, len(points))) for n in (na, nb))
    return Sides(a, b, a, b, tuple(points), paired, False, None, 0, 0)


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
