"""The two sides of a comparison as arrays without holes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from append_prefill.analysis.moderation import Spread, own_spread, paired_spread
from append_prefill.analysis.summary import FloatArray, log_matrix, log_median
from append_prefill.records.run import Start
from append_prefill.workload.points import Point


@dataclass(frozen=True, slots=True)
class Sides:
    """The compared statistic on the log scale, shape (launches, points), without NaN.

    `points` are those of the joint test. `paired`: row k of both sides was measured together.
    `candidate_medians` and `reference_medians`: log medians of the same launches and points.
    `left_out_*`: launches and points that had holes.
    """

    candidate: FloatArray
    reference: FloatArray
    candidate_medians: FloatArray
    reference_medians: FloatArray
    points: tuple[Point, ...]
    paired: bool
    left_out_starts: int
    left_out_points: int

    @property
    def fewest(self) -> int:
        """Launches of the side that has fewer; 0 where no point is left."""
        return min(len(self.candidate), len(self.reference)) if self.points else 0

    @property
    def per_start(self) -> float:
        """Variance of the difference of the sides' means, for a variance of 1 per launch (or
        pair).
        """
        if self.paired:
            return 1 / len(self.candidate)
        return 1 / len(self.candidate) + 1 / len(self.reference)

    @property
    def own_df(self) -> float:
        """Degrees of freedom that this run's own launches (or pairs) give."""
        pairs = len(self.candidate)
        return float(pairs - 1 if self.paired else pairs + len(self.reference) - 2)

    def spread(self, a: FloatArray, b: FloatArray) -> Spread:
        """Of the mean difference of statistics per launch, shapes (launches, k)."""
        return paired_spread(a, b) if self.paired else own_spread(a, b)


def complete(a: FloatArray, b: FloatArray) -> tuple[list[int], list[int], list[int]]:
    """Rows of `a`, rows of `b` and columns of both that are left when holes are cut out.

    The joint test needs every point of every launch. The row or column with the largest share of
    NaN goes first, until none is left; columns before rows where shares are equal, a launch being
    worth more than a point.
    """
    rows_a, rows_b = list(range(a.shape[0])), list(range(b.shape[0]))
    columns = list(range(a.shape[1]))
    while columns:
        holes_a = np.isnan(a[np.ix_(rows_a, columns)])
        holes_b = np.isnan(b[np.ix_(rows_b, columns)])
        if not holes_a.any() and not holes_b.any():
            break
        by_column = np.concatenate([holes_a, holes_b]).mean(axis=0)
        by_row = np.concatenate([holes_a, holes_b]).mean(axis=1)
        if by_column.max() >= by_row.max():
            del columns[int(by_column.argmax())]
        elif (worst := int(by_row.argmax())) < len(rows_a):
            del rows_a[worst]
        else:
            del rows_b[worst - len(rows_a)]
    return rows_a, rows_b, columns


def sides_of(
    candidate: Sequence[Start],
    reference: Sequence[Start],
    points: Sequence[Point],
    *,
    paired: bool,
) -> Sides:
    """Both sides' launches at `points`, holes cut out.

    `paired`: the k-th launches of both sides are a pair, so a hole in one takes the other, too.
    """
    a, b = log_matrix(candidate, points), log_matrix(reference, points)
    rows_a, rows_b, columns = complete(a, b)
    if paired:
        rows_a = rows_b = [row for row in rows_a if row in rows_b]
    cut_a, cut_b = np.ix_(rows_a, columns), np.ix_(rows_b, columns)
    return Sides(
        a[cut_a],
        b[cut_b],
        log_matrix(candidate, points, log_median)[cut_a],
        log_matrix(reference, points, log_median)[cut_b],
        tuple(points[column] for column in columns),
        paired,
        left_out_starts=len(a) + len(b) - len(rows_a) - len(rows_b),
        left_out_points=len(points) - len(columns),
    )
