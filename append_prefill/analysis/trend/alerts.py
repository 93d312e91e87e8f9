"""An alert, what becomes of it, and what someone decided about it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from append_prefill.analysis.trend.table import Moment
from append_prefill.records.confirmation import POINTS, Answer, answered
from append_prefill.records.history.entry import Entry
from append_prefill.records.history.rows import Act

State = Literal["new", "standing", "fixed", "accepted", "invalid"]
"""`new`: opened by the last session; `standing`: by an earlier one; `fixed`: a later session no
longer shows it; `accepted`: someone, or a reference that has it, made it the state of things;
`invalid`: one session alone ever showed it, or launches of their own took it back."""

OPEN: tuple[State, ...] = ("new", "standing")

Kind = Literal["step", "creep", "finding"]


@dataclass(frozen=True, slots=True)
class Alert:
    """One slow-down, or one finding that broke.

    `quantity` is what showed it most; `size` its effect there as a log ratio (None for a finding);
    `reference` what it is relative to. `sightings`: sessions that show it. `reason` is the user's,
    or what it was relative to from then on where the reference moved (`who` is None then).
    `answer` is what launches of their own said of it, those of the run in the folder `answered_by`.
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
    answer: Answer | None = None
    answered_by: str | None = None

    @property
    def open(self) -> bool:
        return self.state in OPEN

    @property
    def confirmed(self) -> bool:
        """Whether more than one session showed it, or launches of their own, and none took it
        back.
        """
        shown = self.sightings > 1 or self.answer == "confirmed"
        return shown and self.answer != "withdrawn"

    def days_open(self, now: datetime) -> float:
        """Days from the session that opened it to the one that closed it, or to `now`."""
        end = now if self.closed is None else self.closed.at
        return (end - self.opened.at).total_seconds() / 86_400


def alert_id(lineage: str, quantity: str, opened: str) -> str:
    """The same whenever the same sessions are followed: what people type."""
    return hashlib.sha256(f"{lineage}\n{quantity}\n{opened}".encode()).hexdigest()[:8]


def settled(alerts: Sequence[Alert], sessions: Sequence[Entry]) -> list[Alert]:
    """The alerts with what launches of their own said of the sessions that suspect them.

    Asked is about the session that opened the alert, or one of the same version that showed it
    later: of another version that is not slower the alert may be fixed, and was not wrong. What is
    taken back is invalid, whatever later sessions showed: those held against the same stored run
    are slow together where that run's own session was a fast one. A finding is no comparison.
    """
    asked = [entry for entry in sessions if entry.confirmations]
    return [_settled(alert, asked) for alert in alerts]


def _settled(alert: Alert, asked: Sequence[Entry]) -> Alert:
    if alert.kind == "finding":
        return alert
    name = POINTS
    if alert.quantity.startswith("traffic:"):
        name = alert.quantity.removeprefix("traffic:")
    made = [
        confirmation
        for entry in asked
        if entry.key == alert.opened.key
        or (
            entry.name == alert.opened.version
            and alert.opened.at <= entry.created_at <= alert.last.at
        )
        for confirmation in entry.confirmations
    ]
    found = answered(made).get(name)
    if found is None:
        return alert
    answer, by = found
    alert = replace(alert, answer=answer, answered_by=by.folder)
    if answer != "withdrawn":
        return alert
    closed = Moment(by.run, by.at, alert.opened.version)
    return replace(alert, state="invalid", closed=closed, reason=None, who=None)


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
