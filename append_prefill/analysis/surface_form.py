"""The two forms of TTFT(L, m), what they give at a point, and the fit of one launch to one of them.

`sum` is T0 + a m + b L, where the work of a token adds to the launch overhead; `max` is
max(T0, a m) + b L, where compute hides behind the overhead until it exceeds it (the roofline
reading of the study). To either come the terms that the server's own sizes make (see `steps`): p a
padded token, which counts as a new one does; s each further chunk; q each pair of a new token and
one it attends to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import optimize

from append_prefill.analysis.steps import Sizes, column
from append_prefill.analysis.summary import FloatArray
from append_prefill.records.run import Term
from append_prefill.workload.points import Point

Form = Literal["sum", "max"]
FORMS: tuple[Form, Form] = ("sum", "max")
PLAIN = Sizes()


@dataclass(frozen=True, slots=True)
class Fit:
    """One launch's coefficients, all in ms (a and b: ms a token), and its squared residuals.

    `squares` is the sum over points of ((fitted - T) / T)^2. `more` are the coefficients of the
    terms that were added, in ms a unit of their column, for a server of these `sizes`.
    """

    floor: float
    new: float
    cached: float
    squares: float
    more: tuple[tuple[Term, float], ...] = ()
    sizes: Sizes = PLAIN

    def of(self, term: Term) -> float:
        """The coefficient of a term, 0 where it was not added."""
        return dict(self.more).get(term, 0.0)

    def work_ms(self, append_tokens: float) -> float:
        """What m new tokens cost behind no context, beyond the floor, ms."""
        append = np.array([append_tokens])
        work = self.new * append
        for term, value in self.more:
            work = work + value * column(term, self.sizes, append, np.zeros(1))
        return float(work[0])

    @property
    def crossover(self) -> float | None:
        """m* in tokens, where the new tokens of a prompt cost as much as the floor: T0 / a without
        further terms, else the least m whose tokens, chunk steps and attention come to T0.

        None where no cost per new token could be seen.
        """
        if self.new <= 0 or self.floor <= 0:
            return None
        # Whatever is added makes a prompt dearer, so m* is no more than that.
        most = self.floor / self.new
        if not any(value for _, value in self.more):
            return most
        # At a step the work jumps over the floor: the search then ends at the step.
        return float(optimize.bisect(lambda m: self.work_ms(m) - self.floor, 1e-6 * most, most))


def predict(form: Form, fit: Fit, points: Sequence[Point]) -> FloatArray:
    """TTFT in ms at `points`, shape (points,)."""
    append = np.array([float(p.append_tokens) for p in points])
    context = np.array([float(p.context_tokens) for p in points])
    computed, beside = fit.new * append, fit.cached * context
    for term, value in fit.more:
        added = value * column(term, fit.sizes, append, context)
        if term == "padding":
            computed = computed + added
        else:
            beside = beside + added
    if form == "sum":
        return np.asarray(fit.floor + computed + beside)
    return np.asarray(np.maximum(fit.floor, computed) + beside)


def fit_start(
    form: Form,
    points: Sequence[Point],
    ttft_ms: FloatArray,
    *,
    terms: Sequence[Term] = (),
    sizes: Sizes = PLAIN,
) -> Fit:
    """Relative least squares with nonnegative coefficients (Lawson & Hanson's NNLS).

    `ttft_ms` has shape (points,). Rows are divided by T, so each point's relative error counts
    alike. The `max` form is linear once it is known which points are compute-bound; as a m grows
    with m these are the points above some m, so every cut between two values of m is tried.
    """
    append = np.array([float(p.append_tokens) for p in points])
    context = np.array([float(p.context_tokens) for p in points])
    more = {term: column(term, sizes, append, context) for term in terms}

    def solve(launch: FloatArray, computing: FloatArray) -> Fit:
        columns = [launch, append * computing, context]
        columns += [c * computing if t == "padding" else c for t, c in more.items()]
        matrix = np.stack(columns, axis=1) / ttft_ms[:, None]
        # Columns of one length each, or NNLS's tolerance would favour the token counts.
        scale = np.linalg.norm(matrix, axis=0)
        scale[scale == 0] = 1.0
        solution, _ = optimize.nnls(matrix / scale, ones)
        floor, new, cached, *others = (float(x) for x in solution / scale)
        added = tuple(zip(more, others, strict=True))
        draft = Fit(floor, new, cached, 0.0, added, sizes)
        error = predict(form, draft, points) / ttft_ms - 1
        return Fit(floor, new, cached, float(error @ error), added, sizes)

    ones = np.ones(len(points))
    if form == "sum":
        return solve(ones, ones)
    fits = []
    for cut in np.unique(append):
        launch = np.where(append <= cut, 1.0, 0.0)
        fits.append(solve(launch, 1 - launch))
    return min(fits, key=lambda fit: fit.squares)
