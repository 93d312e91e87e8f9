"""The fitted TTFT(L, m): a floor, a cost per new token, a cost per cached token, and steps.

Two forms: `sum`, T0 + a m + b L, where the work of a token adds to the launch overhead; and
`max`, max(T0, a m) + b L, where compute hides behind the overhead until it exceeds it (the roofline
reading of the study). A prefill under CUDA graphs looks like the first, an eager one on a fast
device like the second; the data chooses.

To either the data may add what the server's own sizes make (see `steps`): p a padded token, which
counts as a new one does; s each further chunk; q each pair of a new token and one it attends to.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import optimize, special

from append_prefill.analysis.steps import (
    ATTENTION,
    TERMS,
    Sizes,
    column,
    edges,
    sets_of,
    sizes_of,
    untried,
)
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
from append_prefill.records.run import Step, Surface, Term
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


@dataclass(frozen=True, slots=True)
class Chosen:
    """The form and terms that all launches are read in, the fit of each, and why these terms.

    `steps`: of each term that a long prompt, or the server's sizes, could ask for, whether it was
    added and by how much it bettered the fit, or would have.
    """

    form: Form
    fits: list[Fit]
    steps: dict[Term, Step]


def _identified(points: Sequence[Point], sizes: Sizes, terms: Sequence[Term]) -> bool:
    """Whether the points tell the coefficients apart, with one left over for each further term."""
    append = np.array([float(p.append_tokens) for p in points])
    context = np.array([float(p.context_tokens) for p in points])
    columns = [np.ones(len(points)), append, context]
    columns += [column(term, sizes, append, context) for term in terms]
    design = np.stack(columns, axis=1)
    norm = np.linalg.norm(design, axis=0)
    if not norm.all() or (terms and len(points) <= len(columns)):
        return False
    return int(np.linalg.matrix_rank(design / norm)) == len(columns)


def choose(points: Sequence[Point], log_ms: FloatArray, sizes: Sizes = PLAIN) -> Chosen | None:
    """The form and the terms that fit best over all rows; `log_ms` has shape (launches, points).

    All launches are read in one form. What has more to choose has to be better by more than chance:
    with S the squares, n ln(S without / S with) has to exceed the 95 % quantile of a chi-squared
    with as many degrees of freedom as there are more choices: one for `max`, which chooses its cut
    (else `sum`, where a flat TTFT just has no cost per token), and one a launch for a term, which
    is fitted to each. The 95 % interval of a term over launches has to lie above 0, too, and a
    chunk step has to show at the edges themselves (`_rises_ms`).

    None where the points cannot tell three coefficients apart or no row is given.
    """
    if not _identified(points, sizes, ()) or not len(log_ms):
        return None
    count, launches = log_ms.size, len(log_ms)
    one, each = (float(special.chdtri(df, 0.05)) for df in (1, launches))
    steps = untried(points, sizes)
    possible = {term for term in TERMS if term not in steps}
    models = {}
    for terms in sets_of(possible):
        if terms and not _identified(points, sizes, terms):
            continue
        for form in FORMS:
            fits = [
                fit_start(form, points, np.exp(row), terms=terms, sizes=sizes) for row in log_ms
            ]
            models[form, terms] = fits

    def misfit(form: Form, terms: tuple[Term, ...]) -> float:
        # Exact (simulated) data leaves nothing to compare: a residual of 1e-6 is as good as none.
        squares = sum(fit.squares for fit in models[form, terms]) + 1e-12 * count
        return count * float(np.log(squares))

    def score(model: tuple[Form, tuple[Term, ...]]) -> float:
        form, terms = model
        return misfit(form, terms) + one * (form == "max") + each * len(terms)

    sure = [
        (form, terms)
        for (form, terms), fits in models.items()
        if all(_is_above_0([fit.of(term) for fit in fits]) for term in terms)
    ]
    form, terms = min(sure, key=score)
    if "chunk" in terms and not _is_above_0(_rises_ms(form, points, log_ms, models[form, terms])):
        steps["chunk"] = Step(code="bend", tokens=sizes.chunk_tokens)
        form, terms = min((model for model in sure if "chunk" not in model[1]), key=score)
    for term in sorted(possible.difference(steps)):
        others = tuple(t for t in terms if t != term and not {t, term} <= set(ATTENTION))
        with_it = tuple(t for t in TERMS if t in {*others, term})
        if (form, with_it) in models:
            steps[term] = Step(
                code="fitted" if term in terms else "not-needed",
                tokens=sizes.told_for(term),
                gain=misfit(form, others) - misfit(form, with_it),
                needed=each,
            )
    return Chosen(form, models[form, terms], steps)


def _rises_ms(
    form: Form, points: Sequence[Point], log_ms: FloatArray, fits: Sequence[Fit]
) -> FloatArray:
    """How much TTFT itself steps up at the edges of chunks, beyond what the rest of the fit gives.

    A step in the fit may be a bend somewhere else. Of each launch the mean over the edges, the
    quicker ones counting more, as their scatter is in proportion to TTFT; shape (launches,).
    """
    chunk_tokens = fits[0].sizes.chunk_tokens
    assert chunk_tokens is not None  # a chunk step was fitted
    near, far = np.array(edges(points, chunk_tokens)).T
    own = np.exp(log_ms)
    smooth = np.array(
        [
            predict(form, replace(fit, more=tuple(e for e in fit.more if e[0] != "chunk")), points)
            for fit in fits
        ]
    )
    beyond = own - smooth
    weights = 1 / (own[:, far] ** 2 + own[:, near] ** 2)
    return np.asarray(np.average(beyond[:, far] - beyond[:, near], weights=weights, axis=1))


def _is_above_0(values: Sequence[float] | FloatArray) -> bool:
    """Whether the 95 % interval over launches is; of one launch, its value."""
    interval = t_interval(values)
    return (interval.value if interval.low is None else interval.low) > 0


def fit_starts(
    points: Sequence[Point], log_ms: FloatArray, sizes: Sizes = PLAIN
) -> tuple[Form, list[Fit]] | None:
    """Best form over all rows and the fit of every row, as `choose` chooses them."""
    chosen = choose(points, log_ms, sizes)
    return None if chosen is None else (chosen.form, chosen.fits)


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
    own = usable(starts, side)
    points = sorted({series.point for start in own for series in start.series})
    table = log_matrix(own, points)
    if not table.size:
        return None
    everywhere = [column for column in range(len(points)) if not np.isnan(table[:, column]).any()]
    kept = [points[column] for column in everywhere]
    chosen = choose(kept, table[:, everywhere], sizes_of(own))
    if chosen is None:
        return None
    fits = chosen.fits
    crossovers = [fit.crossover for fit in fits]
    known = [c for c in crossovers if c is not None]
    crossover = Estimate(value=None, low=None, high=None)
    if len(known) == len(fits):
        interval = geometric_interval(known)
        crossover = Estimate(value=interval.value, low=interval.low, high=interval.high)
    squares = sum(fit.squares for fit in fits)

    def added(terms: Collection[Term], scale: float) -> Estimate | None:
        term = next((t for t, _ in fits[0].more if t in terms), None)
        return None if term is None else _estimate([fit.of(term) for fit in fits], scale)

    return Surface(
        form=chosen.form,
        floor_ms=_estimate([fit.floor for fit in fits]),
        new_token_us=_estimate([fit.new for fit in fits], 1e3),
        cached_token_us=_estimate([fit.cached for fit in fits], 1e3),
        crossover_tokens=crossover,
        residual=float(np.sqrt(squares / (len(fits) * len(kept)))),
        starts=len(fits),
        chunk_ms=added(["chunk"], 1.0),
        padded_token_us=added(["padding"], 1e3),
        attention_ns=added(ATTENTION, 1e6),
        steps=chosen.steps,
    )
