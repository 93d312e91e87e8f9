"""In words: which part of the (L, m) plane moved, and by how much.

The joint test says that something moved; this picks the shortest description of it. Patterns are
"everywhere", "in proportion to m", "in proportion to L" and "one point"; they are added one by one
while a generalised least-squares fit to the points' log ratios gains enough. It decides no verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from append_prefill.analysis.moderation import FloatArray
from append_prefill.workload.points import Point

GAIN = 6.63
"""Least chi-squared (one degree of freedom, 1 %) by which a further pattern must better the fit."""

MAX_PATTERNS = 3
"""More than three patterns are a table, and the table is there already."""


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """A shape of effect over the points; `column` is 1 where the effect is whole."""

    kind: str
    column: FloatArray
    penalty: float
    label: str


def patterns_of(points: Sequence[Point]) -> list[Pattern]:
    """All patterns that the points can tell apart.

    One of many single points pays for the choice: 2 ln P, as in the risk inflation criterion of
    Foster & George (Annals of Statistics 1994).
    """
    append = np.array([p.append_tokens for p in points], dtype=np.float64)
    context = np.array([p.context_tokens for p in points], dtype=np.float64)
    found = [Pattern("everywhere", np.ones(len(points)), 0.0, "everywhere")]
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
    level_variance: float,
    residual_variance: float,
    min_effect: float,
) -> str:
    """`everywhere (+3.1 %)`, `grows with m: +8.0 % at m = 1024`, `only at L512-m128 (+5.0 %)`, ...

    `delta`: log ratios, shape (points,); `level_variance`: of their mean, `residual_variance`: of
    one point's deviation from it. `nowhere` where no pattern reaches `min_effect` (relative).
    """
    count = len(points)
    common = max(level_variance - residual_variance / count, 0.0)
    # Inverse root of common * 11' + residual * I, by its two eigenvalues.
    mean = np.full((count, count), 1 / count)
    flat = 1 / np.sqrt(residual_variance)
    whiten = flat * (np.eye(count) - mean) + mean / np.sqrt(residual_variance + count * common)
    everything = patterns_of(points)
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
    effects = np.expm1(_fit(chosen, delta, whiten)[0])
    named = [
        (pattern, float(effect))
        for pattern, effect in zip(chosen, effects, strict=True)
        if abs(effect) >= min_effect
    ]
    return _words(named, points) if named else "nowhere"


def percent(effect: float) -> str:
    """`+3.1 %`."""
    return f"{100 * effect:+.1f} %".replace("-", "−")


def _words(named: Sequence[tuple[Pattern, float]], points: Sequence[Point]) -> str:
    rank = {"everywhere": 0, "append": 1, "context": 2, "point": 3}
    ordered = sorted(named, key=lambda item: rank[item[0].kind])
    base = next((effect for pattern, effect in ordered if pattern.kind == "everywhere"), None)
    words = [_part(pattern, effect, base, len(ordered) == 1, points) for pattern, effect in ordered]
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else words[0]


def _part(
    pattern: Pattern, effect: float, base: float | None, alone: bool, points: Sequence[Point]
) -> str:
    """One pattern in words; on top of a `base` everywhere, the size is what the two make there."""
    if pattern.kind == "everywhere":
        return f"everywhere ({percent(effect)})"
    size = percent(effect if base is None else (1 + base) * (1 + effect) - 1)
    at = f"{size} at {pattern.label}"
    if pattern.kind == "point":
        return f"{'only ' if alone else ''}at {pattern.label} ({size})"
    if base is not None:
        more = "more" if (effect > 0) == (base > 0) else "less"
        return f"{more} {'at large m' if pattern.kind == 'append' else 'at long contexts'} ({at})"
    if pattern.kind == "append":
        return f"{'grows' if effect > 0 else 'shrinks'} with m: {at}"
    longest = max(p.context_tokens for p in points)
    long = min(p.context_tokens for p in points if 2 * p.context_tokens >= longest)
    return f"long contexts (L >= {long}): {at}"
