"""What TTFT a plane makes one expect at a point, and which of its points are beyond that. Pure.

Expected is the fitted surface, corrected by how far the reference design's own points are from it:
a server's TTFT is never quite of the surface's form, and what is smooth is no cliff.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from append_prefill.analysis.steps import Sizes
from append_prefill.analysis.summary import FloatArray
from append_prefill.analysis.surface import fit_starts
from append_prefill.analysis.surface_form import PLAIN, Fit, Form, predict
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Limits

if TYPE_CHECKING:
    from scipy.interpolate import RBFInterpolator

BOUND = 0.15
"""A jump beyond 15 % is a cliff. Steps that SGLang makes on purpose are mostly below, where a
server does not tell of them: a prefill graph pads to the next of its sizes, from 128 tokens on by
an eighth (12.5 %) but for 1,024 and 1,280, and below 128 tokens the floor hides it."""

LOG_BOUND = math.log1p(BOUND)

SUSPICIOUS_SE = 4.0
"""Standard errors beyond which a point is looked at more closely. Of the thousand or two points of
a search one in thirty thousand is there by chance; a false suspect costs minutes, no alarm."""

GRID = 6
"""Values of L and of m in the reference design, evenly on the log scale: a factor of four to six
apart in the shipped profiles, and six times the three coefficients of a surface each way."""

ALIKE_SHARE = 2 / 3
"""Points of the design that are taken to be on one surface: with more than a third of them off it
would not be clear what is the plane and what the cliff."""

# Ten draws of ten points: where a tenth of the points is off the plane, one in three has none but
# those on it, and steps lead there from one off as well.
STARTED, STARTED_FROM, STEPS = 10, 10, 3


@dataclass(frozen=True, slots=True)
class Box:
    """A part of the plane, both ends included, that takes `log_factor` more than expected."""

    context_tokens: tuple[int, int]
    append_tokens: tuple[int, int]
    log_factor: float

    def has(self, point: Point) -> bool:
        low, high = self.context_tokens
        least, most = self.append_tokens
        return low <= point.context_tokens <= high and least <= point.append_tokens <= most


def design_points(limits: Limits, sizes: Sizes = PLAIN) -> list[Point]:
    """The reference design: a grid on the log scale over the rectangle, within the total.

    With both sides of the steps that the server's sizes make, so that the surface can have them: of
    the first chunk's edge, and of the captured size behind which most is padded.
    """
    contexts, appends = (
        sorted({round(value) for value in np.geomspace(low, high, GRID)})
        for low, high in (limits.context_tokens, limits.append_tokens)
    )
    least, most = limits.append_tokens
    sides = [tokens + more for tokens in _step_tokens(limits, sizes) for more in (0, 1)]
    return [
        Point(context, append)
        for context in contexts
        for append in sorted({*appends, *(m for m in sides if least <= m <= most)})
        if context + append <= limits.total_tokens
    ]


def _step_tokens(limits: Limits, sizes: Sizes) -> list[int]:
    """The m behind which the largest steps of either kind are."""
    found = [] if sizes.chunk_tokens is None else [sizes.chunk_tokens]
    least, most = limits.append_tokens
    gaps = [(b - a, a) for a, b in pairwise(sizes.bucket_tokens or ()) if least <= a < most]
    # Of equal ones the first: it is the longest part of what is computed.
    return found + ([max(gaps, key=lambda gap: (gap[0], -gap[1]))[1]] if gaps else [])


@dataclass(frozen=True)
class Expected:
    """What a design makes one expect. `slow`: its points beyond that, the farthest first."""

    boxes: tuple[Box, ...]
    residuals: Mapping[Point, float]
    slow: tuple[Point, ...]
    _form: Form
    _fit: Fit
    _correction: RBFInterpolator

    def log_ms(self, point: Point) -> float:
        """Log of the TTFT in ms, known cliffs included."""
        own = sum(box.log_factor for box in self.boxes if box.has(point))
        correction = float(self._correction(_coordinates([point]))[0])
        return float(_log_surface(self._form, self._fit, [point])[0]) + correction + own

    def step(self, slow: Point, fast: Point) -> float:
        """Log ratio of two points by the surface alone."""
        values = _log_surface(self._form, self._fit, [slow, fast])
        return float(values[0] - values[1])

    def steep(self, least: float) -> list[tuple[Point, Point]]:
        """Neighbours in the design (faster, slower) whose residuals differ by more than `least`.

        The most different first.
        """
        found = []
        for one, other in _neighbours(list(self.residuals)):
            faster, slower = sorted((one, other), key=lambda point: self.residuals[point])
            difference = self.residuals[slower] - self.residuals[faster]
            if difference > least:
                found.append((difference, faster, slower))
        return [(faster, slower) for _, faster, slower in sorted(found, reverse=True)]


def expected_of(
    log_ms: Mapping[Point, float], boxes: Sequence[Box], se: float, sizes: Sizes = PLAIN
) -> Expected | None:
    """What the design's log medians make one expect, `boxes` being known.

    `se` is the standard error of a median, `sizes` what the server tells of its chunks and graphs.
    A point that is off the surface of most others by more than the bound and its noise is left out.
    None where the points cannot tell a surface's coefficients.
    """
    points = sorted(log_ms)
    values = np.array(
        [log_ms[p] - sum(box.log_factor for box in boxes if box.has(p)) for p in points]
    )
    least = max(LOG_BOUND, SUSPICIOUS_SE * se)
    near = _most_alike(points, values, sizes, least)
    if near is None:
        return None
    kept = [i for i in range(len(points)) if abs(near[i]) <= least]
    fitted = fit_starts([points[i] for i in kept], values[None, kept], sizes)
    if fitted is None:
        return None
    form, (fit,) = fitted
    # A good part of what importing the suite would take, and only a search for cliffs comes here.
    from scipy.interpolate import RBFInterpolator  # noqa: PLC0415

    residuals = values - _log_surface(form, fit, points)
    slow = [i for i in np.argsort(-residuals) if residuals[i] > least and i not in kept]
    return Expected(
        boxes=tuple(boxes),
        residuals={point: float(residuals[i]) for i, point in enumerate(points)},
        slow=tuple(points[i] for i in slow),
        _form=form,
        _fit=fit,
        # Linear between the points; the smoothing is a noise of theirs, beside distances of one.
        _correction=RBFInterpolator(
            _coordinates([points[i] for i in kept]), residuals[kept], kernel="linear", smoothing=0.1
        ),
    )


def _most_alike(
    points: Sequence[Point], values: FloatArray, sizes: Sizes, least: float
) -> FloatArray | None:
    """Residuals of the surface that most of the points are on, shape (points,).

    By the concentration steps of least trimmed squares (Rousseeuw & Van Driessen, Data Min. Knowl.
    Disc. 12, 2006): cliffs of a few points would draw a surface of least squares away from the
    others. Of those it comes to the one that fewest points are below by more than `least`, for a
    cliff is never faster than the plane, and then that most are on: else a chunk's step could be
    left out with all that is behind it. None where the points cannot tell a surface's coefficients.
    """
    rng, best = np.random.default_rng(0), None
    most = math.ceil(ALIKE_SHARE * len(points))
    starts = [np.arange(len(points))]
    starts += [rng.permutation(len(points))[:STARTED_FROM] for _ in range(STARTED)]
    for chosen in starts:
        for _ in range(STEPS):
            fitted = fit_starts([points[int(i)] for i in chosen], values[None, chosen], sizes)
            if fitted is None:
                break
            form, (fit,) = fitted
            residuals = values - _log_surface(form, fit, points)
            chosen = np.argsort(np.abs(residuals))[:most]  # noqa: PLW2901  # a step of its own
            below, on = residuals < -least, np.abs(residuals) <= least
            squares = float(np.square(residuals[chosen]).sum())
            score = (int(below.sum()), -int(on.sum()), squares)
            if best is None or score < best[0]:
                best = score, residuals
    return None if best is None else best[1]


def _log_surface(form: Form, fit: Fit, points: Sequence[Point]) -> FloatArray:
    return np.asarray(np.log(np.maximum(predict(form, fit, points), 1e-6)))


def _coordinates(points: Sequence[Point]) -> FloatArray:
    return np.log([[p.context_tokens, p.append_tokens] for p in points])


def _neighbours(points: Sequence[Point]) -> list[tuple[Point, Point]]:
    """Pairs of points next to each other on a line of equal L, or of equal m."""
    by_context = pairwise(sorted(points))
    by_append = pairwise(sorted(points, key=lambda p: (p.append_tokens, p.context_tokens)))
    return [
        *((a, b) for a, b in by_context if a.context_tokens == b.context_tokens),
        *((a, b) for a, b in by_append if a.append_tokens == b.append_tokens),
    ]
