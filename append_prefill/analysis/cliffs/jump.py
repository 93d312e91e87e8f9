"""Whether TTFT jumps between two points: the test that confirms a cliff, and whether one stands."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from append_prefill.analysis.cliffs.expected import LOG_BOUND
from append_prefill.analysis.summary import FloatArray, log_matrix, t_interval
from append_prefill.records.cliffs import Cliff, CliffSide, Edge, KeptCliff
from append_prefill.records.grounds import Side
from append_prefill.records.launch import Start
from append_prefill.workload.traffic import Condition, Traffic

STANDS = LOG_BOUND / 2
"""Of a cliff that was confirmed to be more than 15 %: beyond half of that it is still there, below
it has gone. One cut for both, so that what is neither is only a matter of noise."""


@dataclass(frozen=True, slots=True)
class Jump:
    """A jump on the log scale with its 95 % interval over launches, and p of H0: <= the bound.

    `low`, `high` and `p` are None where one launch is all.
    """

    log_ratio: float
    low: float | None
    high: float | None
    p: float | None
    launches: int

    @property
    def ratio(self) -> float:
        return math.exp(self.log_ratio)


def jump_of(contrasts: Sequence[float] | FloatArray) -> Jump | None:
    """From one log ratio a launch, what is expected taken off; None without any.

    One-sided t test over launches, the replicates: what a cliff is has been chosen by another
    launch's samples, which are not among them.
    """
    values = np.asarray(contrasts)
    if not values.size:
        return None
    interval = t_interval(values)
    if interval.low is None or interval.high is None:
        return Jump(interval.value, None, None, None, 1)
    beyond = interval.value - LOG_BOUND
    se = float(values.std(ddof=1)) / math.sqrt(values.size)
    # Without scatter, as of a simulated server, there is nothing to test.
    t = beyond / se if se > 0 else math.inf if beyond > 0 else -math.inf
    p = float(special.stdtr(values.size - 1, -t))
    return Jump(interval.value, interval.low, interval.high, p, int(values.size))


def holm(p_values: Sequence[float], rate: float) -> list[bool]:
    """Which hypotheses are rejected at a familywise rate (Holm, Scand. J. Statist. 6, 1979)."""
    rejected = [False] * len(p_values)
    for rank, index in enumerate(np.argsort(p_values)):
        if p_values[index] > rate / (len(p_values) - rank):
            break
        rejected[index] = True
    return rejected


def contrasts_of(log_ms: FloatArray, edge: Edge) -> FloatArray:
    """Log ratios beyond what is expected; `log_ms` has shape (launches, 2), fast and slow.

    A launch that lacks a point is left out.
    """
    values = log_ms[:, 1] - log_ms[:, 0] - math.log(edge.expected_ratio)
    return np.asarray(values[~np.isnan(values)])


def kept_on(
    starts: Sequence[Start],
    cliffs: Sequence[Cliff],
    sides: Sequence[Side],
    traffic: Mapping[str, Traffic],
) -> list[KeptCliff]:
    """What launches say of kept cliffs, side by side.

    `traffic` is that of an experiment, by id; a cliff of one that is not among them was not
    measured.
    """
    return [
        KeptCliff(
            edge=Edge.model_validate(cliff.model_dump(include=set(Edge.model_fields))),
            found=cliff.ratio,
            found_version=cliff.version,
            sides=[_side(_in_its_traffic(starts, cliff, traffic), cliff, side) for side in sides],
        )
        for cliff in cliffs
    ]


def _in_its_traffic(
    starts: Sequence[Start], cliff: Cliff, traffic: Mapping[str, Traffic]
) -> Sequence[Start]:
    if cliff.experiment is None:
        return starts
    own = traffic.get(cliff.experiment)
    if own is None:
        return []
    conditions = {Condition(own, point) for point in cliff.points}
    return [start.within(conditions) for start in starts]


def _side(starts: Sequence[Start], edge: Edge, side: Side) -> CliffSide:
    own = [start for start in starts if start.side == side]
    found = jump_of(contrasts_of(log_matrix(own, edge.points), edge))
    if found is None:
        return CliffSide(side=side, ratio=None, low=None, high=None, standing=None)
    if found.low is None or found.high is None:
        return CliffSide(side=side, ratio=found.ratio, low=None, high=None, standing=None)
    standing = True if found.low > STANDS else False if found.high < STANDS else None
    return CliffSide(
        side=side,
        ratio=found.ratio,
        low=math.exp(found.low),
        high=math.exp(found.high),
        standing=standing,
    )
