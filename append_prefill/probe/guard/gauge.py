"""One instrument of the state guard, and what it reads around a block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

OwnPids = Callable[[], set[int]]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one gauge saw around a block; `void` is why the block does not count, or None.

    `values` is a table for the record, or a sentence that says why there is none.
    """

    values: dict[str, Any] | str
    void: str | None = None


class Gauge(Protocol):
    """One instrument: read before a block by `begin`, after it by `end` (always called)."""

    name: str

    def identity(self) -> dict[str, Any]: ...
    def begin(self, own_pids: OwnPids) -> None: ...
    def end(self, own_pids: OwnPids) -> Reading: ...
