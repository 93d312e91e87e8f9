"""Change points: where a series of sessions goes from one level to another, and by how much.

`ruptures` finds the segmentation of least squares under a penalty (PELT: Killick, Fearnhead &
Eckley, JASA 2012); a change of it stays if a t test between its neighbouring segments rejects at
`PAGE_RATE`, split over all series of the page and all places of a change. The penalty is the square
of the same quantile, so the segmentation proposes nothing that could not stay. Bonferroni holds
whatever the series have in common; what it costs is little, since the threshold grows with the root
of the logarithm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from append_prefill.analysis.summary import CONFIDENCE, FloatArray

PAGE_RATE = 0.05
"""How often a page of sessions in which nothing changed shows a change point anywhere. One page in
twenty: a change point is where to look, and moves no verdict (`python -m benchmarks.history`)."""

SHORTEST = 4
"""Sessions that a level lasts at the least: a bad device in three of a row is no level, and a week
has room for one to end and another to begin."""

CLIP = 3.0
"""Scatters (sd) beyond the median of its neighbours that a session counts for: one in 370 lies
beyond by chance, and a device that was slow for a session would otherwise move a level by itself.
"""

_NEIGHBOURS = 7
"""Sessions of which that median is taken: half of them, rounded up, have to be on a level before it
is theirs, which is `SHORTEST`."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of level between session `at` - 1 and session `at`, with its 95 % interval.

    On the logarithm where the series was one: `size` 0.05 is +5.1 %.
    """

    at: int
    size: float
    low: float
    high: float


def scatter_of(values: FloatArray) -> float:
    """Sd of a session about its level, from what neighbours differ by, so that no step is in it.

    Robust: the median of the absolute differences, scaled for the normal.
    """
    steps = np.abs(np.diff(values))
    return float(np.median(steps)) * 1.4826 / float(np.sqrt(2)) if steps.size else 0.0


def change_points(values: Sequence[float] | FloatArray, *, series: int) -> list[Change]:
    """The changes of a series of sessions, in order; `values` are without holes.

    `series`: how many of them the page has, among which the false-alarm rate is split.
    """
    array = np.asarray(values, dtype=float)
    count = len(array)
    scatter = scatter_of(array)
    if count < 2 * SHORTEST or scatter == 0:
        return []
    # It imports scipy's stats, half of what importing the suite would take; most runs have no
    # series this long.
    from ruptures import KernelCPD  # noqa: PLC0415

    array = _clipped(array, scatter)
    rate = PAGE_RATE / max(series, 1) / count / 2  # two-sided
    penalty = float(special.ndtri(rate)) ** 2
    scaled = (array / scatter).reshape(-1, 1)
    found = KernelCPD(kernel="linear", min_size=SHORTEST).fit(scaled).predict(pen=penalty)
    borders = [0, *(int(at) for at in found)]
    while len(borders) > 2:
        tested = [_tested(array, *borders[i : i + 3]) for i in range(len(borders) - 2)]
        least = max(range(len(tested)), key=lambda i: tested[i][1])
        if tested[least][1] <= rate:
            return [change for change, _ in tested]
        del borders[least + 1]
    return []


def _clipped(array: FloatArray, scatter: float) -> FloatArray:
    half = _NEIGHBOURS // 2
    padded = np.pad(array, half, mode="edge")
    around = np.lib.stride_tricks.sliding_window_view(padded, _NEIGHBOURS)
    middle = np.median(around, axis=-1)
    return np.asarray(np.clip(array, middle - CLIP * scatter, middle + CLIP * scatter))


def _tested(array: FloatArray, start: int, at: int, end: int) -> tuple[Change, float]:
    """The change at `at` and its one-sided p, by Student's test between the two segments."""
    before, after = array[start:at], array[at:end]
    size = float(after.mean() - before.mean())
    df = len(before) + len(after) - 2
    squares = float(((before - before.mean()) ** 2).sum() + ((after - after.mean()) ** 2).sum())
    error = float(np.sqrt(squares / df * (1 / len(before) + 1 / len(after))))
    half = float(special.stdtrit(df, (1 + CONFIDENCE) / 2)) * error
    p = float(special.stdtr(df, -abs(size) / error)) if error > 0 else 0.0
    return Change(at, size, size - half, size + half), p
