"""The fitted TTFT(L, m): a floor, a cost per new token, a cost per cached token.

Two forms: `sum`, T0 + a m + b L, where the work of a token adds to the launch overhead; and
`max`, max(T0, a m) + b L, where compute hides behind the overhead until it exceeds it (the roofline
reading of the study). A prefill under CUDA graphs looks like the first, an eager one on a fast
device like the second; the data chooses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import optimize, special

from append_prefill.analysis.summary import (
    FloatArray,
    geometric_interval,
    log_matrix,
    t_interval,
    usable,
)
from append_prefill.records.figures import Estimate
from append_prefill.records.grounds import Side
from append_prefill.records.launch import Start
from append_prefill.records.run import Surface
from append_prefill.workload.points import Point

Form = Literal["sum", "max"]
FORMS: tuple[Form, Form] = ("sum", "max")


@dataclass(frozen=True, slots=True)
class Fit:
    """One launch's coefficients, all in ms (a and b: ms a token), and its squared residuals.

    `squares` is the sum over points of ((fitted - T) / T)^2.
    """

    floor: float
    new: float
    cached: float
    squares: float

    @property
    def crossover(self) -> float | None:
        """m* = T0 / a in tokens; None where no cost per new token could be seen."""
        return self.floor / self.new if self.new > 0 and self.floor > 0 else None


def predict(form: Form, fit: Fit, points: Sequence[Point]) -> FloatArray:
    """TTFT in ms at `points`, shape (points,)."""
    append = np.array([p.append_tokens for p in points])
    context = np.array([p.context_tokens for p in points])
    if form == "sum":
        return np.asarray(fit.floor + fit.new * append + fit.cached * context)
    return np.asarray(np.maximum(fit.floor, fit.new * append) + fit.cached * context)


def fit_start(form: Form, points: Sequence[Point], ttft_ms: FloatArray) -> Fit:
    """Relative least squares with nonnegative coefficients (Lawson & Hanson's NNLS).

    `ttft_ms` has shape (points,). Rows are divided by T, so each point's relative error counts
    alike. The `max` form is linear once it is known which points are compute-bound; as a m grows
    with m these are the points above some m, so every cut between two values of m is tried.
    """
    append = np.array([p.append_tokens for p in points])
    context = np.array([p.context_tokens for p in points])
    ones = np.ones(len(points))

    def solve(columns: list[FloatArray]) -> Fit:
        matrix = np.stack(columns, axis=1) / ttft_ms[:, None]
        # Columns of one length each, or NNLS's tolerance would favour the token counts.
        scale = np.linalg.norm(matrix, axis=0)
        scale[scale == 0] = 1.0
        solution, _ = optimize.nnls(matrix / scale, ones)
        floor, new, cached = (float(x) for x in solution / scale)
        draft = Fit(floor, new, cached, 0.0)
        error = predict(form, draft, points) / ttft_ms - 1
        return Fit(floor, new, cached, float(error @ error))

    if form == "sum":
        return solve([ones, append, context])
    fits = []
    for cut in np.unique(append):
        launch = np.where(append <= cut, 1.0, 0.0)
        fits.append(solve([launch, append * (1 - launch), context]))
    return min(fits, key=lambda fit: fit.squares)


def _identified(points: Sequence[Point]) -> bool:
    design = np.array([[1.0, p.append_tokens, p.context_tokens] for p in points])
    return int(np.linalg.matrix_rank(design)) == 3


def fit_starts(points: Sequence[Point], log_ms: FloatArray) -> tuple[Form, list[Fit]] | None:
    """Best form over all rows and the fit of every row; `log_ms` has shape (launches, points).

    All launches are read in one form. `max` also chooses its cut, so it has to be better than `sum`
    by more than chance: the likelihood ratio n ln(squares of sum / squares of max) has to exceed
    the 95 % quantile of a chi-squared with one degree of freedom; `sum` otherwise, where a flat
    TTFT just has no cost per token. None where the points cannot tell three coefficients apart or
    no row is given.
    """
    if not _identified(points) or not len(log_ms):
        return None
    fits = {form: [fit_start(form, points, np.exp(row)) for row in log_ms] for form in FORMS}
    count = log_ms.size
    # Exact (simulated) data leaves nothing to compare: a residual of 1e-6 is as good as none.
    squares = {form: sum(fit.squares for fit in fits[form]) + 1e-12 * count for form in FORMS}
    better = count * np.log(squares["sum"] / squares["max"]) > float(special.chdtri(1, 0.05))
    form: Form = "max" if better else "sum"
    return form, fits[form]


def _estimate(values: Sequence[float], scale: float = 1.0) -> Estimate:
    interval = t_interval(np.asarray(values) * scale)
    # The coefficients are known to be nonnegative, so the interval is cut there.
    low = None if interval.low is None else max(0.0, interval.low)
    return Estimate(value=interval.value, low=low, high=interval.high)


def fit_surface(starts: Sequence[Start], side: Side = "candidate") -> Surface | None:
    """Fit every launch of `side`, then estimate each quantity with a t interval over launches.

    Points that some launch lacks are left out. The crossover is averaged on the log scale, and
    None where a launch showed no cost per new token.
    None where fewer than three distinguishable points were measured in all launches.
    """
    chosen = usable(starts, side)
    points = sorted({series.point for start in chosen for series in start.series})
    table = log_matrix(chosen, points)
    if not table.size:
        return None
    everywhere = [column for column in range(len(points)) if not np.isnan(table[:, column]).any()]
    kept = [points[column] for column in everywhere]
    fitted = fit_starts(kept, table[:, everywhere])
    if fitted is None:
        return None
    form, fits = fitted
    crossovers = [fit.crossover for fit in fits]
    known = [c for c in crossovers if c is not None]
    crossover = Estimate(value=None, low=None, high=None)
    if len(known) == len(fits):
        interval = geometric_interval(known)
        crossover = Estimate(value=interval.value, low=interval.low, high=interval.high)
    squares = sum(fit.squares for fit in fits)
    return Surface(
        form=form,
        floor_ms=_estimate([fit.floor for fit in fits]),
        new_token_us=_estimate([fit.new for fit in fits], 1e3),
        cached_token_us=_estimate([fit.cached for fit in fits], 1e3),
        crossover_tokens=crossover,
        residual=float(np.sqrt(squares / (len(fits) * len(kept)))),
        starts=len(fits),
    )
