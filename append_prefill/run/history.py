"""A report folder's history: filled as runs end, rebuilt from records, and followed."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from append_prefill.analysis.trend.alerts import decided, settled
from append_prefill.analysis.trend.lineages import (
    Followed,
    Lineage,
    lineage_with,
    lineages_of,
)
from append_prefill.analysis.trend.table import table_of
from append_prefill.analysis.trend.values import entry_of
from append_prefill.analysis.trend.watch import alerts_of
from append_prefill.errors import UsageError
from append_prefill.records.history import rows, schema
from append_prefill.records.history.entry import Entry, key_of
from append_prefill.records.history.lines import LINES_FILE, lines_of
from append_prefill.records.run import Run
from append_prefill.records.store import RUN_FILE, read_run
from append_prefill.workload.loading import load_profile, shipped_profiles
from append_prefill.workload.policy import Policy

PURPOSE_VARIABLE = "APPEND_PREFILL_PURPOSE"
"""Set to `nightly` by whoever runs the suite on a schedule; `ci/nightly.sh` does."""

# What a scheduled job of GitHub's or GitLab's has in its environment.
_SCHEDULED = {"GITHUB_EVENT_NAME": "schedule", "CI_PIPELINE_SOURCE": "schedule"}

_ANY_POLICY = "llama-3.1-8b"
"""Whose policy follows the runs of a profile that is not at hand. All shipped ones have one."""


def told_purpose(environment: Mapping[str, str], *, part: bool) -> str:
    """What a run writes of its purpose; `part`: it does not measure all of its profile.

    Raises UsageError for a purpose there is not.
    """
    asked = environment.get(PURPOSE_VARIABLE, "")
    if asked not in ("", "nightly", "try"):
        raise UsageError(PURPOSE_VARIABLE, asked, "is no purpose.", "Set it to nightly or try.")
    if part:
        return "partial"
    if asked:
        return asked
    scheduled = any(environment.get(name) == value for name, value in _SCHEDULED.items())
    return "nightly" if scheduled else "try"


def add_run(run: Run, folder: Path) -> None:
    """Put the run, recorded in `folder`, into the history of the folder's parent.

    In place of what was known of it. Raises UsageError where the history cannot be written.
    """
    with schema.opened(folder.parent) as connection:
        _import_lines(connection, folder.parent)
        rows.put(connection, entry_of(run, folder.name))


def rebuild(report_dir: Path, records: Iterable[Path]) -> tuple[int, list[UsageError]]:
    """Read the records, files or folders, into the history again: how many, and what was no record.

    What was decided about alerts stays, and so do runs whose records are gone.
    """
    read, refused = [], []
    home = report_dir.resolve()
    for path in records:
        try:
            run = read_run(path, option="--rebuild")
        except UsageError as error:
            refused.append(error)
            continue
        folder = (path if path.is_dir() else path.parent).resolve()
        inside = folder.relative_to(home) if folder.is_relative_to(home) else folder
        read.append(entry_of(run, str(inside)))
    with schema.opened(report_dir) as connection:
        _import_lines(connection, report_dir)
        for entry in read:
            rows.put(connection, entry)
    return len(read), refused


def records_in(report_dir: Path) -> list[Path]:
    """The folders of a report folder's runs; `latest` is one of them already."""
    found = sorted(report_dir.glob(f"*/{RUN_FILE}"))
    return [path.parent for path in found if not path.parent.is_symlink()]


def load(report_dir: Path) -> list[Entry]:
    """Every run of the history, oldest first; none where there is no history.

    Raises UsageError for a file that cannot be read.
    """
    lines = report_dir / LINES_FILE
    if lines.is_file() and not (report_dir / schema.HISTORY_FILE).exists():
        rebuild(report_dir, ())
    with schema.read(report_dir) as connection:
        return [] if connection is None else rows.entries(connection)


def follow(report_dir: Path) -> list[Followed]:
    """Every history of the report folder with its alerts, the one with the newest run first."""
    entries = load(report_dir)
    with schema.read(report_dir) as connection:
        acts = [] if connection is None else list(rows.acts(connection))
    return followed(entries, acts)


def followed(entries: Sequence[Entry], acts: Sequence[rows.Act] = ()) -> list[Followed]:
    """The histories that these runs make, with their alerts."""
    return [_followed(lineage, acts) for lineage in lineages_of(entries, excused)]


def follow_run(run: Run, report_dir: Path) -> Followed | None:
    """The history that the run is the last session of; None where it is no session of one."""
    key = key_of(run)
    with schema.read(report_dir) as connection:
        if connection is None:
            return None
        entries, acts = rows.entries(connection), list(rows.acts(connection))
    until = [entry for entry in entries if entry.created_at <= run.created_at]
    lineage = lineage_with(lineages_of(until, excused), key)
    if lineage is None or not lineage.sessions or lineage.sessions[-1].key != key:
        return None
    return _followed(lineage, acts)


def _followed(lineage: Lineage, acts: Sequence[rows.Act]) -> Followed:
    sessions = lineage.sessions
    if not sessions:
        return Followed(lineage, ())
    found = alerts_of(table_of(sessions), policy_of(sessions[-1].profile), lineage.id)
    return Followed(lineage, tuple(decided(settled(found, sessions), acts)))


def decide(report_dir: Path, act: rows.Act) -> None:
    """Keep what was decided about an alert."""
    with schema.opened(report_dir) as connection:
        rows.add_act(connection, act)


@lru_cache
def excused(profile: str) -> Collection[str]:
    """The fields of an identity that a shipped profile lets differ; none of another one."""
    known = profile in shipped_profiles()
    return load_profile(profile).identity_not_binding if known else ()


@lru_cache
def policy_of(profile: str) -> Policy:
    """The policy that a profile's runs are followed by."""
    return load_profile(profile if profile in shipped_profiles() else _ANY_POLICY).policy


def _import_lines(connection: sqlite3.Connection, report_dir: Path) -> None:
    """Take in, once, what an older suite kept; records that are still there tell more."""
    path = report_dir / LINES_FILE
    known = connection.execute("SELECT 1 FROM imported WHERE file = ?", (LINES_FILE,)).fetchone()
    if known or not path.is_file():
        return
    for entry in lines_of(report_dir):
        record = report_dir / entry.path / RUN_FILE
        told = entry
        if record.is_file():
            told = entry_of(read_run(record, option="history"), entry.path)
        rows.put(connection, told)
    connection.execute("INSERT INTO imported (file) VALUES (?)", (LINES_FILE,))
