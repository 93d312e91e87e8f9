"""In words: which part of the (L, m) plane moved, and by how much.

The joint test says that something moved; this picks the shortest description of it. Patterns are
"everywhere", "where TTFT is at its floor", "in proportion to m", "in proportion to L" and "one
point"; they are added one by one while a generalised least-squares fit to the points' log ratios
gains enough. It decides no verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from append_prefill.analysis.moderation import FloatArray
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
    """A shape of effect over the points; `column` is 1 where the effect is whole."""

    kind: str
    column: FloatArray
    penalty: float
    label: str


def patterns_of(points: Sequence[Point], reference_ms: FloatArray) -> list[Pattern]:
    """All patterns that the points can tell apart; `reference_ms` is their TTFT, shape (points,).

    One of many single points pays for the choice: 2 ln P, as in the risk inflation criterion of
    Foster & George (Annals of Statistics 1994).
    """
    append = np.array([p.append_tokens for p in points], dtype=np.float64)
    context = np.array([p.context_tokens for p in points], dtype=np.float64)
    found = [Pattern("everywhere", np.ones(len(points)), 0.0, "everywhere")]
    at_floor = reference_ms <= AT_FLOOR * reference_ms.min()
    if 1 < at_floor.sum() < len(points):
        label = f"m <= {int(append[at_floor].max())}"
        found.append(Pattern("floor", at_floor.astype(np.float64), 0.0, label))
    if np.ptp(append):
        label = f"m = {int(append.max())}"
        found.append(Pattern("append", append / append.max(), 0.0, label))
    if np.ptp(context):
        label = f"L = {int(context.max())}"
        found.append(Pattern("context", context / context.max(), 0.0, label))
    if len(points) > 2:
        penalty = 2 * float(np.log(len(points)))
        for position, point in enumerate(points):
            unit = np.zeros(len(points))
            unit[position] = 1
            found.append(Pattern("point", unit, penalty, point.label))
    return found


def _fit(
    chosen: Sequence[Pattern], delta: FloatArray, whiten: FloatArray
) -> tuple[FloatArray, float]:
    matrix = whiten @ np.stack([pattern.column for pattern in chosen], axis=1)
    target = whiten @ delta
    solution, *_ = np.linalg.lstsq(matrix, target, rcond=None)
    return np.asarray(solution, dtype=np.float64), float(((target - matrix @ solution) ** 2).sum())


def describe(
    points: Sequence[Point],
    delta: FloatArray,
    *,
    reference_ms: FloatArray,
    level_variance: float,
    residual_variance: float,
    min_effect: float,
) -> str:
    """`everywhere (+3.1 %)`, `grows with m: +8.0 % at m = 1024`, `only at L512-m128 (+5.0 %)`, ...

    `delta`: log ratios, shape (points,); `reference_ms`: the reference's TTFT;
    `level_variance`: of their mean, `residual_variance`: of
    one point's deviation from it. `nowhere` where no pattern reaches `min_effect` (relative).
    """
    count = len(points)
    common = max(level_variance - residual_variance / count, 0.0)
    # Inverse root of common * 11' + residual * I, by its two eigenvalues.
    mean = np.full((count, count), 1 / count)
    flat = 1 / np.sqrt(residual_variance)
    whiten = flat * (np.eye(count) - mean) + mean / np.sqrt(residual_variance + count * common)
    everything = patterns_of(points, reference_ms)
    chosen: list[Pattern] = []
    left = float(((whiten @ delta) ** 2).sum())
    while len(chosen) < min(MAX_PATTERNS, count):
        rest = [p for p in everything if p not in chosen]
        scores = [_fit([*chosen, p], delta, whiten)[1] + p.penalty for p in rest]
        best = int(np.argmin(scores))
        # The first pattern is taken as it comes: the joint test has said that there is one.
        if chosen and left - scores[best] < GAIN:
            break
        chosen.append(rest[best])
        left = _fit(chosen, delta, whiten)[1]
    solution = _fit(chosen, delta, whiten)[0]
    columns = np.stack([pattern.column for pattern in chosen], axis=1)
    named = [
        # The pattern's own share decides whether it is named; its size is what all of them make
        # where it is whole, for no one can add up shares in his head.
        _Named(pattern, float(np.expm1(own)), _size(pattern, columns @ solution, own))
        for pattern, own in zip(chosen, solution, strict=True)
        if abs(np.expm1(own)) >= min_effect
    ]
    return _words(named, points) if named else "nowhere"


@dataclass(frozen=True, slots=True)
class _Named:
    """A pattern with its own share and the size of the whole effect where it is whole."""

    pattern: Pattern
    own: float
    size: float


def _size(pattern: Pattern, fitted: FloatArray, own: float) -> float:
    if pattern.kind == "everywhere":
        return float(np.expm1(own))
    return float(np.expm1(fitted[pattern.column == 1].mean()))


def percent(effect: float) -> str:
    """`+3.1 %`."""
    return f"{100 * effect:+.1f} %".replace("-", "−")


def _words(named: Sequence[_Named], points: Sequence[Point]) -> str:
    rank = {"everywhere": 0, "floor": 1, "append": 2, "context": 3, "point": 4}
    ordered = sorted(named, key=lambda one: rank[one.pattern.kind])
    base = next((one.own for one in ordered if one.pattern.kind == "everywhere"), None)
    words = [_part(one, base, len(ordered) == 1, points) for one in ordered]
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else words[0]


def _part(one: _Named, base: float | None, alone: bool, points: Sequence[Point]) -> str:
    """One pattern in words; `base` is the share of the pattern "everywhere", if that is named."""
    pattern, size = one.pattern, percent(one.size)
    if pattern.kind == "everywhere":
        return f"everywhere ({size})"
    at = f"{size} at {pattern.label}"
    if pattern.kind == "point":
        return f"{'only ' if alone else ''}at {pattern.label} ({size})"
    more = "" if base is None else "more " if (one.own > 0) == (base > 0) else "less "
    if pattern.kind == "floor":
        return f"{more}at the floor ({at})"
    if base is not None:
        return f"{more}{'at large m' if pattern.kind == 'append' else 'at long contexts'} ({at})"
    if pattern.kind == "append":
        return f"{'grows' if one.own > 0 else 'shrinks'} with m: {at}"
    longest = max(p.context_tokens for p in points)
    long = min(p.context_tokens for p in points if 2 * p.context_tokens >= longest)
    return f"long contexts (L >= {long}): {at}"
