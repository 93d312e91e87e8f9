"""Which two positions to compare next: those that tell the most about the steps in a minute."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from append_prefill.analysis.bisection.path import Compared, Path, path_of
from append_prefill.analysis.bisection.steps import MISSED, Told, Worth, told_of
from append_prefill.analysis.moderation import FloatArray

CHOICES = 32
"""The likeliest choices that information is reckoned over; the others change no order of pairs."""

GRID = 65
"""Points of an outcome's density: eight to a standard deviation at the widest."""

NOTHING = 1e-3
"""Information (nats) of a comparison that is not worth making: it would take a thousand."""


PLACES = 10
"""The list is looked at in that many places at the least, evenly, before the search ends. A change
and its undoing between two versions that are alike show only there: without, 6 in 100 of the steps
+4, -3, +8 % among ten versions are missed, and with it every version of so short a list has a level
of its own. Of a hundred commits those ten bear on what comes and goes within ten of them no
more."""


@dataclass(frozen=True, slots=True)
class Next:
    """Compare `later` with `earlier`; `information` in nats is what that is expected to tell."""

    earlier: int
    later: int
    information: float


def settled(told: Told, missing: Collection[int]) -> bool:
    """Whether nothing is left to find: each step is between neighbours, or between two positions
    with `missing` ones alone in between, and no further step worth a name is likely.
    """
    return told.open_chance <= MISSED and all(
        all(position in missing for position in range(step.before + 1, step.after))
        for step in told.steps
    )


def posterior(
    count: int, compared: Sequence[Compared], *, least: float, missing: Collection[int]
) -> Path:
    """The path with each gap cut at its middle, the only place in it that is asked about.

    Two steps of one gap that all but cancel, a change and its undoing, show in its halves alone: a
    gap that is known by its sum would hide them.
    """
    ends = {0, count - 1}.union(*((c.earlier, c.later) for c in compared))
    at = sorted(ends)
    middles = (_middle(a, b, missing) for a, b in pairwise(at))
    return path_of(count, compared, least=least, apart=[m for m in middles if m is not None])


def next_comparison(
    count: int,
    compared: Sequence[Compared],
    *,
    worth: Worth,
    missing: Collection[int],
    se: float,
    minutes: Callable[[int, int], float],
) -> Next | None:
    """The most telling comparison per minute; None where all is settled, or none would tell.

    Settled is only what was looked at: every part of the list, and each step itself. `missing` are
    positions that cannot be measured; `se` is the standard error that a comparison is expected to
    have, `minutes` what one takes. Within a gap only its middle is asked about: nothing tells the
    positions in it apart.
    """
    path = posterior(count, compared, least=worth.least, missing=missing)
    there = [position for position in path.at if position not in missing]
    pairs = list(combinations(there, 2))
    found = told_of(path, worth)
    if done := settled(found, missing):
        unseen = _unseen(count, compared, missing)
        unproven = _unproven(found, compared)
        pairs = [pair for pair in pairs if pair in unproven or not unseen.isdisjoint(pair)]
        if not pairs:
            return None
    told = _information(path, pairs, se)
    rates = [information / minutes(*pair) for information, pair in zip(told, pairs, strict=True)]
    best = int(np.argmax(rates))
    if told[best] < NOTHING and not done:
        return None
    return Next(*pairs[best], information=float(told[best]))


def _unproven(told: Told, compared: Sequence[Compared]) -> set[tuple[int, int]]:
    """Both sides of each step that was found without their having been compared.

    A step that follows from comparisons around it follows from what was assumed as well: that
    there are few. Of 0.5.15.post1 to 0.5.23 on two CPU cores eleven comparisons left +6.5 %
    (5.5 to 7.5) to 0.5.18, which was +2.6 % (1.0 to 4.3) over 0.5.17 in a run of its own.
    """
    steps = {(step.before, step.after) for step in told.steps}
    return steps - {(one.earlier, one.later) for one in compared}


def _unseen(count: int, compared: Sequence[Compared], missing: Collection[int]) -> set[int]:
    """The middles of stretches that are longer than `PLACES` would leave."""
    seen = sorted({0, count - 1}.union(*((c.earlier, c.later) for c in compared)))
    longest = max(1, (count - 1) // PLACES)
    middles = (_middle(a, b, missing) for a, b in pairwise(seen) if b - a > longest)
    return {middle for middle in middles if middle is not None}


def _middle(before: int, after: int, missing: Collection[int]) -> int | None:
    """The position nearest to the middle of a gap that can be measured."""
    inside = [p for p in range(before + 1, after) if p not in missing]
    return min(inside, key=lambda p: (abs(2 * p - before - after), p), default=None)


def _information(path: Path, pairs: Sequence[tuple[int, int]], se: float) -> FloatArray:
    """Mutual information between which gaps hold a step and what each pair would show, nats."""
    likeliest = np.argsort(-path.weight)[:CHOICES]
    weight = path.weight[likeliest] / path.weight[likeliest].sum()
    rows = np.array([path.between(*pair) for pair in pairs])
    mean = path.mean[likeliest] @ rows.T
    inner = np.einsum("pg,mgh,ph->mp", rows, path.covariance[likeliest], rows, optimize=True)
    sd = np.sqrt(inner + se**2)
    low, high = (mean - 4 * sd).min(axis=0), (mean + 4 * sd).max(axis=0)
    grid = low + (high - low) * np.linspace(0, 1, GRID)[:, None]
    # (grid, choices, pairs)
    z = (grid[:, None, :] - mean) / sd
    density = np.einsum("m,ymp->yp", weight, np.exp(-0.5 * z**2) / (sd * np.sqrt(2 * np.pi)))
    width = (high - low) / (GRID - 1)
    whole = -(np.where(density > 0, density * np.log(np.maximum(density, 1e-300)), 0.0)).sum(0)
    each = weight @ (np.log(sd) + 0.5 * np.log(2 * np.pi * np.e))
    return np.asarray(np.maximum(whole * width - each, 0.0))
