"""What a page draws of a history: every quantity over its sessions, with its change points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from append_prefill.analysis.summary import FloatArray
from append_prefill.analysis.trend.changes import Change, change_points
from append_prefill.analysis.trend.values import PARTS
from append_prefill.records.history.entry import Entry, Line, Value

_Of = tuple[Line, str]

FITTED = ("level", "floor_ms", "new_token_us", "cached_token_us")


@dataclass(frozen=True, slots=True)
class Trend:
    """One quantity over the sessions, oldest first; NaN where a session has no value.

    `changes` are of the logarithm; their `at` counts sessions from the first.
    """

    line: Line
    quantity: str
    value: FloatArray
    low: FloatArray
    high: FloatArray
    changes: tuple[Change, ...]

    @property
    def last(self) -> float | None:
        """The last session's value; None where it has none."""
        return _or_none(self.value[-1])

    @property
    def step(self) -> float | None:
        """The last session's over the one before that has a value."""
        before = self.value[:-1]
        before = before[np.isfinite(before)]
        return _or_none(self.value[-1] / before[-1]) if len(before) else None


def trends_of(sessions: Sequence[Entry]) -> list[Trend]:
    """Ratios to the reference first, then what was measured, the findings, the points.

    `sessions`: one at least. A change point is looked for between sessions of one reference.
    """
    table = _indexed(sessions)
    chosen = list(_quantities(table))
    return [_trend(sessions, table, of, len(chosen)) for of in chosen]


def trend_of(sessions: Sequence[Entry], line: Line, quantity: str) -> Trend:
    """One quantity alone, as on a page that draws nothing else."""
    return _trend(sessions, _indexed(sessions), (line, quantity), 1)


def _indexed(sessions: Sequence[Entry]) -> list[dict[_Of, Value]]:
    return [{(v.line, v.quantity): v for v in session.values} for session in sessions]


def _quantities(table: Sequence[dict[_Of, Value]]) -> Iterator[_Of]:
    there = {of for row in table for of, value in row.items() if value.value is not None}
    known: list[_Of] = [("reference", part) for part in PARTS]
    known += sorted(of for of in there if of[1].startswith("traffic:"))
    known += [("own", quantity) for quantity in FITTED]
    rest = sorted((q for line, q in there if line == "own" and q not in FITTED), key=_by_place)
    known += [("own", quantity) for quantity in rest]
    yield from (one for one in known if one in there)


def _by_place(quantity: str) -> tuple[str, list[int]]:
    """Findings by name, points by their tokens."""
    kind, _, name = quantity.partition(":")
    digits = "".join(c if c.isdigit() else " " for c in name) if kind == "point" else ""
    return (f"{kind}:{name if kind != 'point' else ''}", [int(n) for n in digits.split()])


def _trend(
    sessions: Sequence[Entry], table: Sequence[dict[_Of, Value]], of: _Of, series: int
) -> Trend:
    found = [row.get(of) for row in table]
    value = np.array([np.nan if v is None or v.value is None else v.value for v in found])
    low = np.array([np.nan if v is None or v.low is None else v.low for v in found])
    high = np.array([np.nan if v is None or v.high is None else v.high for v in found])
    line, quantity = of
    names = [
        None if line == "own" or s.yardstick is None else s.yardstick.reference for s in sessions
    ]
    changes: list[Change] = []
    for _, group in groupby(range(len(sessions)), key=names.__getitem__):
        at = [i for i in group if value[i] > 0]  # NaN is not
        changes += [
            replace(change, at=at[change.at])
            for change in change_points(np.log(value[at]), series=series)
        ]
    return Trend(line, quantity, value, low, high, tuple(changes))


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
