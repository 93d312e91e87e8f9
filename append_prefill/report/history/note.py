"""What a run's own report and terminal say of the history that it is the last session of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from append_prefill.analysis.trend.alerts import Alert
from append_prefill.analysis.trend.lineages import Followed
from append_prefill.analysis.trend.series import Trend, trend_of
from append_prefill.records.history.entry import Entry, Line
from append_prefill.report import format as fmt
from append_prefill.report.history.drawing import spark, text_spark
from append_prefill.report.history.words import STATES, alert_words, life_words
from append_prefill.report.words import Word


@dataclass(frozen=True, slots=True)
class AlertNote:
    """An open alert, in words."""

    id: str
    state: Word
    what: str
    life: str


@dataclass(frozen=True, slots=True)
class HistoryNote:
    """`path` and `bars` draw the level over the sessions, as SVG and as text.

    `step` is its change since the session before, `against` that against the yardstick.
    """

    id: str
    sessions: int
    path: str
    bars: str
    step: str
    against: str | None
    alerts: list[AlertNote]

    @property
    def numbers(self) -> str:
        """How many sessions, and what the level did."""
        told = f"session {fmt.count(self.sessions)}"
        if self.sessions > 1:
            told += f", {self.step} since the one before"
        return told if self.against is None else f"{told}, {self.against}"


def note_of(followed: Followed) -> HistoryNote:
    """Of a history as of its last session."""
    sessions = followed.lineage.sessions
    level = level_of(sessions)
    now = sessions[-1].created_at
    return HistoryNote(
        id=followed.lineage.id,
        sessions=len(sessions),
        path=spark(level),
        bars=text_spark(level),
        step=fmt.plain_change(level.step),
        against=against_words(level, sessions[-1]),
        alerts=[_alert(alert, now) for alert in reversed(followed.open)],
    )


def level_of(sessions: Sequence[Entry]) -> Trend:
    """The level as the history is followed by: against the yardstick where the last one has one."""
    line: Line = "own" if sessions[-1].yardstick is None else "reference"
    return trend_of(sessions, line, "level")


def against_words(level: Trend, last: Entry) -> str | None:
    """The level against the yardstick; None where there is none."""
    if level.line == "own" or last.yardstick is None or level.last is None:
        return None
    pinned = "the pinned " if last.yardstick.role == "pinned" else ""
    name = fmt.shorten(last.yardstick.reference, 48)
    return f"{fmt.plain_change(level.last)} against {pinned}{name}"


def history_lines(note: HistoryNote) -> list[str]:
    """For the terminal: the level, then every open alert."""
    lines = [f"history {note.id}: {note.bars}  {note.numbers}"]
    lines += [
        f"  {a.state.word:<9} {a.id}  {a.what}; {a.life}".replace("\u00a0", " ")
        for a in note.alerts
    ]
    return lines


def _alert(alert: Alert, now: datetime) -> AlertNote:
    return AlertNote(alert.id, STATES[alert.state], alert_words(alert), life_words(alert, now))
