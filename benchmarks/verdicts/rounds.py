"""What the blocks of simulated launches leave open, for many sessions at once.

As `analysis.rounds` has it for one launch: a jackknife over blocks, one sample a point in each.
"""

from __future__ import annotations

import numpy as np

from append_prefill.analysis.rounds import ROUNDS_MIN
from benchmarks.verdicts.settings import Array


def without_each(log_ms: Array) -> Array:
    """`faster_half` of log samples without each one of them in turn, over the last axis."""
    order = np.argsort(log_ms, axis=-1)
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(order.shape[-1]), order.shape), -1)
    half = log_ms.shape[-1] // 2
    sums = np.cumsum(np.take_along_axis(log_ms, order, -1), axis=-1)
    kept = np.where(rank < half, sums[..., [half]] - log_ms, sums[..., [half - 1]])
    return np.asarray(kept / half)


def blocks_error(*sides: Array) -> Array | None:
    """Covariance of the mean over launches of each one's faster halves, from its own blocks.

    `sides`: log samples, shape (sessions, launches, points, samples); of two that were up together
    it is that of their difference. Shape (sessions, points, points); None with too few blocks.
    """
    *_, launches, _, rounds = sides[0].shape
    if rounds < ROUNDS_MIN:
        return None
    without = without_each(sides[0])
    if len(sides) == 2:
        without = without - without_each(sides[1])
    centred = without - without.mean(axis=-1, keepdims=True)
    # One product a session: launches and blocks are summed over.
    rows = np.moveaxis(centred, -2, 1).reshape(len(centred), centred.shape[-2], -1)
    squares = rows @ rows.swapaxes(-1, -2)
    return np.asarray((rounds - 1) / rounds * squares / launches**2)
