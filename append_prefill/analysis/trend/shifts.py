"""Changes of what is expected of a session, and the alerts they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from append_prefill.analysis.summary import FloatArray
from append_prefill.analysis.trend.alerts import Alert, Kind, State, alert_id
from append_prefill.analysis.trend.table import Moment, Table


@dataclass(slots=True)
class Shift:
    """A change of what is expected, `sizes` by quantity; `at_first` is the size that opened it.

    From the session `led_from` to the one that opened it nothing else happened.
    """

    leader: int
    sizes: FloatArray
    opened: int
    led_from: int
    kind: Kind
    reference: str
    slower: bool = True
    sightings: int = 1
    last: int = 0
    closed: int | None = None
    moved_to: str | None = None
    at_first: float = 0.0

    def __post_init__(self) -> None:
        self.at_first = self.size

    @property
    def size(self) -> float:
        return float(self.sizes[self.leader])

    @property
    def active(self) -> bool:
        return self.closed is None and self.moved_to is None


def alert_of(shift: Shift, table: Table, lineage: str) -> Alert:
    """The alert of a slow-down; `lineage` names the history in its id."""

    def moment(at: int) -> Moment:
        return Moment.of(table.sessions[at])

    opened, quantity = moment(shift.opened), table.quantities[shift.leader]
    state = _state(shift, len(table.sessions))
    closed = shift.closed if shift.moved_to is None else shift.last
    return Alert(
        id=alert_id(lineage, quantity, opened.key),
        quantity=quantity,
        kind=shift.kind,
        size=shift.at_first if state == "invalid" else shift.size,
        reference=shift.reference,
        opened=opened,
        last=moment(shift.last),
        sightings=shift.sightings,
        state=state,
        closed=None if closed is None else moment(closed),
        reason=shift.moved_to,
    )


def _state(shift: Shift, sessions: int) -> State:
    if shift.moved_to is not None:
        return "accepted"
    if shift.closed is not None:
        return "fixed" if shift.sightings > 1 else "invalid"
    return "new" if shift.opened == sessions - 1 else "standing"


def total_of(shifts: Sequence[Shift], leader: int) -> float:
    """Size of all of them at that quantity."""
    return sum(float(shift.sizes[leader]) for shift in shifts)
