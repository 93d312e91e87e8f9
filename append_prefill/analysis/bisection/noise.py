"""What a comparison's standard error is, where many were made on one machine.

A comparison of three pairs knows its own scatter by two degrees of freedom, and its interval pays
for that with half as much again. All comparisons of a bisection are of one machine, one profile and
neighbouring versions, so their variances are a family and moderate each other (limma's empirical
Bayes, see `analysis.moderation`): as alike as they turn out to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from append_prefill.analysis.bisection.path import Compared
from append_prefill.analysis.moderation import VARIANCE_FLOOR, Spread, moderate_family

NORMAL = 1.96
"""Of the normal's 95 %. Half of an interval over it is a standard error that has what few degrees
of freedom leave open in it."""

FEWEST = 3
"""Comparisons from which on they are a family: two say nothing of how far variances differ."""


@dataclass(frozen=True, slots=True)
class Alone:
    """One comparison as its run reports it: log ratio of `later` over `earlier`, and half of its
    95 % interval. `pairs` are the log ratios of its single pairs, empty where launches had none.
    """

    earlier: int
    later: int
    log_ratio: float
    half_width: float
    pairs: tuple[float, ...] = ()


def together(alone: Sequence[Alone]) -> list[Compared]:
    """The comparisons with standard errors that borrow from each other, in their order.

    One that has fewer than two pairs keeps its own, and so do all where fewer than `FEWEST` have.
    """
    halves = np.array([one.half_width for one in alone])
    able = [at for at, one in enumerate(alone) if len(one.pairs) > 1]
    if len(able) >= FEWEST:
        counts = np.array([len(alone[at].pairs) for at in able], dtype=np.float64)
        variances = np.array([np.var(alone[at].pairs, ddof=1) for at in able])
        # Of one pair: means of more pairs scatter less, and would be no family.
        family = moderate_family(Spread(np.maximum(variances, VARIANCE_FLOOR), counts - 1))
        mean = Spread(family.variance / counts, family.df)
        halves[able] = mean.half_width()
    return [
        Compared(one.earlier, one.later, one.log_ratio, float(half) / NORMAL)
        for one, half in zip(alone, halves, strict=True)
    ]
