"""Axes: a value in, a coordinate out; and where the ticks go."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps [low, high] onto [start, end] pixels, linearly or logarithmically.

    Raises ValueError for an empty range, or for a logarithmic one that reaches zero.
    """

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"an axis needs low < high, not {self.low} and {self.high}")
        if self.logarithmic and self.low <= 0:
            raise ValueError(f"a logarithmic axis cannot reach {self.low}")

    def __call__(self, value: float) -> float:
        """The pixel of `value`, rounded to a hundredth; outside the range it is clamped."""
        value = min(max(value, self.low), self.high)
        if self.logarithmic:
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return round(self.start + part * (self.end - self.start), 2)


@dataclass(frozen=True, slots=True)
class Tick:
    """One tick: its pixel and its text."""

    at: float
    text: str


def round_values(low: float, high: float, wanted: int) -> list[float]:
    """About `wanted` values 1, 2 or 5 times a power of ten within [low, high]."""
    raw = (high - low) / max(wanted, 1)
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(s * magnitude for s in (1, 2, 5, 10) if s * magnitude >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def round_values_log(low: float, high: float) -> list[float]:
    """Values 1, 2 and 5 times powers of ten within [low, high]."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    return [v for v in values if low <= v <= high]


def thinned(ticks: Sequence[Tick], gap: float) -> list[Tick]:
    """`ticks` less those closer than `gap` to one already kept; first and last stay."""
    if len(ticks) < 2:
        return list(ticks)
    kept = [ticks[0]]
    last = ticks[-1]
    for tick in ticks[1:-1]:
        if tick.at - kept[-1].at >= gap and last.at - tick.at >= gap:
            kept.append(tick)
    return [*kept, last] if last.at - kept[-1].at >= gap / 2 else kept
