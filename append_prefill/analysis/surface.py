"""The fitted TTFT(L, m): a floor, a cost per new token, a cost per cached token, and steps.

Of the two forms (see `surface_form`) a prefill under CUDA graphs looks like `sum`, an eager one on
a fast device like `max`; the data chooses, the further terms as well.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

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
from append_prefill.analysis.surface_form import FORMS, PLAIN, Fit, Form, fit_start, predict
from append_prefill.records.figures import Estimate
from append_prefill.records.grounds import Side
from append_prefill.records.launch import Start
from append_prefill.records.run import Step, Surface, Term
from append_prefill.workload.points import Point


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
