"""Requests in company: how many a second came to their end, and whether that is all that came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median

from append_prefill.analysis.summary import Interval, geometric_interval
from append_prefill.records.launch import TrafficSeries

KEEPS_UP = 0.9
"""The part of what was offered that a server which keeps up completes. From the last request's
being due to its end it waits one more TTFT, some hundredths of a window of some dozens; where a
queue grows, what is left in it at the end counts in full."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """Requests a second from when the first was due: until the last was, and until all had ended.

    `offered_per_s` is None where all were due at once.
    """

    offered_per_s: float | None
    completed_per_s: float

    @property
    def saturation_per_s(self) -> float | None:
        """What was completed where that is not what was offered; None where the server kept up."""
        offered = self.offered_per_s
        if offered is None or self.completed_per_s >= KEEPS_UP * offered:
            return None
        return self.completed_per_s


def throughput(series: Sequence[TrafficSeries]) -> Throughput | None:
    """The median over all units of the series, those of one condition; None without a unit.

    A request that is not valid counts in neither rate.
    """
    offered, completed = [], []
    for one in series:
        samples = zip(one.block, one.due_ms, one.e2e_ms, strict=False)
        for _, unit in groupby(samples, key=lambda sample: sample[0]):
            ends = [(due_ms, due_ms + e2e_ms) for _, due_ms, e2e_ms in unit if due_ms is not None]
            if not ends:
                continue
            last_due_ms, last_ms = (max(column) for column in zip(*ends, strict=True))
            completed.append(1000 * len(ends) / last_ms)
            if last_due_ms > 0:
                offered.append(1000 * len(ends) / last_due_ms)
    if not completed:
        return None
    return Throughput(median(offered) if offered else None, median(completed))


def ratios(own: dict[int, float], alone: dict[int, float]) -> Interval | None:
    """Of values by launch, over the launches that have both; None where none has."""
    both = sorted(own.keys() & alone.keys())
    return geometric_interval([own[index] / alone[index] for index in both]) if both else None
