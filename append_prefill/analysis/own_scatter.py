"""How far the samples of a few launches leave a value open, whatever the launches agree on.

Launches are the replicates, and a t interval over them knows nothing else. Two that agree by chance
make it as narrow as one likes: with two samples each, scattering by 20 %, two launches put a ratio
of 1.1 at 1.295 to 1.298, beyond a bound of 1.2. What samples scatter by within a launch is in what
launches differ by, so no honest interval is narrower than they alone leave it. A jackknife says
that of any value: each block is left out of its launch in turn (Efron & Stein, Annals of Statistics
1981), the launches' parts add up, and every block less one is a degree of freedom.

Simulated with two launches and a ratio of 1.1 under a bound of 1.2: of two samples that scatter by
20 % the t interval says `broken` in 1.1 of 100 runs, this in 0.07 (`python -m benchmarks.chance`).
An interval that is never narrower never says so more often.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
from scipy import special

from append_prefill.analysis.summary import CONFIDENCE, Interval, t_interval
from append_prefill.records.launch import Series, Start

_S = TypeVar("_S", bound=Series)
_T = TypeVar("_T")


def own_half_width(values: Sequence[Sequence[float]]) -> float:
    """Half of the 95 % interval that the launches' own blocks leave; 0 where none has two.

    `values`: by launch, the value of all launches without one of its blocks.
    """
    variance, df = 0.0, 0
    for of_launch in values:
        if of_launch:
            blocks = len(of_launch)
            variance += (blocks - 1) * float(np.var(of_launch))
            df += blocks - 1
    return float(special.stdtrit(df, (1 + CONFIDENCE) / 2)) * math.sqrt(variance) if df else 0.0


def at_least(interval: Interval, half_width: float) -> Interval:
    """An interval that reaches so far to either side of its value; one launch's stays none."""
    if interval.low is None or interval.high is None:
        return interval
    return Interval(
        interval.value,
        min(interval.low, interval.value - half_width),
        max(interval.high, interval.value + half_width),
    )


def launch_interval(values: Sequence[float], without: Sequence[Sequence[float]]) -> Interval:
    """`t_interval` of one value a launch, as wide as their own samples leave it at the least.

    `without`: by launch, its value without one of its samples, or blocks of them. Raises ValueError
    on no value.
    """
    of_mean = [[value / len(values) for value in of_launch] for of_launch in without]
    return at_least(t_interval(values), own_half_width(of_mean))


def leave_one_out(samples: Sequence[_T]) -> list[list[_T]]:
    """The samples without each of them in turn; of one alone nothing is left, so nothing."""
    if len(samples) < 2:
        return []
    return [[*samples[:index], *samples[index + 1 :]] for index in range(len(samples))]


def without_each_block(start: Start) -> Iterator[Start]:
    """The launch without one of its blocks, for each of which it has a valid sample."""
    every = (*start.series, *start.traffic)
    for block in sorted({block for series in every for block in series.block}):
        yield start.model_copy(
            update={
                "series": [_without(series, block) for series in start.series],
                "traffic": [_without(series, block) for series in start.traffic],
            }
        )


def _without(series: _S, block: int) -> _S:
    """A copy without the samples of that block; the lists stay parallel, empty ones empty."""
    kept = [index for index, of in enumerate(series.block) if of != block]
    if len(kept) == len(series.block):
        return series
    lists = {
        name: [value[index] for index in kept]
        for name, value in series
        if name != "void" and isinstance(value, list) and value
    }
    return series.model_copy(update=lists)
