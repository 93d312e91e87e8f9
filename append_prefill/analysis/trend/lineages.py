"""Histories: the runs of one identity and definition, and which of them are followed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from append_prefill.analysis.trend.alerts import Alert
from append_prefill.records.history.entry import Entry, Purpose
from append_prefill.records.identity import identity_differences

Excused = Callable[[str], Collection[str]]
"""Of a profile's name the fields of an identity that may differ."""

RECENT = 30
"""Sessions, a month of them, whose medians say what the suite achieves now."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """The runs of one identity and definition, oldest first; its `sessions` are followed.

    `id` is the same for the same identity and definition, on any machine.
    """

    id: str
    runs: tuple[Entry, ...]

    @property
    def sessions(self) -> tuple[Entry, ...]:
        """The whole ones; where some were made nightly, those."""
        complete = [run for run in self.runs if run.whole]
        nightly = [run for run in complete if run.purpose == "nightly"]
        return tuple(nightly or complete)


def lineages_of(entries: Sequence[Entry], excused: Excused) -> list[Lineage]:
    """The histories, the one with the newest run first."""
    groups: list[list[Entry]] = []
    known: dict[tuple[int, str, str], list[Entry]] = {}  # identities are shared objects
    for entry in entries:
        at = (id(entry.identity), entry.definition, entry.profile)
        group = known.get(at)
        if group is None:
            group = next((g for g in groups if _alike(g[0], entry, excused)), None)
            if group is None:
                group = []
                groups.append(group)
            known[at] = group
        group.append(entry)
    found = [Lineage(_id(group[0], excused), tuple(group)) for group in groups]
    return sorted(found, key=lambda lineage: lineage.runs[-1].created_at, reverse=True)


def lineage_with(lineages: Sequence[Lineage], key: str) -> Lineage | None:
    """The history that a run belongs to; None where it is in none."""
    return next((one for one in lineages if any(run.key == key for run in one.runs)), None)


def _alike(one: Entry, other: Entry, excused: Excused) -> bool:
    return (
        one.definition == other.definition
        and one.profile == other.profile
        and not identity_differences(one.identity, other.identity, excused(one.profile))
    )


def _id(entry: Entry, excused: Excused) -> str:
    free = excused(entry.profile)
    bound = {key: value for key, value in entry.identity.items() if key not in free}
    told = json.dumps([entry.definition, entry.profile, bound], sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class Achieved:
    """What the suite itself did over a history.

    `runs` counts all, by purpose; `failed` those that measured nothing valid. `alarms` were opened,
    of which more than one session `confirmed` some and one alone was behind those `withdrawn`; the
    others are as young as the last session. Of the last `RECENT` sessions: the median least effect
    everywhere that is found 95 times in 100, the median of device-minutes, and the means of invalid
    blocks and of all `blocks`.
    """

    runs: dict[Purpose, int]
    failed: int
    sessions: int
    alarms: int
    confirmed: int
    withdrawn: int
    detectable: float | None
    minutes: float | None
    invalid_blocks: float | None
    blocks: float | None


@dataclass(frozen=True, slots=True)
class Followed:
    """A history with its alerts, oldest first, as of its last session."""

    lineage: Lineage
    alerts: tuple[Alert, ...]

    @property
    def open(self) -> list[Alert]:
        """The alerts that stand, the newest last."""
        return [alert for alert in self.alerts if alert.open]

    @property
    def new(self) -> list[Alert]:
        """Those that the last session opened."""
        return [alert for alert in self.alerts if alert.state == "new"]

    @property
    def achieved(self) -> Achieved:
        return achieved_of(self.lineage, self.alerts)


def achieved_of(lineage: Lineage, alerts: Sequence[Alert]) -> Achieved:
    """Over the whole history."""
    sessions = lineage.sessions
    recent = sessions[-RECENT:]
    purposes: dict[Purpose, int] = {}
    for run in lineage.runs:
        purposes[run.purpose] = purposes.get(run.purpose, 0) + 1
    return Achieved(
        runs=purposes,
        failed=sum(run.verdict == "infrastructure" for run in lineage.runs),
        sessions=len(sessions),
        alarms=len(alerts),
        confirmed=sum(alert.confirmed for alert in alerts),
        withdrawn=sum(alert.state == "invalid" for alert in alerts),
        detectable=_median([None if r.yardstick is None else r.yardstick.mde for r in recent]),
        minutes=_median([run.minutes for run in recent]),
        invalid_blocks=_mean([run.invalid_blocks for run in recent]),
        blocks=_mean([run.blocks for run in recent]),
    )


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _mean(values: Sequence[int]) -> float | None:
    return float(np.mean(values)) if values else None
