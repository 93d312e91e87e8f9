"""The (L, m) plane: one marker a point, shape by verdict, colour by change, text where it fits."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from append_prefill.records.run import Run
from append_prefill.report import format as fmt
from append_prefill.report.scales import Scale, Tick, thinned
from append_prefill.report.words import Word, word_of
from append_prefill.workload.points import Point

WIDTH, HEIGHT = 900.0, 450.0
LEFT, RIGHT, TOP, BOTTOM = 64.0, 876.0, 18.0, 398.0
RADIUS = 7.0
# At this change the colour is full; the eye tells 3 % from 10 % and needs no more.
FULL_CHANGE = 0.10
# Widest of the fonts a browser may choose (DejaVu Sans bold at 13 px), so that no label touches.
_CHAR, _LINE = 8.9, 16.0


@dataclass(frozen=True, slots=True)
class Cell:
    """One point: where, which marker, how strongly coloured, and its label if there was room.

    `strength` is 0 (no change) to 1; `hue` names the direction.
    """

    x: float
    y: float
    shape: str
    tone: str
    hue: str
    strength: float
    title: str
    label: str
    label_x: float | None
    label_y: float | None
    anchor: str


@dataclass(frozen=True, slots=True)
class Plane:
    """The plane, ready to be drawn. `compares` is False where cells show ms, not change."""

    cells: list[Cell]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    compares: bool
    legend: list[Word]
    description: str
    unlabelled: int


@dataclass(frozen=True, slots=True)
class _Entry:
    point: Point
    label: str
    title: str
    verdict: str | None
    change: float | None


def plane_of(run: Run) -> Plane | None:
    """The plane of `run`: changes where there is a reference, else TTFT in ms; None if empty."""
    entries = _compared(run)
    compares = any(e.change is not None for e in entries)
    if not compares:
        entries = _measured(run)
    if not entries:
        return None
    x = _scale([e.point.context_tokens for e in entries], LEFT, RIGHT)
    y = _scale([e.point.append_tokens for e in entries], BOTTOM, TOP)
    cells = _cells(entries, x, y)
    verdicts = dict.fromkeys(e.verdict for e in entries if e.verdict is not None)
    return Plane(
        cells=cells,
        x_ticks=_ticks(x, 46),
        y_ticks=_ticks(y, 22),
        compares=compares,
        legend=[word_of(v) for v in verdicts],
        description="; ".join(e.title for e in entries),
        unlabelled=sum(c.label_x is None for c in cells),
    )


def _compared(run: Run) -> list[_Entry]:
    if run.comparison is None:
        return []
    return [
        _Entry(
            e.point,
            fmt.change(e.ratio).replace("\u00a0%", ""),
            f"{fmt.place(e.context_tokens, e.append_tokens)}: {fmt.change(e.ratio)} "
            f"({fmt.change_interval(e.low, e.high)}), {e.verdict}",
            e.verdict,
            None if e.ratio is None else math.log(e.ratio),
        )
        for e in run.comparison.points
    ]


def _measured(run: Run) -> list[_Entry]:
    return [
        _Entry(
            s.point,
            fmt.number(s.median_ms),
            f"{fmt.place(s.context_tokens, s.append_tokens)}: {fmt.number(s.median_ms)} ms",
            None,
            None,
        )
        for s in run.points
    ]


def _scale(values: list[int], start: float, end: float) -> Scale:
    low, high = min(values) / 1.35, max(values) * 1.35
    return Scale(low, high, start, end, logarithmic=True)


def _ticks(scale: Scale, gap: float) -> list[Tick]:
    powers = range(math.ceil(math.log2(scale.low)), math.floor(math.log2(scale.high)) + 1)
    ticks = [Tick(scale(2.0**k), fmt.count(2**k)) for k in powers if k >= 0]
    return thinned(sorted(ticks, key=lambda t: t.at), gap)


_Box = tuple[float, float, float, float]


def _overlaps(a: _Box, others: Iterable[_Box]) -> bool:
    return any(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3] for b in others)


def _cells(entries: list[_Entry], x: Scale, y: Scale) -> list[Cell]:
    """Places labels greedily: what moved most is labelled first, and keeps its label."""
    centres = [(x(e.point.context_tokens), y(e.point.append_tokens)) for e in entries]
    r = RADIUS + 2
    taken: list[_Box] = [(cx - r, cy - r, cx + r, cy + r) for cx, cy in centres]
    loud = {"regression": 0, "improvement": 0, "inconclusive": 1}
    order = sorted(
        range(len(entries)),
        key=lambda i: (loud.get(entries[i].verdict or "", 2), -abs(entries[i].change or 0.0)),
    )
    where: dict[int, tuple[float, float, str]] = {}
    for i in order:
        spot = _spot(centres[i], len(entries[i].label) * _CHAR, taken)
        if spot is not None:
            where[i], box = spot
            taken.append(box)
    cells = []
    for i, entry in enumerate(entries):
        word = word_of(entry.verdict) if entry.verdict else None
        change = entry.change
        label_x, label_y, anchor = where.get(i, (None, None, "start"))
        cells.append(
            Cell(
                x=centres[i][0],
                y=centres[i][1],
                shape=word.shape if word else "disc",
                tone=word.tone if word else "plain",
                hue="none" if change is None else "slower" if change > 0 else "faster",
                strength=round(min(1.0, abs(change or 0.0) / FULL_CHANGE), 2),
                title=entry.title,
                label=entry.label,
                label_x=label_x,
                label_y=label_y,
                anchor=anchor,
            )
        )
    return cells


def _spot(
    centre: tuple[float, float], width: float, taken: list[_Box]
) -> tuple[tuple[float, float, str], _Box] | None:
    cx, cy = centre
    off = RADIUS + 4
    half = _LINE / 2
    tries: list[tuple[float, float, str]] = [
        (cx + off, cy, "start"),
        (cx - off, cy, "end"),
        (cx, cy - off - half + 1, "middle"),
        (cx, cy + off + half - 1, "middle"),
        (cx + off - 2, cy - half - 3, "start"),
        (cx + off - 2, cy + half + 3, "start"),
        (cx - off + 2, cy - half - 3, "end"),
        (cx - off + 2, cy + half + 3, "end"),
    ]
    for at_x, at_y, anchor in tries:
        left = {"start": at_x, "end": at_x - width, "middle": at_x - width / 2}[anchor]
        box = (left, at_y - half, left + width, at_y + half)
        inside = box[0] >= LEFT and box[2] <= RIGHT and box[1] >= TOP - 8 and box[3] <= BOTTOM
        if inside and not _overlaps(box, taken):
            return (round(at_x, 2), round(at_y + 4.5, 2), anchor), box
    return None
