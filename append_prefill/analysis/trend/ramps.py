"""Whether a slow-down came at once or crept in: what a step and a ramp leave unexplained."""

from __future__ import annotations

import numpy as np

from append_prefill.analysis.summary import FloatArray

LED_UP = 32
"""Sessions that are looked back on for how a slow-down came: 0.1 % a session makes twice the least
effect worth a name in them."""

_SHORTEST = 4
"""Sessions that a ramp takes at the least: two of chance look like one."""


def crept(rows: FloatArray, ages: FloatArray) -> bool:
    """Whether a ramp up to now explains the sessions better than any step does.

    `rows`: log values without holes, shape (sessions, series); `ages`: the sessions' numbers.
    """
    steps = [_misfit(rows, _step(ages, at)) for at in ages]
    return _ramp(rows, ages) < min(steps, default=float("inf"))


def creeps_on(rows: FloatArray, ages: FloatArray, first: float, second: float) -> bool:
    """Whether a ramp explains the sessions better than two steps at those ages do."""
    left = _ramp(rows, ages)
    return np.isfinite(left) and left < _misfit(rows, _step(ages, first), _step(ages, second))


def _step(ages: FloatArray, at: float) -> FloatArray:
    return np.asarray(ages >= at, dtype=float)


def _ramp(rows: FloatArray, ages: FloatArray) -> float:
    """What the best ramp leaves; infinite where there are too few sessions for one."""
    starts = ages[:-_SHORTEST]
    ramps = [_misfit(rows, np.maximum(ages - at + 1.0, 0.0)) for at in starts]
    return min(ramps, default=float("inf"))


def _misfit(rows: FloatArray, *shapes: FloatArray) -> float:
    """Sum of squares that shapes over the sessions, of any size, leave of each series."""
    matrix = np.column_stack(shapes)
    sizes = np.linalg.lstsq(matrix, rows, rcond=None)[0]
    return float(((rows - matrix @ sizes) ** 2).sum())
