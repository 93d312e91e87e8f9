"""Shapes of change over the (L, m) plane, and the fit that picks the few that are needed.

Generalised least squares by forward selection: a shape is added while it betters the fit enough,
which is a hard form of shrinkage: what the points do not ask for is 0 and not a small number
(Donoho & Johnstone, Biometrika 1994).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from append_prefill.analysis.design import BoolArray, Design
from append_prefill.analysis.moderation import FloatArray
from append_prefill.analysis.steps import further_chunks
from append_prefill.workload.points import Point

GAIN = 6.63
"""Least chi-squared (one degree of freedom, 1 %) by which a further shape must better the fit."""

AT_FLOOR = 1.1
"""Where the profile does not say which points are at the floor, those are whose reference TTFT is
within 10 % of its least: a change of the floor shows there in full, and where computing takes
longer hardly at all."""

TERMS_MAX = 3
"""More than three shapes are a table, and the table is there already."""

PLAINER = 1.0
"""What a factor, or a step where computing or a further chunk begins, must fit better by than plain
milliseconds everywhere: where TTFT hardly varies they are the same, and the plainer one is said."""

Kind = Literal[
    "everywhere", "proportional", "floor", "compute", "append", "context", "chunk", "point"
]

Chunks = tuple[int | None, int | None]
"""The chunk sizes that the candidate's and the reference's servers told; None: not told."""


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """A shape of change; `column` is the milliseconds at each point for a coefficient of 1.

    `where` are the points it is about.
    """

    kind: Kind
    column: FloatArray
    where: BoolArray
    penalty: float = 0.0
    context_tokens: int | None = None
    append_tokens: int | None = None


def shapes_of(design: Design, times_ms: FloatArray, chunks: Chunks = (None, None)) -> list[Shape]:
    """All shapes that the points can tell apart; `times_ms` is the reference's TTFT, (points,).

    One of many single points pays for the choice: 2 ln P, as in the risk inflation criterion of
    Foster & George (Annals of Statistics 1994).
    """
    points = design.points
    append = np.array([p.append_tokens for p in points])
    context = np.array([p.context_tokens for p in points])
    every = np.ones(len(points), dtype=np.bool_)
    found = [
        Shape("everywhere", np.ones(len(points)), every),
        Shape("proportional", times_ms, every, PLAINER),
    ]
    at_floor = design.strata.get("floor", times_ms <= AT_FLOOR * times_ms.min())
    if 1 < at_floor.sum() < len(points):
        largest = int(append[at_floor].max())
        found.append(Shape("floor", at_floor.astype(np.float64), at_floor, append_tokens=largest))
    if (beyond := design.strata.get("compute")) is not None:
        least = int(append[beyond].min())
        found.append(
            Shape("compute", beyond.astype(np.float64), beyond, PLAINER, append_tokens=least)
        )
    if np.ptp(append):
        found.append(Shape("append", append / 1000, every))
    if np.ptp(context):
        found.append(Shape("context", context / 1000, every))
    if (stepped := _chunk_shape(append, chunks)) is not None:
        found.append(stepped)
    if len(points) > 2:
        found += single_points(points)
    return found


def _chunk_shape(append: FloatArray, chunks: Chunks) -> Shape | None:
    """Milliseconds a further chunk: of each that one side has more than the other where their sizes
    differ, else of each beyond the first. None where a size was not told, or m does not tell.
    """
    own, other = chunks
    if own is None or other is None:
        return None
    column = further_chunks(append, own)
    if own != other:
        column = np.abs(column - further_chunks(append, other))
    where = column > 0
    if not where.any() or where.all():
        return None
    return Shape("chunk", column, where, PLAINER, append_tokens=min(own, other) + 1)


def single_points(points: Sequence[Point]) -> list[Shape]:
    """Milliseconds at one point alone, for each of them."""
    return [
        Shape(
            "point",
            here.astype(np.float64),
            here,
            2 * float(np.log(len(points))),
            point.context_tokens,
            point.append_tokens,
        )
        for here, point in zip(np.eye(len(points), dtype=np.bool_), points, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Fit:
    """A generalised least-squares fit of shapes to changes in ms."""

    shapes: list[Shape]
    coefficients: FloatArray
    covariance: FloatArray
    chi_squared: float

    @property
    def fitted(self) -> FloatArray:
        return matrix_of(self.shapes) @ self.coefficients


def matrix_of(shapes: Sequence[Shape]) -> FloatArray:
    return np.stack([shape.column for shape in shapes], axis=1)


def fit_of(shapes: Sequence[Shape], delta_ms: FloatArray, precision: FloatArray) -> Fit:
    matrix = matrix_of(shapes)
    covariance = np.asarray(np.linalg.pinv(matrix.T @ precision @ matrix), dtype=np.float64)
    solution = covariance @ (matrix.T @ precision @ delta_ms)
    rest = delta_ms - matrix @ solution
    return Fit(list(shapes), solution, covariance, float(rest @ precision @ rest))


def by_point(points: Sequence[Point], delta_ms: FloatArray, covariance: FloatArray) -> Fit:
    """What was measured at every point, as a fit that leaves nothing over."""
    return Fit(single_points(points), delta_ms, covariance, 0.0)


def select(everything: Sequence[Shape], delta_ms: FloatArray, precision: FloatArray) -> Fit:
    """Forward selection. The first shape is taken as it comes: the joint test says there is one."""
    best: Fit | None = None
    most = min(TERMS_MAX, len(delta_ms), len(everything))
    while best is None or len(best.shapes) < most:
        chosen = [] if best is None else best.shapes
        rest = [shape for shape in everything if shape not in chosen]
        fits = [fit_of([*chosen, shape], delta_ms, precision) for shape in rest]
        scores = [fit.chi_squared + shape.penalty for fit, shape in zip(fits, rest, strict=True)]
        at = int(np.argmin(scores))
        if best is not None and best.chi_squared - scores[at] < GAIN:
            break
        best = fits[at]
    # A shape that later ones have made needless.
    for shape in list(best.shapes[:-1]):
        without = fit_of([s for s in best.shapes if s is not shape], delta_ms, precision)
        if without.chi_squared - best.chi_squared < GAIN:
            best = without
    return best


def bound_to(fit: Fit, conditions: Sequence[tuple[FloatArray, float]]) -> Fit:
    """The fit under the condition that its means over the parts are those given.

    As many conditions as there are shapes at most; Lagrange's multipliers on the normal equations.
    """
    conditions = conditions[: len(fit.shapes)]
    rows = np.array([row for row, _ in conditions]) @ matrix_of(fit.shapes)
    short = np.array([value for _, value in conditions]) - rows @ fit.coefficients
    lift = fit.covariance @ rows.T @ np.linalg.pinv(rows @ fit.covariance @ rows.T) @ short
    return Fit(fit.shapes, fit.coefficients + lift, fit.covariance, fit.chi_squared)
