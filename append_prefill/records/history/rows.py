"""Entries and acts as rows of the history's tables, and back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal

from pydantic import TypeAdapter

from append_prefill.records.confirmation import Confirmation
from append_prefill.records.history.entry import Entry, Value, Yardstick

_PLAIN = tuple(
    field.name
    for field in fields(Entry)
    if field.name not in ("created_at", "identity", "whole", "yardstick", "values", "confirmations")
)
_COLUMNS = (*_PLAIN, "created_at", "identity", "whole", "yardstick", "confirmations")
_CONFIRMATIONS = TypeAdapter(tuple[Confirmation, ...])
_VALUE = ("line", "quantity", "value", "low", "high", "slower")


@dataclass(frozen=True, slots=True)
class Act:
    """What someone decided about an alert: to live with it, or to look at it again after all."""

    alert: str
    kind: Literal["accept", "reopen"]
    who: str
    reason: str
    at: datetime


def put(connection: sqlite3.Connection, entry: Entry) -> None:
    """Write the entry, in place of an earlier one of the same run."""
    connection.execute("DELETE FROM run WHERE key = ?", (entry.key,))
    row: dict[str, Any] = {name: getattr(entry, name) for name in _PLAIN} | {
        "created_at": _moment(entry.created_at),
        "identity": json.dumps(entry.identity, sort_keys=True),
        "whole": int(entry.whole),
        "yardstick": None if entry.yardstick is None else json.dumps(asdict(entry.yardstick)),
        "confirmations": _CONFIRMATIONS.dump_json(entry.confirmations).decode(),
    }
    marks = ", ".join("?" for _ in _COLUMNS)
    connection.execute(
        f"INSERT INTO run ({', '.join(_COLUMNS)}) VALUES ({marks})",  # noqa: S608 (our own names)
        [row[name] for name in _COLUMNS],
    )
    connection.executemany(
        f"INSERT INTO value (run, {', '.join(_VALUE)}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        [
            (entry.key, v.line, v.quantity, v.value, v.low, v.high, _flag(v.slower))
            for v in entry.values
        ],
    )


def entries(connection: sqlite3.Connection) -> list[Entry]:
    """Every run, oldest first."""
    values: dict[str, list[Value]] = {}
    query = f"SELECT run, {', '.join(_VALUE)} FROM value"  # noqa: S608 (our own names)
    for run, line, quantity, value, low, high, slower in connection.execute(query):
        said = None if slower is None else bool(slower)
        values.setdefault(run, []).append(Value(line, quantity, value, low, high, said))
    query = f"SELECT {', '.join(_COLUMNS)} FROM run ORDER BY created_at, key"  # noqa: S608
    return [_entry(row, values) for row in connection.execute(query)]


def _entry(row: Sequence[Any], values: dict[str, list[Value]]) -> Entry:
    told = dict(zip(_COLUMNS, row, strict=True))
    yardstick = told["yardstick"]
    told |= {
        "created_at": datetime.fromisoformat(told["created_at"]),
        "identity": _identity(told["identity"]),
        "whole": bool(told["whole"]),
        "yardstick": None if yardstick is None else Yardstick(**json.loads(yardstick)),
        "values": tuple(values.get(told["key"], ())),
        "confirmations": _CONFIRMATIONS.validate_json(told["confirmations"]),
    }
    return Entry(**told)


@lru_cache(maxsize=256)
def _identity(text: str) -> dict[str, Any]:
    """Parsed once: a thousand runs of a machine have a handful of identities."""
    found: dict[str, Any] = json.loads(text)
    return found


def _flag(value: bool | None) -> int | None:
    return None if value is None else int(value)


def _moment(at: datetime) -> str:
    """In UTC and at one length, so that the texts sort as the moments do."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def add_act(connection: sqlite3.Connection, act: Act) -> None:
    """Keep what was decided; nothing is ever taken back, the last act of an alert counts."""
    connection.execute(
        "INSERT INTO act (alert, kind, who, reason, at) VALUES (?, ?, ?, ?, ?)",
        (act.alert, act.kind, act.who, act.reason, _moment(act.at)),
    )


def acts(connection: sqlite3.Connection) -> Iterator[Act]:
    """All acts, in the order they were made."""
    query = "SELECT alert, kind, who, reason, at FROM act ORDER BY number"
    for alert, kind, who, reason, at in connection.execute(query):
        yield Act(alert, kind, who, reason, datetime.fromisoformat(at))
