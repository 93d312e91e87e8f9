"""Trends as geometry for `templates/history.html.j2`, and as a line of text.

A chart is never more columns than can be told apart: a thousand sessions take no more room on the
page than two hundred, each column then standing for the mean of its sessions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from append_prefill.analysis.summary import FloatArray
from append_prefill.analysis.trend.series import Trend
from append_prefill.records.history.entry import Entry
from append_prefill.report import format as fmt
from append_prefill.report.history.words import change_words, title_of, unit_of
from append_prefill.report.scales import Scale, Tick, round_values

WIDTH, LEFT, RIGHT, TOP, BOTTOM, HEIGHT = 380.0, 46.0, 370.0, 10.0, 120.0, 142.0
COLUMNS = 160
SPARK_COLUMNS = 60
SPARK_WIDTH, SPARK_HEIGHT = 120.0, 20.0

_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Mark:
    """A change point: where, in which tone (`bad` is slower), and what there is to say of it."""

    x: float
    tone: str
    tip: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """One trend, ready to be drawn. `description` is its text alternative."""

    title: str
    unit: str
    description: str
    line: str
    band: str
    zero: float | None
    marks: list[Mark]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    last: str
    step: str


def drawn(trend: Trend, sessions: Sequence[Entry]) -> Drawn:
    """A chart of the trend over its sessions."""
    relative = trend.line == "reference"
    value, low, high = (
        (array - 1) * 100 if relative else array for array in (trend.value, trend.low, trend.high)
    )
    at, middle = _binned(value)
    _, bottom = _binned(low)
    _, top = _binned(high)
    y, y_ticks = _axis(middle, relative=relative)
    x = _along(sessions)
    points = [(x(i), y(v)) for i, v in zip(at, middle, strict=True) if math.isfinite(v)]
    band = [
        (x(i), y(lo), y(hi))
        for i, lo, hi in zip(at, bottom, top, strict=True)
        if math.isfinite(lo) and math.isfinite(hi)
    ]
    reference = _reference(sessions) if relative else None
    unit = "%" if relative else unit_of(trend.quantity)
    marks = marks_of(trend, sessions)
    last = fmt.change(trend.last) if relative else f"{fmt.number(trend.last)} {unit}".strip()
    title = title_of(trend.quantity, reference)
    told = "; ".join(mark.tip for mark in marks) or "none"
    return Drawn(
        title=title,
        unit=unit,
        description=f"{title} over {fmt.plural(len(value), 'session')}: last {last}. "
        f"Change points: {told}.",
        line=_line(points),
        band=_area(band),
        zero=y(0.0) if relative else None,
        marks=marks,
        x_ticks=_dates(sessions, x),
        y_ticks=y_ticks,
        last=last,
        step=fmt.change(trend.step),
    )


def marks_of(trend: Trend, sessions: Sequence[Entry]) -> list[Mark]:
    """The trend's change points."""
    x = _along(sessions)
    return [
        Mark(
            x(change.at - 0.5),
            "bad" if change.size > 0 else "better",
            change_words(change, sessions[change.at].name, sessions[change.at].created_at),
        )
        for change in trend.changes
    ]


def _along(sessions: Sequence[Entry]) -> Scale:
    return Scale(-0.5, max(len(sessions) - 0.5, 0.5), LEFT, RIGHT)


def spark(trend: Trend) -> str:
    """The path of a line without axes, in a box of `SPARK_WIDTH` by `SPARK_HEIGHT`."""
    at, middle = _binned(trend.value, SPARK_COLUMNS)
    known = middle[np.isfinite(middle)]
    if not len(known):
        return ""
    span = max(float(np.ptp(known)), 0.02 * abs(float(known.mean())), 1e-9)
    mid = (float(known.max()) + float(known.min())) / 2
    y = Scale(mid - span / 2, mid + span / 2, SPARK_HEIGHT - 2, 2)
    x = Scale(-0.5, max(len(trend.value) - 0.5, 0.5), 1, SPARK_WIDTH - 1)
    return _line([(x(i), y(v)) for i, v in zip(at, middle, strict=True) if math.isfinite(v)])


def text_spark(trend: Trend, columns: int = 30) -> str:
    """The last sessions as bars of text, one each; a space where one has no value."""
    values = trend.value[-columns:]
    known = values[np.isfinite(values)]
    if not len(known):
        return ""
    low, high = float(known.min()), float(known.max())
    # What is less than a thing worth a name is no wave.
    span = max(high - low, 0.015 * abs(high), 1e-9)
    low -= (span - (high - low)) / 2
    steps = len(_BARS) - 1
    return "".join(
        _BARS[min(steps, int((v - low) / span * len(_BARS)))] if math.isfinite(v) else " "
        for v in values
    )


def _reference(sessions: Sequence[Entry]) -> str:
    """The one of the last session that has one."""
    named = [s.yardstick.reference for s in sessions if s.yardstick is not None]
    return named[-1] if named else "the reference"


def _binned(values: FloatArray, columns: int = COLUMNS) -> tuple[FloatArray, FloatArray]:
    """Middles (in sessions) and means of at most so many columns; NaN where none has a value."""
    edges = np.linspace(0, len(values), min(len(values), columns) + 1).round().astype(int)
    at, means = [], []
    for start, end in pairwise(edges):
        some = values[start:end]
        some = some[np.isfinite(some)]
        at.append((start + end - 1) / 2)
        means.append(float(some.mean()) if len(some) else math.nan)
    return np.array(at), np.array(means)


def _axis(values: FloatArray, *, relative: bool) -> tuple[Scale, list[Tick]]:
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    if relative:
        low, high = min(low, 0.0), max(high, 0.0)
    # A tenth of the value, or two per cent, so that noise does not fill the chart.
    least = 2.0 if relative else 0.1 * max(abs(low), abs(high), 1e-9)
    pad = max((least - (high - low)) / 2, 0.08 * (high - low), 1e-9)
    scale = Scale(low - pad, high + pad, BOTTOM, TOP)
    at = round_values(scale.low, scale.high, 4)
    return scale, [Tick(scale(v), fmt.exact(v)) for v in at]


def _dates(sessions: Sequence[Entry], x: Scale) -> list[Tick]:
    """The first, the middle and the last session's."""
    chosen = sorted({0, len(sessions) // 2, len(sessions) - 1})
    return [Tick(x(i), f"{sessions[i].created_at:%Y-%m-%d}") for i in chosen]


def _line(points: Sequence[tuple[float, float]]) -> str:
    return "".join(f"{'L' if i else 'M'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(points))


def _area(band: Sequence[tuple[float, float, float]]) -> str:
    if len(band) < 2:
        return ""
    there = [(x, high) for x, _, high in band]
    back = [(x, low) for x, low, _ in reversed(band)]
    return f"{_line([*there, *back])}Z"
