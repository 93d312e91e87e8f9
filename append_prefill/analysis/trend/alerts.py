"""An alert, what becomes of it, and what someone decided about it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from append_prefill.analysis.trend.table import Moment
from append_prefill.records.history.rows import Act

State = Literal["new", "standing", "fixed", "accepted", "invalid"]
"""`new`: opened by the last session; `standing`: by an earlier one; `fixed`: a later session no
longer shows it; `accepted`: someone, or a reference that has it, made it the state of things;
`invalid`: one session alone ever showed it."""

OPEN: tuple[State, ...] = ("new", "standing")

Kind = Literal["step", "creep", "finding"]


@dataclass(frozen=True, slots=True)
class Alert:
    """One slow-down, or one finding that broke.

    `quantity` is what showed it most; `size` its effect there as a log ratio (None for a finding);
    `reference` what it is relative to. `sightings`: sessions that show it. `reason` is the user's,
    or what it was relative to from then on where the reference moved (`who` is None then).
    """

    id: str
    quantity: str
    kind: Kind
    size: float | None
    reference: str
    opened: Moment
    last: Moment
    sightings: int
    state: State
    closed: Moment | None = None
    reason: str | None = None
    who: str | None = None

    @property
    def open(self) -> bool:
        return self.state in OPEN

    @property
    def confirmed(self) -> bool:
        """Whether more than one session showed it."""
        return self.sightings > 1

    def days_open(self, now: datetime) -> float:
        """Days from the session that opened it to the one that closed it, or to `now`."""
        end = now if self.closed is None else self.closed.at
        return (end - self.opened.at).total_seconds() / 86_400


def alert_id(lineage: str, quantity: str, opened: str) -> str:
    """The same whenever the same sessions are followed: what people type."""
    return hashlib.sha256(f"{lineage}\n{quantity}\n{opened}".encode()).hexdigest()[:8]


def decided(alerts: Sequence[Alert], acts: Iterable[Act]) -> list[Alert]:
    """The alerts with what was decided about them: of each the last act counts.

    One that was fixed or found invalid stays so, whatever was decided before.
    """
    last = {act.alert: act for act in acts}
    found = []
    for alert in alerts:
        act = last.get(alert.id)
        if act is None or alert.state in ("fixed", "invalid"):
            found.append(alert)
        elif act.kind == "accept":
            found.append(replace(alert, state="accepted", reason=act.reason, who=act.who))
        elif alert.state == "accepted":
            found.append(replace(alert, state="standing", reason=None, who=None))
        else:
            found.append(alert)
    return found
