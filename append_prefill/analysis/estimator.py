"""What one part of the joint test comes to, and how sure it is: means and contrasts over points.

Every contrast is computed per launch and its variance taken over launches, so launches that differ
in more than a common level cannot fool it. Its prior is the pooled residual of the two-way layout
of its stratum, or what the launch's own blocks say (`within`), whichever is larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from append_prefill.analysis.design import BoolArray
from append_prefill.analysis.moderation import (
    VARIANCE_FLOOR,
    FloatArray,
    Spread,
    moderate,
    own_spread,
    paired_spread,
)

CONTRAST_PRIOR_DF_MAX = 16.0
"""Weight of the pooled residual in a contrast's variance. It has far more degrees of freedom, but
rests on all points of a stratum being alike; twice the own 8 of five launches per side is what it
may claim."""

CONTRAST_PRIOR_WORTH = 4.0
"""And at most so many times the contrast's own degrees of freedom. Residuals of points that move
together, as those at the floor do, are no more independent than launches are, and where no profile
says which points those are they look like 16 independent ones: growth alone was called in 1.1 of
100 runs of two pairs without any, and now in 0.6. Five pairs have as many as before; three find
+5 % in proportion to m 98.8 times in 100 and not 99.9, and with twice in place of four times 95.1
(pairs that scatter by 0.8 %, and each of their points by 1 %)."""


@dataclass(frozen=True, slots=True)
class Part:
    """Estimated log ratios and their spread; scalars (shape ()) or one a point, after any batch."""

    estimate: FloatArray
    spread: Spread

    def p(self, sign: int) -> FloatArray:
        """One-sided p for an effect of that sign (+1: the candidate is slower)."""
        return self.spread.p_slower(sign * self.estimate)


def residual_variance(tables: Sequence[FloatArray]) -> tuple[FloatArray, float]:
    """Pooled residual variance of two-way layouts (launches by points), and its df."""
    squares = np.zeros(tables[0].shape[:-2])
    for side in tables:
        rows = side.mean(axis=-1, keepdims=True)
        columns = side.mean(axis=-2, keepdims=True)
        residual = side - rows - columns + side.mean(axis=(-2, -1), keepdims=True)
        squares = squares + (residual**2).sum(axis=(-2, -1))
    df = float(sum((side.shape[-2] - 1) * (side.shape[-1] - 1) for side in tables))
    return np.maximum(squares / max(df, 1.0), VARIANCE_FLOOR), df


@dataclass(frozen=True, slots=True)
class Estimator:
    """Both sides' log statistics, shape (..., launches, points), and what is known of their noise.

    `residual` and `residual_df` by point; `within` as in `estimate`; `of_rounds_too` as in `Prior`.
    """

    a: FloatArray
    b: FloatArray
    paired: bool
    residual: FloatArray
    residual_df: FloatArray
    within: FloatArray | None
    of_rounds_too: bool = False

    @property
    def per_start(self) -> float:
        of_a, of_b = (1 / float(side.shape[-2]) for side in (self.a, self.b))
        return of_a if self.paired else of_a + of_b

    def own(self, values_a: FloatArray, values_b: FloatArray) -> Spread:
        spread = paired_spread if self.paired else own_spread
        return spread(values_a, values_b)

    def inside(self, row: FloatArray, *, strays: bool = False) -> FloatArray:
        """Variance that the scatter inside launches gives to `row`, shape (...,).

        What the launches' own blocks say, where that is known; else what points stray by. `strays`
        takes the larger of the two.
        """
        of_points = np.asarray((self.residual * row**2).sum(axis=-1) * self.per_start)
        if self.within is None:
            return of_points
        of_blocks = np.asarray(np.maximum(self.within @ row @ row, VARIANCE_FLOOR))
        if strays:
            return np.asarray(np.maximum(of_points, of_blocks))
        return np.asarray(np.broadcast_to(of_blocks, of_points.shape))

    def values(self, row: FloatArray) -> tuple[FloatArray, FloatArray]:
        return (self.a @ row)[..., None], (self.b @ row)[..., None]

    def mean(self, row: FloatArray, known_sd: float | None, known_df: float) -> Part:
        """A mean over points (`row` sums to 1), its launches' scatter known as so much."""
        values_a, values_b = self.values(row)
        spread = self.own(values_a, values_b)
        if known_sd is not None and known_df >= 1:
            inside = 0.0 if self.of_rounds_too else self.inside(row)
            known = np.broadcast_to(known_sd**2 * self.per_start + inside, spread.df.shape[:-1])
            known = known[..., None]
            spread = moderate(spread, Spread(known, np.full(spread.df.shape, known_df)))
        return Part(values_a.mean(axis=-2) - values_b.mean(axis=-2), spread)

    def contrast(self, row: FloatArray) -> Part:
        """A contrast between points (`row` sums to 0)."""
        values_a, values_b = self.values(row)
        spread = self.own(values_a, values_b)
        df = float(self.residual_df[row != 0].min(initial=np.inf))
        if df >= 1:
            known = self.inside(row, strays=True)[..., None]
            worth = np.minimum(min(df, CONTRAST_PRIOR_DF_MAX), CONTRAST_PRIOR_WORTH * spread.df)
            spread = moderate(spread, Spread(known, worth))
        return Part(values_a.mean(axis=-2) - values_b.mean(axis=-2), spread)

    def together(self, points: BoolArray, groups: Sequence[BoolArray]) -> Part:
        """The mean of some points of each session against the others of their groups."""
        count = np.maximum(points.sum(axis=-1, keepdims=True), 1)
        row = points / count
        for group in groups:
            others = group & ~points
            left = np.maximum(others.sum(axis=-1, keepdims=True), 1)
            row = row - others * ((group & points).sum(axis=-1, keepdims=True) / count / left)
        values_a, values_b = (np.matmul(side, row[..., None]) for side in (self.a, self.b))
        return Part(values_a.mean(axis=-2) - values_b.mean(axis=-2), self.own(values_a, values_b))

    def place(self, values_a: FloatArray, values_b: FloatArray, terms: Spread) -> Part:
        # Level and contrast may vary together over launches: the sum of their variances is the
        # prior, the place's own variance speaks up where it is larger.
        spread = moderate(self.own(values_a, values_b), terms)
        return Part(values_a.mean(axis=-2) - values_b.mean(axis=-2), spread)
