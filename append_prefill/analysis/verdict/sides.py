"""The two sides of a comparison as arrays without holes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from append_prefill.analysis.moderation import Spread, own_spread, paired_spread
from append_prefill.analysis.rounds import alike, launch_figures, pair_figures
from append_prefill.analysis.summary import FloatArray, log_matrix, log_median
from append_prefill.records.launch import Start
from append_prefill.workload.points import Point


@dataclass(frozen=True, slots=True)
class Sides:
    """The compared statistic on the log scale, shape (launches, points), without NaN.

    `points` are those of the joint test. `paired`: row k of both sides was measured together, and
    their difference is what is compared; `alike`: it is made of like samples. `within`: covariance
    of the mean difference that the scatter inside launches gives, shape (points, points), None
    where a launch has too few blocks to tell. `candidate_medians` and `reference_medians`: log
    medians of the same launches and points. `left_out_*`: launches and points that had holes.
    """

    candidate: FloatArray
    reference: FloatArray
    candidate_medians: FloatArray
    reference_medians: FloatArray
    points: tuple[Point, ...]
    paired: bool
    alike: bool
    within: FloatArray | None
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
    figures_b = [launch_figures(start, points) for start in reference]
    b = _table([figures.values for figures in figures_b], points)
    like = paired and all(alike(*pair) for pair in zip(candidate, reference, strict=True))
    if paired:
        pairs = [pair_figures(*pair, points) for pair in zip(candidate, reference, strict=True)]
        a = b + _table([figures.values for figures in pairs], points)
    else:
        figures_a = [launch_figures(start, points) for start in candidate]
        a = _table([figures.values for figures in figures_a], points)
    rows_a, rows_b, columns = complete(a, b)
    if paired:
        rows_a = rows_b = [row for row in rows_a if row in rows_b]
        within = _mean_error([pairs[row].covariance for row in rows_a], columns)
    else:
        errors = [
            _mean_error([figures[row].covariance for row in rows], columns)
            for figures, rows in ((figures_a, rows_a), (figures_b, rows_b))
        ]
        within = None if errors[0] is None or errors[1] is None else errors[0] + errors[1]
    cut_a, cut_b = np.ix_(rows_a, columns), np.ix_(rows_b, columns)
    return Sides(
        a[cut_a],
        b[cut_b],
        log_matrix(candidate, points, log_median)[cut_a],
        log_matrix(reference, points, log_median)[cut_b],
        tuple(points[column] for column in columns),
        paired,
        like,
        within,
        left_out_starts=len(a) + len(b) - len(rows_a) - len(rows_b),
        left_out_points=len(points) - len(columns),
    )


def sides_through_control(
    candidate: Sequence[tuple[Start, Start]],
    reference: Sequence[tuple[Start, Start]],
    points: Sequence[Point],
) -> Sides:
    """Both sides as log ratios to one control, (side, control) by pair, each in its own session.

    A pair is the launch. The medians are ratios as well.
    """
    sides, errors = [], []
    for pairs in (candidate, reference):
        figures = [pair_figures(*pair, points) for pair in pairs]
        sides.append(_table([found.values for found in figures], points))
        errors.append([found.covariance for found in figures])
    rows_a, rows_b, columns = complete(*sides)
    kept = list(zip((rows_a, rows_b), errors, strict=True))
    of = [_mean_error([some[row] for row in rows], columns) for rows, some in kept]
    medians = [
        log_matrix([side for side, _ in pairs], points, log_median)
        - log_matrix([control for _, control in pairs], points, log_median)
        for pairs in (candidate, reference)
    ]
    return Sides(
        sides[0][np.ix_(rows_a, columns)],
        sides[1][np.ix_(rows_b, columns)],
        medians[0][np.ix_(rows_a, columns)],
        medians[1][np.ix_(rows_b, columns)],
        tuple(points[column] for column in columns),
        paired=False,
        alike=all(alike(*pair) for pairs in (candidate, reference) for pair in pairs),
        within=None if of[0] is None or of[1] is None else of[0] + of[1],
        left_out_starts=sum(map(len, sides)) - len(rows_a) - len(rows_b),
        left_out_points=len(points) - len(columns),
    )


def _table(rows: Sequence[FloatArray], points: Sequence[Point]) -> FloatArray:
    return np.array(rows).reshape(len(rows), len(points))


def _mean_error(
    covariances: Sequence[FloatArray | None], columns: Sequence[int]
) -> FloatArray | None:
    """Covariance of the mean of independent launches, at `columns`; None if one is not known."""
    known = [covariance for covariance in covariances if covariance is not None]
    if not known or len(known) < len(covariances):
        return None
    mean = np.sum(known, axis=0) / len(known) ** 2
    return np.asarray(mean[np.ix_(columns, columns)])
