"""The level over the list of positions: geometry only, for `templates/bisection.html.j2`."""

from __future__ import annotations

from dataclasses import dataclass

from append_prefill.records.bisection import Bisection, ListedPosition
from append_prefill.report import format as fmt
from append_prefill.report.scales import Scale, Tick, round_values

WIDTH, HEIGHT = 860.0, 340.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 850.0, 12.0, 232.0
# A name slanted by 40 degrees takes so much of the axis; more positions show some of their names.
_NAME_GAP = 17.0
_NAME_CHARACTERS = 14
_Y_TICKS = 6


@dataclass(frozen=True, slots=True)
class Dot:
    """A position with a level: where, its interval's ends, and what it says when pointed at."""

    x: float
    y: float
    low_y: float
    high_y: float
    tip: str


@dataclass(frozen=True, slots=True)
class Band:
    """A step: from where to where on the axis, and whether it is slower."""

    x: float
    width: float
    slower: bool
    tip: str


@dataclass(frozen=True, slots=True)
class Picture:
    """Ready to be drawn; `description` is its text alternative."""

    dots: list[Dot]
    bands: list[Band]
    crosses: list[Tick]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    zero_y: float
    description: str


def picture_of(found: Bisection) -> Picture | None:
    """The levels with their intervals, the steps and what was left out; None without a level."""
    known = [position for position in found.positions if position.level is not None]
    if not known:
        return None
    names = [position.name for position in found.positions]
    across = Scale(-0.5, len(names) - 0.5, LEFT, RIGHT)
    levels = [position.level for position in known if position.level is not None]
    low = min(0.0, *(100 * (level.low - 1) for level in levels))
    high = max(0.0, *(100 * (level.high - 1) for level in levels))
    room = 0.08 * (high - low) or 1.0
    up = Scale(low - room, high + room, BOTTOM, TOP)

    def y(ratio: float) -> float:
        return up(100 * (ratio - 1))

    dots = [
        Dot(across(names.index(p.name)), y(p.level.ratio), y(p.level.low), y(p.level.high), _tip(p))
        for p in known
        if p.level is not None
    ]
    bands = []
    for step in found.steps:
        start, end = across(names.index(step.before)), across(names.index(step.after))
        tip = f"{step.before} to {step.after}: {fmt.change(step.size.ratio)}"
        bands.append(Band(start, round(end - start, 2), step.size.ratio > 1, tip))
    every = max(1, round(_NAME_GAP * len(names) / (RIGHT - LEFT) + 0.5))
    return Picture(
        dots=dots,
        bands=bands,
        crosses=[Tick(across(names.index(p.name)), p.name) for p in found.positions if p.problem],
        x_ticks=[
            Tick(across(at), fmt.shorten(name, _NAME_CHARACTERS))
            for at, name in enumerate(names)
            if at % every == 0 or at == len(names) - 1
        ],
        y_ticks=[
            Tick(up(value), fmt.plain_change(1 + value / 100))
            for value in round_values(low - room, high + room, _Y_TICKS)
        ],
        zero_y=up(0.0),
        description="; ".join(dot.tip for dot in dots),
    )


def _tip(position: ListedPosition) -> str:
    level = position.level
    if level is None:
        return position.name
    interval = fmt.change_interval(level.low, level.high)
    return f"{position.name}: {fmt.change(level.ratio)} ({interval})"
