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
from typing import TypeAlias

import numpy as np

from append_prefill.analysis.summary import FloatArray
from append_prefill.records.launch import Start
from append_prefill.workload.points import Point

ROUNDS_MIN = 3
"""Fewest rounds of which one is left out: two would say nothing but their own difference."""

TRIMMED = 0.25
"""Part of the differences of like samples left out at either end. A slow second that falls on one
of two like samples makes a difference of 50 %, either way; the mean of the middle half does not
see it, and unlike the median it has most of a mean's efficiency (84 % for normal samples, 64 %)."""

Window: TypeAlias = Callable[[int], tuple[int, int]]
"""Which of that many sorted values a statistic is the mean of: the first, and that behind the last.
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """Log statistics of a launch or ratios of a pair, shape (points,), NaN without a valid sample.

    `covariance`: of their errors, from its own rounds, shape (points, points); None with fewer
    rounds than `ROUNDS_MIN`.
    """

    values: FloatArray
    covariance: FloatArray | None


def _faster(count: int) -> tuple[int, int]:
    """The smaller half, rounded up, as `summary.faster_half` has it."""
    return 0, (count + 1) // 2


def _middle(count: int) -> tuple[int, int]:
    """What is left without `TRIMMED` of the values at either end."""
    cut = int(TRIMMED * count)
    return cut, count - cut


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
    return _figures(*_means(by_round(start, points, rounds_of(start)), _faster))


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
        return _figures(*_means(a - b, _middle), fewest)
    (own, own_without), (other, other_without) = (_means(table, _faster) for table in (a, b))
    return _figures(own - other, own_without - other_without, fewest)


def _figures(values: FloatArray, without: FloatArray, fewest: int = ROUNDS_MIN) -> Figures:
    """The statistics of all rounds, and their covariance by what they are `without` each one."""
    rounds = len(without)
    if rounds < fewest:
        return Figures(values, None)
    # A point with one sample has none without its round: nothing is known of its error.
    centred = np.nan_to_num(without - without.mean(axis=0))
    return Figures(values, np.asarray((rounds - 1) / rounds * centred.T @ centred))


def _means(table: FloatArray, window: Window) -> tuple[FloatArray, FloatArray]:
    """Of each column the mean of its window, shape (columns,), and that without each round, shape
    (rounds, columns). Only values that are there count; NaN where none is.
    """
    values, without = np.full(table.shape[1], np.nan), np.full(table.shape, np.nan)
    gaps = np.isnan(table).any(axis=0)
    if len(table):
        values[~gaps], without[:, ~gaps] = _with_and_without(table[:, ~gaps], window)
    for column in np.flatnonzero(gaps):
        there = ~np.isnan(table[:, column])
        if there.any():
            told, of_each = _with_and_without(table[there][:, [column]], window)
            values[column] = without[:, column] = told[0]
            without[there, column] = of_each[:, 0]
    return values, without


def _with_and_without(values: FloatArray, window: Window) -> tuple[FloatArray, FloatArray]:
    """The mean of each whole column's window, and that without each of its values.

    Without the value of some rank the others' window is one value longer than theirs, less one: the
    value itself where it is in it, else that at the end on its side. So all are told by one sort.
    """
    order = np.argsort(values, axis=0)
    ranked, ranks = np.take_along_axis(values, order, axis=0), np.argsort(order, axis=0)
    first, behind = window(len(values))
    told = ranked[first:behind].mean(axis=0)
    if len(values) == 1:
        return told, np.full(values.shape, np.nan)
    first, behind = window(len(values) - 1)
    less = np.take_along_axis(ranked, np.clip(ranks, first, behind), axis=0)
    return told, (ranked[first : behind + 1].sum(axis=0) - less) / (behind - first)
