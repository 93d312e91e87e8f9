"""Which part of the (L, m) plane moved, and by how much.

The joint test says that something moved; this picks the shortest description of it. Patterns are
"everywhere", "where TTFT is at its floor", "in proportion to m", "in proportion to L" and "one
point"; they are added one by one while a generalised least-squares fit to the points' log ratios
gains enough. It decides no verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from append_prefill.analysis.moderation import FloatArray
from append_prefill.records.grounds import Region
from append_prefill.workload.points import Point

GAIN = 6.63
"""Least chi-squared (one degree of freedom, 1 %) by which a further pattern must better the fit."""

AT_FLOOR = 1.1
"""A point is at the floor if the reference's TTFT there is within 10 % of its least: a change of
the floor shows there in full, and where computing takes longer hardly at all."""

MAX_PATTERNS = 3
"""More than three patterns are a table, and the table is there already."""


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """A shape of effect over the points; `column` is 1 where the effect is whole.

    `context_tokens`, `append_tokens`: where that is, as in `Region`.
    """

    kind: Literal["everywhere", "floor", "append", "context", "point"]
    column: FloatArray
    penalty: float = 0.0
    context_tokens: int | None = None
    append_tokens: int | None = None
    from_tokens: int | None = None


def patterns_of(points: Sequence[Point], reference_ms: FloatArray) -> list[Pattern]:
    """All patterns that the points can tell apart; `reference_ms` is their TTFT, shape (points,).

    One of many single points pays for the choice: 2 ln P, as in the risk inflation criterion of
    Foster & George (Annals of Statistics 1994).
    """
    append = np.array([p.append_tokens for p in points])
    context = np.array([p.context_tokens for p in points])
    found = [Pattern("everywhere", np.ones(len(points)))]
    at_floor = reference_ms <= AT_FLOOR * reference_ms.min()
    if 1 < at_floor.sum() < len(points):
        largest = int(append[at_floor].max())
        found.append(Pattern("floor", np.where(at_floor, 1.0, 0.0), append_tokens=largest))
    if np.ptp(append):
        found.append(Pattern("append", append / append.max(), append_tokens=int(append.max())))
    if np.ptp(context):
        longest = int(context.max())
        far = int(context[2 * context >= longest].min())
        found.append(Pattern("context", context / longest, context_tokens=longest, from_tokens=far))
    if len(points) > 2:
        penalty = 2 * float(np.log(len(points)))
        for position, point in enumerate(points):
            unit = np.zeros(len(points))
            unit[position] = 1
            found.append(Pattern("point", unit, penalty, point.context_tokens, point.append_tokens))
    return found


def _fit(
    chosen: Sequence[Pattern], delta: FloatArray, whiten: FloatArray
) -> tuple[FloatArray, float]:
    matrix = whiten @ np.stack([pattern.column for pattern in chosen], axis=1)
    target = whiten @ delta
    solution, *_ = np.linalg.lstsq(matrix, target)
    return np.asarray(solution), float(((target - matrix @ solution) ** 2).sum())


def regions(
    points: Sequence[Point],
    delta: FloatArray,
    *,
    reference_ms: FloatArray,
    level_variance: float,
    residual_variance: float,
    min_effect: float,
) -> list[Region]:
    """The parts that moved by `min_effect` (relative) or more; none where no pattern does.

    `delta`: log ratios, shape (points,); `reference_ms`: the reference's TTFT; `level_variance`: of
    their mean, `residual_variance`: of one point's deviation from it.
    """
    count = len(points)
    common = max(level_variance - residual_variance / count, 0.0)
    # Inverse root of common * 11' + residual * I, by its two eigenvalues.
    mean = np.full((count, count), 1 / count)
    flat = 1 / np.sqrt(residual_variance)
    whiten = flat * (np.eye(count) - mean) + mean / np.sqrt(residual_variance + count * common)
    everything = patterns_of(points, reference_ms)
    chosen: list[Pattern] = []
    left = np.inf  # the first pattern is taken as it comes: the joint test has said there is one
    while len(chosen) < min(MAX_PATTERNS, count):
        rest = [p for p in everything if p not in chosen]
        scores = [_fit([*chosen, p], delta, whiten)[1] + p.penalty for p in rest]
        best = int(np.argmin(scores))
        if left - scores[best] < GAIN:
            break
        chosen.append(rest[best])
        left = _fit(chosen, delta, whiten)[1]
    solution = _fit(chosen, delta, whiten)[0]
    columns = np.stack([pattern.column for pattern in chosen], axis=1)
    return [
        # The pattern's own share decides whether it is named; its size is what all of them make
        # where it is whole, for no one can add up shares in his head.
        Region(
            kind=pattern.kind,
            own=float(np.expm1(own)),
            size=_size(pattern, columns @ solution, own),
            context_tokens=pattern.context_tokens,
            append_tokens=pattern.append_tokens,
            from_tokens=pattern.from_tokens,
        )
        for pattern, own in zip(chosen, solution, strict=True)
        if abs(np.expm1(own)) >= min_effect
    ]


def _size(pattern: Pattern, fitted: FloatArray, own: float) -> float:
    if pattern.kind == "everywhere":
        return float(np.expm1(own))
    return float(np.expm1(fitted[pattern.column == 1].mean()))
