"""Line charts of TTFT over one axis, with what the change was below: geometry only.

A `Chart` is plain numbers for `templates/chart.svg.j2`; colours are the stylesheet's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from append_prefill.records.run import PointSummary, Run
from append_prefill.report import format as fmt
from append_prefill.report.names import baseline_name, candidate_name, reference_name
from append_prefill.report.panel import PANEL_BOTTOM, Mark, Panel, panel_of
from append_prefill.report.scales import (
    Scale,
    Tick,
    round_values,
    round_values_log,
    thinned,
)
from append_prefill.report.spreads import Spread, spreads_of
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile

# As wide as a phone: three stand side by side on a laptop, and no label is ever scaled below 11 px.
WIDTH, LEFT, RIGHT, TOP = 380.0, 46.0, 370.0, 12.0
BOTTOM = 170.0
# From here on a linear axis squeezes the low points into one line.
LOG_SPREAD = 6.0
# Dots of single launches stand this far beside their point, the sides on different sides.
ASIDE = 4.0

Axis = Literal["append", "context", "total", "rate"]
Role = Literal["candidate", "reference", "baseline"]
AXIS_LABELS: dict[Axis, str] = {
    "append": "append tokens m (log)",
    "context": "context tokens L (log)",
    "total": "total tokens N = L + m (log)",
    "rate": "cache rate r = L / N",
}


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


def experiments_of(run: Run, profile: Profile | None) -> list[tuple[str, str, list[Point]]]:
    """(id, title, measured points) of every experiment with two points or more."""
    measured = {p.point for p in run.points}
    if profile is not None:
        named = [(e.id, e.title, list(e.as_points)) for e in profile.experiments]
    else:
        groups: dict[str, list[Point]] = {}
        for summary in run.points:
            for name in summary.experiment:
                groups.setdefault(name, []).append(summary.point)
        named = [(name, name.replace("_", " "), points) for name, points in groups.items()]
    found = [(i, title, [p for p in points if p in measured]) for i, title, points in named]
    return [entry for entry in found if len(entry[2]) > 1]


def charts_of(run: Run, profile: Profile | None, baseline: Run | None) -> list[Chart]:
    """One chart an experiment, in the profile's order."""
    must_catch = profile.policy.must_catch if profile else None
    charts = [
        _chart(run, baseline, name=name, title=title, points=points, must_catch=must_catch)
        for name, title, points in experiments_of(run, profile)
    ]
    return [chart for chart in charts if chart is not None]


@dataclass(frozen=True, slots=True)
class _Value:
    at: float
    median: float
    low: float | None
    high: float | None
    point: Point


def _along(axis: Axis, point: Point) -> float:
    return {
        "append": float(point.append_tokens),
        "context": float(point.context_tokens),
        "total": float(point.total_tokens),
        "rate": point.cache_rate,
    }[axis]


def _summaries(points: Sequence[Point], rows: Sequence[PointSummary], axis: Axis) -> list[_Value]:
    by_point = {row.point: row for row in rows}
    found = [(p, by_point[p]) for p in points if p in by_point]
    values = [
        _Value(_along(axis, p), row.median_ms, row.low_ms, row.high_ms, p)
        for p, row in found
        if row.median_ms is not None
    ]
    return sorted(values, key=lambda v: v.at)


def _sides(
    run: Run, baseline: Run | None, points: Sequence[Point], axis: Axis
) -> list[tuple[Role, str, list[_Value]]]:
    sides: list[tuple[Role, str, list[_Value]]] = [
        ("candidate", candidate_name(run), _summaries(points, run.points, axis))
    ]
    comparison = run.comparison
    stored = _summaries(points, baseline.points, axis) if baseline else []
    if comparison is not None:
        effects = {e.point: e for e in comparison.points}
        referred = sorted(
            (
                _Value(_along(axis, p), effects[p].reference_ms or 0.0, None, None, p)
                for p in points
                if p in effects and effects[p].reference_ms is not None
            ),
            key=lambda v: v.at,
        )
        if comparison.kind == "baseline" and stored:
            # The stored run has the same medians and their intervals besides.
            referred, stored = stored, []
        sides.append(("reference", reference_name(comparison, run), referred))
    if baseline is not None:
        sides.append(("baseline", baseline_name(baseline), stored))
    return [side for side in sides if side[2]]


def _chart(
    run: Run,
    baseline: Run | None,
    *,
    name: str,
    title: str,
    points: Sequence[Point],
    must_catch: float | None,
) -> Chart | None:
    axis, fixed = axis_of(points)
    sides = _sides(run, baseline, points, axis)
    values = [v for _, _, side in sides for v in side]
    if not values:
        return None
    x = _x_scale(values, axis)
    y, y_ticks = _y_scale(values)
    panel = panel_of(run.comparison, [(_along(axis, p), p) for p in points], x, must_catch)
    lines = [_line(run, role, side_name, side, x=x, y=y) for role, side_name, side in sides]
    ticks = [Tick(x(v), _tick_text(v, axis)) for v in sorted({v.at for v in values})]
    bottom = PANEL_BOTTOM if panel else BOTTOM
    return Chart(
        id=name,
        title=title,
        description=_describe(sides, axis),
        fixed=fixed,
        x_label=AXIS_LABELS[axis],
        y_label="TTFT, ms (log)" if y.logarithmic else "TTFT, ms",
        x_ticks=thinned(ticks, 34),
        y_ticks=y_ticks,
        lines=lines,
        panel=panel,
        height=bottom + 40,
        plot_bottom=bottom,
    )


def _line(run: Run, role: Role, name: str, values: Sequence[_Value], *, x: Scale, y: Scale) -> Line:
    spreads = {} if role == "baseline" else spreads_of(run, role)
    aside = ASIDE if role == "reference" else -ASIDE
    dots = [
        (round(x(v.at) + aside, 2), y(median))
        for v in values
        if v.point in spreads
        for median in spreads[v.point].launches
    ]
    return Line(role, name, [_mark(v, x, y, role, spreads.get(v.point)) for v in values], dots)


def _x_scale(values: Sequence[_Value], axis: Axis) -> Scale:
    low, high = min(v.at for v in values), max(v.at for v in values)
    if axis == "rate":
        return Scale(0.0, 1.0, LEFT, RIGHT)
    if low == high:
        low, high = low / 2, high * 2
    return Scale(low / 1.12, high * 1.12, LEFT, RIGHT, logarithmic=True)


def _y_scale(values: Sequence[_Value]) -> tuple[Scale, list[Tick]]:
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


def _mark(value: _Value, x: Scale, y: Scale, role: Role, spread: Spread | None) -> Mark:
    known = value.low is not None and value.high is not None
    around = f" ({fmt.interval(value.low, value.high)})" if known else ""
    if spread is not None:
        around += f"; p50 {fmt.number(spread.p50)}, p90 {fmt.number(spread.p90)}"
        around += f", p99 {fmt.number(spread.p99)}"
    point = value.point
    return Mark(
        x=x(value.at),
        y=y(value.median),
        low_y=None if value.low is None else y(value.low),
        high_y=None if value.high is None else y(value.high),
        tip=f"{role}, {fmt.place(point.context_tokens, point.append_tokens)}: "
        f"{fmt.number(value.median)} ms{around}",
        shape={"candidate": "disc", "reference": "square", "baseline": "diamond"}[role],
    )


def _describe(sides: Sequence[tuple[Role, str, list[_Value]]], axis: Axis) -> str:
    parts = []
    for role, name, values in sides:
        figures = ", ".join(f"{_tick_text(v.at, axis)}: {fmt.number(v.median)} ms" for v in values)
        parts.append(f"{role} {name} over {AXIS_LABELS[axis]}: {figures}.")
    return " ".join(parts)
