"""Line charts of TTFT over one axis, with what the change was below: geometry only.

A `Chart` is plain numbers for `templates/chart.svg.j2`; colours are the stylesheet's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from append_prefill.records.comparison import Comparison
from append_prefill.report import format as fmt
from append_prefill.report.panel import PANEL_BOTTOM, Mark, Panel, panel_of, place_of
from append_prefill.report.scales import (
    Scale,
    Tick,
    round_values,
    round_values_log,
    thinned,
)
from append_prefill.report.spreads import Spread
from append_prefill.workload.points import Point

# As wide as a phone: three stand side by side on a laptop, and no label is ever scaled below 11 px.
WIDTH, LEFT, RIGHT, TOP = 380.0, 46.0, 370.0, 12.0
BOTTOM = 170.0
# From here on a linear axis squeezes the low points into one line.
LOG_SPREAD = 6.0
# Dots of single launches stand this far beside their point, the sides on different sides.
ASIDE = 4.0

Axis = Literal["append", "context", "total", "rate", "turn"]
Role = Literal["candidate", "reference", "baseline"]
AXIS_LABELS: dict[Axis, str] = {
    "append": "append tokens m (log)",
    "context": "context tokens L (log)",
    "total": "total tokens N = L + m (log)",
    "rate": "cache rate r = L / N",
    "turn": "turn of the conversation",
}


@dataclass(frozen=True, slots=True)
class Value:
    """A median in ms with its interval (None: none known), `at` on the x axis.

    `spread` is of the samples behind it, where they are at hand; `note` ends what a pointer reads.
    """

    at: float
    median: float
    low: float | None
    high: float | None
    where: str
    spread: Spread | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Curve:
    """One side's values, sorted along the axis; `called` where its role is not what it is."""

    role: Role
    name: str
    values: list[Value]
    called: str = ""


@dataclass(frozen=True, slots=True)
class Changes:
    """What the panel below shows: the comparison at each (x value, point), `named` in its tips."""

    comparison: Comparison | None
    places: list[tuple[float, Point]]
    must_catch: float | None
    named: Callable[[Point], str] = place_of


@dataclass(frozen=True, slots=True)
class Line:
    """One side's values along the axis; `dots` are the medians of single launches, (x, y)."""

    role: Role
    name: str
    marks: list[Mark]
    dots: list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Chart:
    """One experiment, ready to be drawn. `description` is its text alternative."""

    id: str
    title: str
    description: str
    fixed: str
    x_label: str
    y_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[Line]
    panel: Panel | None
    height: float
    plot_bottom: float


def axis_of(points: Sequence[Point]) -> tuple[Axis, str]:
    """What varies over `points`, and what is held fixed, in words."""
    contexts = {p.context_tokens for p in points}
    appends = {p.append_tokens for p in points}
    totals = {p.total_tokens for p in points}
    if len(contexts) == 1 and len(appends) > 1:
        return "append", f"L = {fmt.count(min(contexts))} fixed"
    if len(appends) == 1 and len(contexts) > 1:
        return "context", f"m = {fmt.count(min(appends))} fixed"
    if len(totals) == 1 and len(points) > 1:
        return "rate", f"N = {fmt.count(min(totals))} fixed"
    rates = [p.cache_rate for p in points]
    if max(rates) - min(rates) < 0.02:
        return "total", f"r = {fmt.number(sum(rates) / len(rates), 2)} fixed"
    return "total", "L and m both vary"


def along(axis: Axis, point: Point) -> float:
    """Where a point stands on an axis of its own lengths. Raises KeyError for that of turns."""
    return {
        "append": float(point.append_tokens),
        "context": float(point.context_tokens),
        "total": float(point.total_tokens),
        "rate": point.cache_rate,
    }[axis]


def chart_of(
    curves: Sequence[Curve], *, name: str, title: str, axis: Axis, fixed: str, changes: Changes
) -> Chart | None:
    """The curves as a chart; None if none has a value."""
    values = [v for curve in curves for v in curve.values]
    if not values:
        return None
    x = _x_scale(values, axis)
    y, y_ticks = _y_scale(values)
    panel = panel_of(changes.comparison, changes.places, x, changes.must_catch, changes.named)
    ticks = [Tick(x(v), _tick_text(v, axis)) for v in sorted({v.at for v in values})]
    bottom = PANEL_BOTTOM if panel else BOTTOM
    return Chart(
        id=name,
        title=title,
        description=_describe(curves, axis),
        fixed=fixed,
        x_label=AXIS_LABELS[axis],
        y_label="TTFT, ms (log)" if y.logarithmic else "TTFT, ms",
        x_ticks=thinned(ticks, 34),
        y_ticks=y_ticks,
        lines=[_line(curve, x, y) for curve in curves],
        panel=panel,
        height=bottom + 40,
        plot_bottom=bottom,
    )


def _line(curve: Curve, x: Scale, y: Scale) -> Line:
    aside = ASIDE if curve.role == "reference" else -ASIDE
    dots = [
        (round(x(v.at) + aside, 2), y(median))
        for v in curve.values
        if v.spread is not None
        for median in v.spread.launches
    ]
    marks = [_mark(v, x, y, curve) for v in curve.values]
    return Line(curve.role, curve.name, marks, dots)


def _x_scale(values: Sequence[Value], axis: Axis) -> Scale:
    low, high = min(v.at for v in values), max(v.at for v in values)
    if axis == "rate":
        return Scale(0.0, 1.0, LEFT, RIGHT)
    if axis == "turn":
        return Scale(low - 0.5, high + 0.5, LEFT, RIGHT)
    if low == high:
        low, high = low / 2, high * 2
    return Scale(low / 1.12, high * 1.12, LEFT, RIGHT, logarithmic=True)


def _y_scale(values: Sequence[Value]) -> tuple[Scale, list[Tick]]:
    lows = [v.median if v.low is None else min(v.low, v.median) for v in values]
    highs = [v.median if v.high is None else max(v.high, v.median) for v in values]
    positive = [low for low in lows if low > 0]
    if positive and len(positive) == len(lows) and max(highs) / min(positive) > LOG_SPREAD:
        scale = Scale(min(positive) / 1.15, max(highs) * 1.15, BOTTOM, TOP, logarithmic=True)
        at = round_values_log(scale.low, scale.high)
    else:
        # From zero: "flat" must look flat, and a tenth must look like a tenth.
        scale = Scale(0.0, max(highs) * 1.08, BOTTOM, TOP)
        at = round_values(0.0, scale.high, 4)
    return scale, [Tick(scale(v), fmt.number(v) if v % 1 else fmt.count(int(v))) for v in at]


def _tick_text(value: float, axis: Axis) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if axis == "rate" else fmt.count(round(value))


def _mark(value: Value, x: Scale, y: Scale, curve: Curve) -> Mark:
    known = value.low is not None and value.high is not None
    around = f" ({fmt.interval(value.low, value.high)})" if known else ""
    spread = value.spread
    if spread is not None:
        around += f"; p50 {fmt.number(spread.p50)}, p90 {fmt.number(spread.p90)}"
        around += f", p99 {fmt.number(spread.p99)}"
    who = curve.called or curve.role
    return Mark(
        x=x(value.at),
        y=y(value.median),
        low_y=None if value.low is None else y(value.low),
        high_y=None if value.high is None else y(value.high),
        tip=f"{who}, {value.where}: {fmt.number(value.median)} ms{around}{value.note}",
        shape={"candidate": "disc", "reference": "square", "baseline": "diamond"}[curve.role],
    )


def _describe(curves: Sequence[Curve], axis: Axis) -> str:
    parts = []
    for curve in curves:
        figures = ", ".join(
            f"{_tick_text(v.at, axis)}: {fmt.number(v.median)} ms" for v in curve.values
        )
        said = curve.name if curve.called else f"{curve.role} {curve.name}"
        parts.append(f"{said} over {AXIS_LABELS[axis]}: {figures}.")
    return " ".join(parts)
