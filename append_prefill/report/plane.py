"""The (L, m) plane of change: the fitted change as a halo of colour at each point, and on it the
point's own measured change by marker and number. Drawn twice, for wide and for narrow screens.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from append_prefill.records.run import Run
from append_prefill.report import format as fmt
from append_prefill.report.scales import Scale, Tick, thinned
from append_prefill.report.words import WORDS, Word, label_of
from append_prefill.workload.points import Point

# At this change the colour is full; the eye tells 3 % from 10 % and needs no more.
FULL_CHANGE = 0.10


@dataclass(frozen=True, slots=True)
class Frame:
    """A drawing's size in px.

    `char` and `line` are a label's, in the widest of the fonts a browser may choose (DejaVu Sans
    bold), so that no label touches another.
    """

    name: str
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    radius: float
    halo: float
    char: float
    line: float


WIDE = Frame("wide", 680, 452, 56, 668, 10, 406, radius=6.5, halo=13, char=8.9, line=16)
NARROW = Frame("narrow", 370, 400, 50, 364, 8, 356, radius=5, halo=10, char=8.2, line=14)


@dataclass(frozen=True, slots=True)
class Cell:
    """One point: where, which marker, how strongly coloured, and its label if there was room.

    `hue` names the direction of the measured change and `strength` is 0 (none) to 1; `fit_hue` and
    `fit_strength` are those of the fitted change, None where nothing was fitted.
    """

    x: float
    y: float
    shape: str
    tone: str
    hue: str
    strength: float
    fit_hue: str
    fit_strength: float | None
    tip: str
    label: str
    label_x: float | None
    label_y: float | None
    anchor: str


@dataclass(frozen=True, slots=True)
class Plane:
    """The plane, ready to be drawn. `compares` is False where cells show ms, not change.

    `legend`: each shape that is drawn, with the words it stands for.
    """

    frame: Frame
    cells: list[Cell]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    compares: bool
    fitted: bool
    legend: list[tuple[str, str]]
    description: str
    unlabelled: int


@dataclass(frozen=True, slots=True)
class _Entry:
    point: Point
    label: str
    tip: str
    word: Word | None
    change: float | None
    fitted: float | None


def plane_of(run: Run, frame: Frame = WIDE) -> Plane | None:
    """The plane of `run`: changes where there is a reference, else TTFT in ms; None if empty."""
    entries = _compared(run)
    compares = any(e.change is not None for e in entries)
    if not compares:
        entries = _measured(run)
    if not entries:
        return None
    x = _scale([e.point.context_tokens for e in entries], frame.left, frame.right)
    y = _scale([e.point.append_tokens for e in entries], frame.bottom, frame.top)
    cells = _cells(entries, x, y, frame)
    shown = {e.word.word for e in entries if e.word is not None}
    legend: dict[str, str] = {}
    for word in WORDS.values():
        if word.word in shown:
            before = legend.get(word.shape)
            legend[word.shape] = f"{before} / {word.word}" if before else word.word
    return Plane(
        frame=frame,
        cells=cells,
        x_ticks=_ticks(x, 46),
        y_ticks=_ticks(y, 22),
        compares=compares,
        fitted=any(e.fitted is not None for e in entries),
        legend=list(legend.items()),
        description="; ".join(e.tip for e in entries),
        unlabelled=sum(c.label_x is None for c in cells),
    )


def _compared(run: Run) -> list[_Entry]:
    if run.comparison is None:
        return []
    change = run.comparison.change
    model = {} if change is None else {at.point: at for at in change.points}
    entries = []
    for effect in run.comparison.points:
        word, at = label_of(effect), model.get(effect.point)
        tip = (
            f"{fmt.place(effect.context_tokens, effect.append_tokens)}: "
            f"{fmt.change(effect.ratio)} ({fmt.change_interval(effect.low, effect.high)}), "
            f"{word.word}"
        )
        if at is not None:
            tip += f"; fitted {fmt.signed(at.delta_ms)} ms ({fmt.change(at.ratio)})"
        entries.append(
            _Entry(
                effect.point,
                fmt.MISSING if effect.ratio is None else fmt.brief(effect.ratio)[:-2],
                tip,
                word,
                None if effect.ratio is None else math.log(effect.ratio),
                None if at is None else at.ratio - 1,
            )
        )
    return entries


def _measured(run: Run) -> list[_Entry]:
    return [
        _Entry(
            s.point,
            fmt.number(s.median_ms),
            f"{fmt.place(s.context_tokens, s.append_tokens)}: {fmt.number(s.median_ms)} ms",
            None,
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


def _hue(change: float | None) -> str:
    return "none" if not change else "slower" if change > 0 else "faster"


def _strength(change: float | None) -> float:
    return round(min(1.0, abs(change or 0.0) / FULL_CHANGE), 2)


def _cells(entries: list[_Entry], x: Scale, y: Scale, frame: Frame) -> list[Cell]:
    """Places labels greedily: what moved most is labelled first, and keeps its label."""
    centres = [(x(e.point.context_tokens), y(e.point.append_tokens)) for e in entries]
    r = frame.radius + 2
    taken: list[_Box] = [(cx - r, cy - r, cx + r, cy + r) for cx, cy in centres]
    loud = {"bad": 0, "better": 0, "unsure": 1}
    order = sorted(
        range(len(entries)),
        key=lambda i: (
            loud.get(word.tone if (word := entries[i].word) else "", 2),
            -abs(entries[i].change or 0.0),
        ),
    )
    where: dict[int, tuple[float, float, str]] = {}
    for i in order:
        spot = _spot(centres[i], len(entries[i].label) * frame.char, taken, frame)
        if spot is not None:
            where[i], box = spot
            taken.append(box)
    cells = []
    for i, entry in enumerate(entries):
        label_x, label_y, anchor = where.get(i, (None, None, "start"))
        cells.append(
            Cell(
                x=centres[i][0],
                y=centres[i][1],
                shape=entry.word.shape if entry.word else "disc",
                tone=entry.word.tone if entry.word else "plain",
                hue=_hue(entry.change),
                strength=_strength(entry.change),
                fit_hue=_hue(entry.fitted),
                fit_strength=None if entry.fitted is None else _strength(entry.fitted),
                tip=entry.tip,
                label=entry.label,
                label_x=label_x,
                label_y=label_y,
                anchor=anchor,
            )
        )
    return cells


def _spot(
    centre: tuple[float, float], width: float, taken: list[_Box], frame: Frame
) -> tuple[tuple[float, float, str], _Box] | None:
    cx, cy = centre
    off = frame.radius + 4
    half = frame.line / 2
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
        inside = (
            box[0] >= frame.left
            and box[2] <= frame.right
            and box[1] >= frame.top - 8
            and box[3] <= frame.bottom
        )
        if inside and not _overlaps(box, taken):
            return (round(at_x, 2), round(at_y + 4.5, 2), anchor), box
    return None
