"""What a pair of launches says: ratios from its rounds, and how sure its own blocks are of them.

A *round* is one block of both sides. Where the sides took turns sample by sample, the two samples
of a point in a round are *like*: on the same cores, milliseconds apart, one after the other. What
the host did is in both, so their difference is the statistic. Over five pairs on an H100 it makes a
pair's ratio scatter by 1.0 % where the launches' own statistics do by 1.5 %, and by 0.5 where the
GPU computes (`python -m benchmarks.placement_noise`).

How far a pair's blocks leave its ratios open is told by a jackknife over rounds (Efron & Stein,
Annals of Statistics 1981): a round is left out whole, at all points, since a block's state is
common to them (residuals of neighbouring points correlate by 0.7 on an H200, of blocks not at all).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from append_prefill.analysis.summary import FloatArray, faster_half
from append_prefill.records.launch import Start
from append_prefill.workload.points import Point

ROUNDS_MIN = 3
"""Fewest rounds of which one is left out: two would say nothing but their own difference."""

TRIMMED = 0.25
"""Part of the differences of like samples left out at either end. A slow second that falls on one
of two like samples makes a difference of 50 %, either way; the mean of the middle half does not
see it, and unlike the median it has most of a mean's efficiency (84 % for normal samples, 64 %)."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Log statistics of a launch or ratios of a pair, shape (points,), NaN without a valid sample.

    `covariance`: of their errors, from its own rounds, shape (points, points); None with fewer
    rounds than `ROUNDS_MIN`.
    """

    values: FloatArray
    covariance: FloatArray | None


def middle_half(differences: FloatArray) -> float:
    """Mean of what is left without `TRIMMED` of the values at either end; NaN for none."""
    cut = int(TRIMMED * differences.size)
    kept = np.sort(differences)[cut : differences.size - cut]
    return float(kept.mean()) if kept.size else float("nan")


def alike(candidate: Start, reference: Start) -> bool:
    """Whether the samples of the two launches are like: taken in turns, one by one."""
    return candidate.alternated == "sample" and reference.alternated == "sample"


def by_round(start: Start, points: Sequence[Point], rounds: Sequence[int]) -> FloatArray:
    """The launch's log TTFT, shape (rounds, points); NaN where a round has no valid sample.

    The mean where a round has several, as in company: they share what the block was.
    """
    sums, counts = np.zeros((2, len(rounds), len(points)))
    row = {block: index for index, block in enumerate(rounds)}
    for series in start.series:
        if series.point in points:
            column = points.index(series.point)
            at = [row[block] for block in series.block]
            np.add.at(sums[:, column], at, np.log(series.ttft_ms))
            np.add.at(counts[:, column], at, 1)
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def rounds_of(*starts: Start) -> list[int]:
    """The blocks of which any of the launches has a valid sample."""
    return sorted({block for start in starts for s in start.series for block in s.block})


def launch_figures(start: Start, points: Sequence[Point]) -> Figures:
    """The faster half of one launch's samples at every point."""
    table = by_round(start, points, rounds_of(start))
    return _figures(table, _faster_halves)


def pair_figures(
    candidate: Start, reference: Start, points: Sequence[Point], *, fewest: int = ROUNDS_MIN
) -> Figures:
    """The log ratio of a pair that was up together, candidate over reference.

    The middle half of the differences of like samples, or the difference of both sides' faster
    halves where there are none. `fewest`: rounds of which a covariance is told, two at least.
    """
    rounds = rounds_of(candidate, reference)
    a, b = (by_round(start, points, rounds) for start in (candidate, reference))
    if alike(candidate, reference):
        return _figures(a - b, lambda some: _columns(some, middle_half), fewest)
    count = len(points)

    def of_levels(some: FloatArray) -> FloatArray:
        levels = _faster_halves(some)
        return np.asarray(levels[:count] - levels[count:])

    return _figures(np.concatenate([a, b], axis=1), of_levels, fewest)


def _faster_halves(table: FloatArray) -> FloatArray:
    """Of each column's values that are there; all whole columns at once, since rounds may be
    thousands, each of which is left out once.
    """
    gaps = np.isnan(table).any(axis=0)
    values = np.full(table.shape[1], np.nan)
    if len(table):
        values[~gaps] = faster_half(table[:, ~gaps].T)
    values[gaps] = _columns(table[:, gaps], _faster)
    return values


def _faster(samples: FloatArray) -> float:
    return float(faster_half(samples)) if samples.size else float("nan")


def _columns(table: FloatArray, figure: Callable[[FloatArray], float]) -> FloatArray:
    """`figure` of the values of each column that are there."""
    return np.array([figure(column[~np.isnan(column)]) for column in table.T])


def _figures(
    table: FloatArray, figure: Callable[[FloatArray], FloatArray], fewest: int = ROUNDS_MIN
) -> Figures:
    """`figure` of all rounds, and the covariance by leaving out one round at a time."""
    values = figure(table)
    rounds = len(table)
    if rounds < fewest:
        return Figures(values, None)
    without = np.array([figure(np.delete(table, left, axis=0)) for left in range(rounds)])
    # A point with one sample has none without its round: nothing is known of its error.
    centred = np.nan_to_num(without - without.mean(axis=0))
    return Figures(values, np.asarray((rounds - 1) / rounds * centred.T @ centred))
