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


_AT_ONCE = 2**18
"""Values of tables that are side by side in memory: 2 MB of them, whatever a run has measured."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Log statistics of a launch or ratios of a pair, shape (points,), NaN without a valid sample.

    `covariance`: of their errors, from its own rounds, shape (points, points); None with fewer
    rounds than `ROUNDS_MIN`.
    """

    values: FloatArray
    covariance: FloatArray | None


def middle_half(differences: FloatArray) -> FloatArray:
    """Mean of what is left without `TRIMMED` of the values at either end, over the last axis."""
    count = differences.shape[-1]
    cut = int(TRIMMED * count)
    return np.asarray(np.sort(differences)[..., cut : count - cut].mean(axis=-1))


def alike(candidate: Start, reference: Start) -> bool:
    """Whether the samples of the two launches are like: taken in turns, one by one."""
    return candidate.alternated == "sample" and reference.alternated == "sample"


def by_round(start: Start, points: Sequence[Point], rounds: Sequence[int]) -> FloatArray:
    """The launch's log TTFT, shape (rounds, points); NaN where a round has no valid sample.

    The mean where a round has several, as in company: they share what the block was.
    """
    sums, counts = np.zeros((2, len(rounds), len(points)))
    row = {block: index for index, block in enumerate(rounds)}
    columns = {point: index for index, point in enumerate(points)}
    for series in start.series:
        column = columns.get(series.point)
        if column is not None and series.block:
            at = [row[block] for block in series.block]
            sums[:, column] += np.bincount(at, np.log(series.ttft_ms), len(rounds))
            counts[:, column] += np.bincount(at, minlength=len(rounds))
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def rounds_of(*starts: Start) -> list[int]:
    """The blocks of which any of the launches has a valid sample."""
    return sorted({block for start in starts for s in start.series for block in s.block})


def launch_figures(start: Start, points: Sequence[Point]) -> Figures:
    """The faster half of one launch's samples at every point."""
    table = by_round(start, points, rounds_of(start))
    return _figures(table, lambda some: _columns(some, faster_half))


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
        levels = _columns(some, faster_half).reshape(-1, 2, max(1, count))
        return np.asarray(levels[:, 0] - levels[:, 1]).ravel()

    return _figures(np.concatenate([a, b], axis=1), of_levels, fewest)


def _columns(table: FloatArray, figure: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """`figure`, over the last axis, of the values of each column that are there; NaN for none.

    All whole columns at once, since rounds may be thousands, each of which is left out once.
    """
    gaps = np.isnan(table).any(axis=0)
    values = np.full(table.shape[1], np.nan)
    if len(table):
        values[~gaps] = figure(table[:, ~gaps].T)
    for column in np.flatnonzero(gaps):
        there = table[~np.isnan(table[:, column]), column]
        if there.size:
            values[column] = figure(there)
    return values


def _figures(
    table: FloatArray, figure: Callable[[FloatArray], FloatArray], fewest: int = ROUNDS_MIN
) -> Figures:
    """`figure` of all rounds, and the covariance by leaving out one round at a time.

    `figure` takes tables side by side, too, and tells theirs one after the other.
    """
    values = figure(table)
    rounds = len(table)
    if rounds < fewest:
        return Figures(values, None)
    at_once = max(1, _AT_ONCE // max(1, table.size))
    without = np.concatenate(
        [
            _each_without(table, range(first, min(first + at_once, rounds)), values.size, figure)
            for first in range(0, rounds, at_once)
        ]
    )
    # A point with one sample has none without its round: nothing is known of its error.
    centred = np.nan_to_num(without - without.mean(axis=0))
    return Figures(values, np.asarray((rounds - 1) / rounds * centred.T @ centred))


def _each_without(
    table: FloatArray,
    left_out: Sequence[int],
    points: int,
    figure: Callable[[FloatArray], FloatArray],
) -> FloatArray:
    """`figure` without each of those rounds, shape (left out, points)."""
    places = np.arange(len(table) - 1)
    kept = places + (places >= np.array(left_out)[:, np.newaxis])
    beside = np.moveaxis(table[kept], 0, 1)
    beside = beside.reshape(len(table) - 1, len(left_out) * table.shape[1])
    return figure(beside).reshape(len(left_out), points)
