"""Where the time on the device went: starting servers, warming them up, measuring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, product
from statistics import median

from append_prefill.records.launch import Start

SLOW_START = 2.0
"""A launch that takes twice as long as its side's median did something the others did not. On an
H200 the first of three compiled kernels (106 s against 45 s) and was 10 % slower throughout."""


@dataclass(frozen=True, slots=True)
class DeviceMinutes:
    """Minutes by what they were spent on, summed over devices; compile runs count as starting."""

    starting: float
    warming_up: float
    measuring: float

    @property
    def total(self) -> float:
        return self.starting + self.warming_up + self.measuring


def minutes_of(starts: Sequence[Start]) -> DeviceMinutes | None:
    """None unless every launch was measured to its end: what an unfinished one took is not known.

    Servers of an interleaved pair start side by side and share the time from then on, so the
    slower launch and the longer measuring of the two count, and both warm-ups, which follow each
    other. To wait for what is launched ahead is starting, too.
    """
    starting = warming_up = measuring = 0.0
    ordered = sorted(starts, key=lambda s: (s.host, s.device, s.pair, s.side))
    for _, group in groupby(ordered, key=lambda s: (s.host, s.device, s.pair)):
        members = list(group)
        together = all(member.interleaved for member in members)
        ready, measured, warm, settle = [], [], [], []
        for member in members:
            starting += member.rehearsal_s or 0.0
            if member.ready_s is None or member.measured_s is None or member.warmup is None:
                return None
            ready.append(member.ready_s)
            measured.append(member.measured_s)
            warm.append(member.warmup.seconds_s)
            settle.append(member.settle_s or 0.0)
        combined = max if together else sum
        starting += combined(ready) + combined(settle)
        warming_up += sum(warm)
        measuring += combined(measured) - combined(settle) - sum(warm)
    if not starts:
        return None
    return DeviceMinutes(starting / 60, warming_up / 60, measuring / 60)


def slow_to_start(starts: Sequence[Start]) -> list[Start]:
    """Launches that took more than `SLOW_START` times the median of their like to be ready.

    Alike are launches of one side that were held before their turn, or were not. None where there
    are fewer than three alike, for then no one can say which is the odd one.
    """
    found = []
    for side, held in product(("candidate", "reference"), (False, True)):
        ready = [
            (s, s.ready_s)
            for s in starts
            if s.side == side and (s.held_s is not None) is held and s.ready_s is not None
        ]
        if len(ready) >= 3:
            limit = SLOW_START * median(seconds for _, seconds in ready)
            found += [start for start, seconds in ready if seconds > limit]
    return found
