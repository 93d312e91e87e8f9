"""Launches or samples: how a comparison side by side spends its minutes best.

A launch costs half a minute and more before the first sample, and only more launches shrink what a
pair's ratio scatters by beyond its rounds; rounds are cheap and shrink the rest. Which is worth
more is told by the components of the noise (`analysis.components`) and by what things cost here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from append_prefill.analysis.detection import MAX_STARTS
from append_prefill.analysis.rounds import ROUNDS_MIN

SAMPLES_MAX = 500
"""More samples per point and launch than a launch is measured for: on an H100 twenty minutes. What
rounds scatter by, 20 % where it is worst (blocks alternating at the floor), is 1 % after them."""

NEIGHBOURS = 2
"""Splits shown on either side of the best, by their launches."""

Power = Callable[[int, int], Mapping[str, float | None]]
"""Launches per side and samples per launch to the effects of `power.side_by_side`."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds of one launch per side until it is measured, and of one block of every side."""

    launch_s: float
    round_s: float

    def seconds(self, starts: int, samples: int) -> float:
        return starts * (self.launch_s + samples * self.round_s)


@dataclass(frozen=True, slots=True)
class Split:
    """So many launches per side of so many samples, what they take and what they detect.

    Effects are relative: everywhere, and in one stratum alone (None where that cannot be told).
    """

    starts: int
    samples: int
    minutes: float
    mde_side_by_side: float | None
    mde_floor: float | None
    mde_compute: float | None

    @property
    def sees(self) -> tuple[float, ...]:
        """The effects to a tenth of a per cent, by which splits are told apart."""
        effects = (self.mde_side_by_side, self.mde_floor, self.mde_compute)
        return tuple(math.inf if effect is None else round(effect, 3) for effect in effects)


@dataclass(frozen=True, slots=True)
class Choice:
    """The splits considered, by their launches, and the best of them; None where none will do."""

    splits: tuple[Split, ...]
    best: Split | None

    @property
    def around(self) -> tuple[Split, ...]:
        """The best and its neighbours."""
        if self.best is None:
            return ()
        at = self.splits.index(self.best)
        return self.splits[max(0, at - NEIGHBOURS) : at + NEIGHBOURS + 1]


def _split(power: Power, costs: Costs, starts: int, samples: int) -> Split:
    minutes = costs.seconds(starts, samples) / 60
    effects = power(starts, samples)
    return Split(
        starts,
        samples,
        minutes,
        effects["mde_side_by_side"],
        effects["mde_floor"],
        effects["mde_compute"],
    )


def for_minutes(power: Power, costs: Costs, minutes: float) -> Choice:
    """The split of at most `minutes` that detects the least effect everywhere.

    For each number of launches as many samples as there is time for. Where effects are alike, the
    one that detects less in a stratum, then that of fewer launches.
    """
    splits = []
    for starts in range(2, MAX_STARTS + 1):
        left_s = minutes * 60 / starts - costs.launch_s
        samples = min(SAMPLES_MAX, int(left_s / costs.round_s + 1e-9))
        if samples < ROUNDS_MIN:
            break
        splits.append(_split(power, costs, starts, samples))
    told = [split for split in splits if split.mde_side_by_side is not None]
    return Choice(tuple(splits), min(told, key=lambda split: split.sees, default=None))


def for_effect(power: Power, costs: Costs, effect: float) -> Choice:
    """The split of the fewest minutes that detects `effect` everywhere.

    For each number of launches as few samples as will do.
    """
    splits: list[Split] = []
    for starts in range(2, MAX_STARTS + 1):
        fastest = min((split.minutes for split in splits), default=math.inf)
        # A few more are looked at, since they are shown beside the best.
        beyond = [split for split in splits if split.minutes > fastest]
        if costs.seconds(starts, ROUNDS_MIN) / 60 >= fastest and len(beyond) >= NEIGHBOURS:
            break
        samples = _fewest_samples(power, starts, effect)
        if samples is not None:
            splits.append(_split(power, costs, starts, samples))
    best = min(splits, key=lambda split: split.minutes, default=None)
    return Choice(tuple(splits), best)


def _fewest_samples(power: Power, starts: int, effect: float) -> int | None:
    def enough(samples: int) -> bool:
        found = power(starts, samples)["mde_side_by_side"]
        return found is not None and found <= effect

    # Upwards, and not from the most: what a record of few rounds vouches for sinks as rounds grow,
    # so that far more of them may be found to show a little less.
    low, high = ROUNDS_MIN - 1, ROUNDS_MIN
    while not enough(high):
        if high == SAMPLES_MAX:
            return None
        low, high = high, min(SAMPLES_MAX, high + high // 2)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
