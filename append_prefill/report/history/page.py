"""The history as one self-contained page: alerts, achieved values, and every trend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from append_prefill.analysis.trend.alerts import Alert
from append_prefill.analysis.trend.changes import PAGE_RATE
from append_prefill.analysis.trend.lineages import Followed
from append_prefill.analysis.trend.series import Trend, trends_of
from append_prefill.records.history.entry import Entry
from append_prefill.report import format as fmt
from append_prefill.report.confirmation import entry_words
from append_prefill.report.history import drawing
from append_prefill.report.history.words import (
    STATES,
    achieved_words,
    alert_words,
    life_words,
    machine_words,
    title_of,
    unit_of,
)
from append_prefill.report.templating import ENVIRONMENT

LISTED = 30
"""Sessions and closed alerts in the tables, the newest: a month. All are in the charts."""


@dataclass(frozen=True, slots=True)
class AlertRow:
    """An alert as a row of the table."""

    alert: Alert
    what: str
    life: str


@dataclass(frozen=True, slots=True)
class PointRow:
    """A point, or a finding, as a row: its line without axes, and the last session's value.

    `step` is its change since the session before, `against` that against the reference.
    """

    title: str
    spark: str
    last: str
    interval: str
    step: str
    against: str
    changes: list[drawing.Mark]


@dataclass(frozen=True, slots=True)
class Shown:
    """One history, ready for the template."""

    id: str
    machine: str
    first: Entry
    last: Entry
    sessions: int
    open: list[AlertRow]
    closed: list[AlertRow]
    more_closed: int
    achieved: list[tuple[str, str]]
    charts: list[drawing.Drawn]
    findings: list[PointRow]
    points: list[PointRow]
    runs: list[Entry]


def render_history(histories: Sequence[Followed], *, now: datetime) -> str:
    """The histories as one page, each with at least one session; `now` is the page's date."""
    shown = [_shown(followed, now) for followed in histories if followed.lineage.sessions]
    return ENVIRONMENT.get_template("history.html.j2").render(
        histories=shown,
        now=now,
        states=STATES,
        page_rate=PAGE_RATE,
        drawing=drawing,
        forest_width=0,
        entry_words=entry_words,
    )


def _shown(followed: Followed, now: datetime) -> Shown:
    sessions = followed.lineage.sessions
    trends = trends_of(sessions)
    rows = [
        AlertRow(alert, alert_words(alert), life_words(alert, now))
        for alert in reversed(followed.alerts)
    ]
    closed = [row for row in rows if not row.alert.open]

    def listed(kind: str) -> list[PointRow]:
        return [_row(t, sessions) for t in trends if t.quantity.startswith(f"{kind}:")]

    return Shown(
        id=followed.lineage.id,
        machine=machine_words(followed.lineage),
        first=sessions[0],
        last=sessions[-1],
        sessions=len(sessions),
        open=[row for row in rows if row.alert.open],
        closed=closed[:LISTED],
        more_closed=max(len(closed) - LISTED, 0),
        achieved=achieved_words(followed.achieved),
        charts=[drawing.drawn(t, sessions) for t in trends if _charted(t)],
        findings=listed("finding"),
        points=listed("point"),
        runs=list(reversed(followed.lineage.runs[-LISTED:])),
    )


def _charted(trend: Trend) -> bool:
    """Whether the trend has a chart; findings and points are rows."""
    return not trend.quantity.startswith(("finding:", "point:"))


def _row(trend: Trend, sessions: Sequence[Entry]) -> PointRow:
    own = sessions[-1].value_of(trend.quantity)
    ratio = sessions[-1].value_of(trend.quantity, "reference")
    return PointRow(
        title=title_of(trend.quantity, None),
        spark=drawing.spark(trend),
        last=f"{fmt.number(trend.last)} {unit_of(trend.quantity)}".strip(),
        interval=fmt.MISSING if own is None else fmt.interval(own.low, own.high),
        step=fmt.change(trend.step),
        against=fmt.change(None if ratio is None else ratio.value),
        changes=drawing.marks_of(trend, sessions),
    )
