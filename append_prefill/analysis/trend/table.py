"""The sessions of one history as arrays: what each quantity was, how sure, and how it scatters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from append_prefill.analysis.design import BoolArray
from append_prefill.analysis.summary import FloatArray
from append_prefill.records.history.entry import Entry, Value

ANCHOR = 7
"""Sessions whose median a history is held against that has no reference: a week of them, of which
three may be odd."""

ANCHORED = "the first sessions"

MEDIAN_VARIANCE = float(np.pi / 2)
"""Of the median of normal values over that of their mean."""

SCATTER_SESSIONS = 64
"""Of how many sessions before it a session's scatter is taken: two months, after which a machine
may have become another one."""

LEAST_STEPS = 10
"""Differences between neighbouring sessions from which their scatter is known within a factor of
two, 95 times in 100; with fewer the runs' own intervals have to do."""

_Z = 1.96
_MAD = 1.4826


@dataclass(frozen=True, slots=True)
class Table:
    """Arrays of shape (sessions, quantities), NaN where a session has no value.

    `log`: of the ratio to the `references` of the session. `scatter`: sd of a session, from the
    differences of neighbouring ones, and at least what the runs' own intervals say; `steps`: how
    many differences there were (below `LEAST_STEPS` only the intervals count). `shared`: the
    variance that the reference itself brings to all sessions, in units of `scatter` squared: a
    stored session counts as one, a reference that is measured anew each time for nothing. `slower`:
    what the run's own rule said.
    """

    sessions: tuple[Entry, ...]
    quantities: tuple[str, ...]
    references: tuple[str, ...]
    log: FloatArray
    scatter: FloatArray
    steps: FloatArray
    shared: FloatArray
    slower: BoolArray


@dataclass(frozen=True, slots=True)
class Moment:
    """Which session: its key, when, and the version it measured."""

    key: str
    at: datetime
    version: str

    @classmethod
    def of(cls, entry: Entry) -> Moment:
        return cls(entry.key, entry.created_at, entry.name)


def table_of(sessions: Sequence[Entry]) -> Table:
    """The sessions against their yardsticks; without any against the first `ANCHOR` of them."""
    rows = [_row(entry) for entry in sessions]
    anchors = _anchors(sessions)
    quantities = sorted({v.quantity for row in rows for v in row} | {"level"}, key=_rank)
    column = {quantity: at for at, quantity in enumerate(quantities)}
    shape = (len(sessions), len(quantities))
    log, se = np.full(shape, np.nan), np.full(shape, np.nan)
    slower = np.zeros(shape, dtype=np.bool_)
    references, shared = [], np.zeros(len(sessions))
    for i, (entry, row) in enumerate(zip(sessions, rows, strict=True)):
        base = 0.0
        if entry.yardstick is None:
            references.append(ANCHORED)
            shared[i] = MEDIAN_VARIANCE / ANCHOR
            base = anchors
        else:
            references.append(entry.yardstick.reference)
            shared[i] = float(entry.yardstick.kind == "baseline")
        for value in row:
            at = column[value.quantity]
            if value.value is not None and value.value > 0:
                log[i, at] = np.log(value.value) - base
                slower[i, at] = bool(value.slower)
                se[i, at] = _se(value)
    if shared.any():
        # Both sides of such an interval are a session each, so one of them has half its variance.
        se = np.where((shared == 1)[:, None], se / np.sqrt(2), se)
    scatter, steps = _scatter(log, references)
    known = steps >= LEAST_STEPS
    se = _lower_median(_before(_unanchored(se, references)))[0]
    return Table(
        sessions=tuple(sessions),
        quantities=tuple(quantities),
        references=tuple(references),
        log=log,
        scatter=np.where(known, np.fmax(scatter, se), se),
        steps=steps,
        shared=shared,
        slower=slower,
    )


def _row(entry: Entry) -> list[Value]:
    if entry.yardstick is not None:
        return [v for v in entry.values if v.line == "reference"]
    return [v for v in entry.values if v.line == "own" and v.quantity == "level"]


def _anchors(sessions: Sequence[Entry]) -> float:
    """Log of the level that sessions without a reference are held against; NaN with too few."""
    levels = [
        found.value
        for entry in sessions
        if entry.yardstick is None
        and (found := entry.value_of("level")) is not None
        and found.value is not None
    ][:ANCHOR]
    return float(np.median(np.log(levels))) if len(levels) == ANCHOR else float("nan")


def _unanchored(se: FloatArray, references: Sequence[str]) -> FloatArray:
    """Intervals over the launches of one session say nothing of how sessions differ."""
    own = np.array([reference == ANCHORED for reference in references])
    return np.where(own[:, None], np.nan, se)


def _se(value: Value) -> float:
    if value.low is None or value.high is None or not 0 < value.low <= value.high:
        return float("nan")
    return float(np.log(value.high / value.low)) / (2 * _Z)


def _scatter(log: FloatArray, references: Sequence[str]) -> tuple[FloatArray, FloatArray]:
    """Robust sd of the sessions before each, from differences of neighbours, and their number.

    Neighbours with another reference do not count.
    """
    steps = np.abs(np.diff(log, axis=0, prepend=np.full((1, log.shape[1]), np.nan)))
    moved = [i for i in range(1, len(log)) if references[i] != references[i - 1]]
    steps[moved] = np.nan
    middle, number = _lower_median(_before(steps))
    return middle * _MAD / np.sqrt(2), number


def _before(rows: FloatArray) -> FloatArray:
    """Each session's last `SCATTER_SESSIONS` rows, its own among them, on a further axis."""
    ahead = np.full((SCATTER_SESSIONS - 1, rows.shape[1]), np.nan)
    padded = np.concatenate([ahead, rows])
    return np.lib.stride_tricks.sliding_window_view(padded, SCATTER_SESSIONS, axis=0)


def _lower_median(windows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Median over the last axis without holes, of an even number the lower one, and the number."""
    ordered = np.sort(windows, axis=-1)  # holes last
    number = np.isfinite(windows).sum(axis=-1)
    middle = ((number - 1) // 2).clip(0)
    picked = np.take_along_axis(ordered, middle[..., None], axis=-1)
    return np.asarray(picked[..., 0]), number.astype(float)


def _rank(quantity: str) -> tuple[int, str]:
    """The level first, then parts of the plane, then points."""
    return (0 if quantity == "level" else 2 if quantity.startswith("point:") else 1, quantity)
