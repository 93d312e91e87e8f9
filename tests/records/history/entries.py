"""Entries of a history for tests: sessions of one machine, a day apart, values as wanted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from append_prefill.records.history.entry import Entry, Value, Yardstick

CREATED = datetime(2026, 1, 1, 2, 17, tzinfo=UTC)
SIDE_BY_SIDE = Yardstick("side-by-side", "chosen", "0.5.17", "pass", 0.02)


def ratio(quantity: str, log: float, se: float = 0.004, *, slower: bool = False) -> Value:
    """A ratio to the reference with an interval of that standard error."""
    ends = (math.exp(log + sign * 1.96 * se) for sign in (-1, 1))
    return Value("reference", quantity, math.exp(log), *ends, slower)


def entry(session: int, values: Sequence[Value] = (), **changes: Any) -> Entry:
    """The entry of that session; its level is 16 ms unless `values` say otherwise."""
    fields: dict[str, Any] = {
        "key": f"key-{session}",
        "path": f"run-{session}",
        "created_at": CREATED + timedelta(days=session),
        "host": "node",
        "profile": "llama-3.1-8b",
        "definition": "d" * 64,
        "identity": {"device": "H100", "protocol": {"version": 1}},
        "version": f"0.5.24.dev{session}",
        "label": None,
        "reference": "0.5.17",
        "verdict": "pass",
        "purpose": "nightly",
        "whole": True,
        "launches": 10,
        "minutes": 10.0,
        "blocks": 130,
        "invalid_blocks": 1,
        "yardstick": SIDE_BY_SIDE,
        "values": tuple(values) or (Value("own", "level", 16.0, 15.8, 16.2, None),),
    }
    if "host" in changes:
        fields["key"] += changes["host"] or ""
    return Entry(**(fields | changes))


def history(logs: Sequence[float | Mapping[str, float]], **changes: Any) -> list[Entry]:
    """A session for each log ratio of the level, or for each mapping of quantities to them."""
    sessions = []
    for at, log in enumerate(logs):
        of = log if isinstance(log, Mapping) else {"level": log}
        sessions.append(entry(at, [ratio(name, value) for name, value in of.items()], **changes))
    return sessions
