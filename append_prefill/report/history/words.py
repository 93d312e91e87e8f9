"""What a history's quantities, alerts and changes are called."""

from __future__ import annotations

import math
import re
from datetime import datetime

from append_prefill.analysis.trend.alerts import Alert, State
from append_prefill.analysis.trend.changes import Change
from append_prefill.analysis.trend.lineages import Achieved, Lineage
from append_prefill.report import format as fmt
from append_prefill.report.confirmation import answer_words
from append_prefill.report.names import SIMULATED
from append_prefill.report.words import Word

STATES: dict[State, Word] = {
    "new": Word("new", "▲", "bad", "up", "opened by the last session"),
    "standing": Word("standing", "△", "unsure", "up", "opened by an earlier session, and still so"),
    "fixed": Word("fixed", "✓", "good", "disc", "a later session no longer shows it"),
    "accepted": Word("accepted", "–", "plain", "square", "known, and taken as the state of things"),
    "invalid": Word(
        "invalid", "✕", "plain", "cross", "one session alone ever showed it, or it was taken back"
    ),
}

_PLACES = {
    "level": "everywhere",
    "floor_points": "at the floor",
    "compute_points": "where computing shows",
    "append_end": "at large m",
    "context_end": "at large L",
}
_TITLES = {
    "level": "Level over all points",
    "floor_ms": "Floor T₀",
    "new_token_us": "Cost per new token",
    "cached_token_us": "Cost per cached token",
}
_UNITS = {"new_token_us": "µs", "cached_token_us": "µs"}
_POINT = re.compile(r"point:L(\d+)-m(\d+)(.*)")


def place_words(quantity: str) -> str:
    """Where a slow-down is: "everywhere", "at L = 512, m = 128", "finding cache_rate_band"."""
    if point := _POINT.fullmatch(quantity):
        return f"at {fmt.place(int(point[1]), int(point[2]))}{point[3]}"
    if quantity.startswith("finding:"):
        return f"finding {quantity.removeprefix('finding:')}"
    if quantity.startswith("traffic:"):
        return f"in {quantity.removeprefix('traffic:')}"
    return _PLACES.get(quantity, quantity)


def title_of(quantity: str, reference: str | None) -> str:
    """A chart's title; `reference` is what its ratios are to, None of a chart of values."""
    if reference is not None:
        return f"Against {fmt.shorten(reference, 40)}, {place_words(quantity)}"
    if point := _POINT.fullmatch(quantity):
        return f"{fmt.place(int(point[1]), int(point[2]))}{point[3]}"
    if quantity.startswith("finding:"):
        return quantity.removeprefix("finding:")
    return _TITLES.get(quantity, quantity)


def unit_of(quantity: str) -> str:
    """Of a value that is relative to nothing; a finding is a number."""
    return "" if quantity.startswith("finding:") else _UNITS.get(quantity, "ms")


def alert_words(alert: Alert) -> str:
    """The alert without its life: "+4.1 % everywhere, against 0.5.17"."""
    if alert.size is None:
        return f"{place_words(alert.quantity)} is broken"
    size = fmt.brief(math.exp(alert.size))
    crept = ", by a creep," if alert.kind == "creep" else ","
    return f"{size} {place_words(alert.quantity)}{crept} against {alert.reference}"


def life_words(alert: Alert, now: datetime) -> str:
    """Since when, for how long, by how many sessions, what ended it, what confirms it."""
    told = _life(alert, now)
    if alert.answer is None or alert.answer == "withdrawn":
        return told
    return f"{told}, {answer_words(alert.answer, alert.answered_by or '')}"


def _life(alert: Alert, now: datetime) -> str:
    days = fmt.plural(round(alert.days_open(now)), "day")
    shown = fmt.plural(alert.sightings, "session")
    since = f"since {alert.opened.at:%Y-%m-%d} ({alert.opened.version})"
    match alert.state:
        case "new":
            return f"new with {alert.opened.version}"
        case "standing":
            return f"{since}, {days}, shown by {shown}"
        case "accepted" if alert.who is None:
            return f"{since}; the reference moved to {alert.reason}, which has it"
        case "accepted":
            return f"{since}; accepted by {alert.who}: {alert.reason}"
        case "invalid" if alert.answer == "withdrawn":
            by = answer_words(alert.answer, alert.answered_by or "")
            return f"{alert.opened.at:%Y-%m-%d} ({alert.opened.version}), {by}"
        case "invalid":
            return f"{alert.opened.at:%Y-%m-%d} ({alert.opened.version}), by one session alone"
    by = "" if alert.closed is None else f" by {alert.closed.version} after {days}"
    return f"{since}, fixed{by}, shown by {shown}"


def change_words(change: Change, version: str, when: datetime) -> str:
    """A change point: how much, with its interval, and the session it begins with."""
    size, low, high = (math.exp(x) for x in (change.size, change.low, change.high))
    return (
        f"{fmt.brief(size)} ({fmt.change_interval(low, high)}) from {when:%Y-%m-%d} "
        f"({fmt.shorten(version, 40)})"
    )


def machine_words(lineage: Lineage) -> str:
    """Whose history: the device, the model and the profile."""
    newest = lineage.runs[-1]
    model = newest.identity.get("model")
    name = model.get("name") if isinstance(model, dict) else None
    device = SIMULATED if newest.simulated else fmt.scalar(newest.identity.get("device"))
    told = [fmt.shorten(text, 60) for text in (device, fmt.scalar(name), newest.profile) if text]
    return " · ".join(told)


def achieved_words(achieved: Achieved) -> list[tuple[str, str]]:
    """What the suite itself achieved, as terms and their answers."""
    runs = ", ".join(f"{count} {purpose}" for purpose, count in sorted(achieved.runs.items()))
    young = achieved.alarms - achieved.confirmed - achieved.withdrawn
    alarms = f"{achieved.alarms}: {achieved.confirmed} confirmed, {achieved.withdrawn} withdrawn"
    invalid = f"{fmt.number(achieved.invalid_blocks)} of {fmt.number(achieved.blocks)}"
    return [
        ("Runs", f"{runs}; {achieved.failed} measured nothing valid"),
        ("Sessions followed", fmt.count(achieved.sessions)),
        ("Alarms", f"{alarms}, {young} open to either" if young else alarms),
        ("Detectable effect", f"{fmt.share(achieved.detectable)} (median of the last sessions)"),
        ("Device-minutes", f"{fmt.number(achieved.minutes)} a session"),
        ("Invalid blocks", f"{invalid} a session"),
    ]
