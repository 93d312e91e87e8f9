"""Alerts of findings: open from the session that broke one to the first in which it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from append_prefill.analysis.trend.alerts import Alert, State, alert_id
from append_prefill.analysis.trend.table import Moment
from append_prefill.records.history.entry import Entry

_PREFIX = "finding:"


def finding_alerts(sessions: Sequence[Entry], lineage: str) -> list[Alert]:
    """A session that cannot tell whether a finding holds leaves its alert as it is."""
    open_: dict[str, Alert] = {}
    closed: list[Alert] = []
    for at, entry in enumerate(sessions):
        moment = Moment.of(entry)
        for value in entry.values:
            if not value.quantity.startswith(_PREFIX) or value.slower is None:
                continue
            alert = open_.get(value.quantity)
            if alert is None and value.slower:
                open_[value.quantity] = Alert(
                    id=alert_id(lineage, value.quantity, entry.key),
                    quantity=value.quantity,
                    kind="finding",
                    size=None,
                    reference="its bound",
                    opened=moment,
                    last=moment,
                    sightings=1,
                    state="new" if at == len(sessions) - 1 else "standing",
                )
            elif alert is not None and value.slower:
                open_[value.quantity] = replace(alert, last=moment, sightings=alert.sightings + 1)
            elif alert is not None:
                state: State = "fixed" if alert.confirmed else "invalid"
                closed.append(replace(alert, state=state, closed=moment))
                del open_[value.quantity]
    return [*closed, *open_.values()]
