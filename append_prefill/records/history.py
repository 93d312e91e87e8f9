"""`<report-dir>/history.jsonl`: one line a run, and the rolling window over the last of them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from append_prefill.errors import UsageError, first_problem
from append_prefill.records.identity import identity_differences, identity_of
from append_prefill.records.run import Run, RunVerdict
from append_prefill.records.store import RUN_FILE, read_run

HISTORY_FILE = "history.jsonl"


class PointMedian(BaseModel):
    """One point's median TTFT in one run; None where nothing valid was measured."""

    model_config = ConfigDict(extra="forbid")

    context_tokens: int
    append_tokens: int
    median_ms: float | None


class HistoryEntry(BaseModel):
    """One run in a line. `path` is the run's folder inside the report folder."""

    model_config = ConfigDict(extra="forbid")

    created_at: datetime
    version: str | None
    reference: str | None
    verdict: RunVerdict | None
    floor_ms: float | None
    points: list[PointMedian]
    path: str
    identity: dict[str, Any]


def append_history(run: Run, run_folder: Path) -> HistoryEntry:
    """Add the judged `run`, recorded in `run_folder`, to the report folder's history.

    The report folder is the run folder's parent. Returns the line that was added.

    One write of one line: runs that end at the same time on one machine do not mix.
    """
    entry = HistoryEntry(
        created_at=run.created_at,
        version=run.version,
        reference=None if run.comparison is None else run.comparison.reference,
        verdict=run.verdict,
        floor_ms=None if run.surface is None else run.surface.floor_ms.value,
        points=[
            PointMedian(
                context_tokens=point.context_tokens,
                append_tokens=point.append_tokens,
                median_ms=None if point.median_ms is None else round(point.median_ms, 4),
            )
            for point in run.points
        ],
        path=run_folder.name,
        identity=identity_of(run),
    )
    with (run_folder.parent / HISTORY_FILE).open("ab", buffering=0) as file:
        file.write(entry.model_dump_json().encode() + b"\n")
        os.fsync(file.fileno())
    return entry


def load_history(report_dir: Path) -> list[HistoryEntry]:
    """Every line, oldest run first; no file, no lines. Raises UsageError for a broken line."""
    path = report_dir / HISTORY_FILE
    if not path.is_file():
        return []
    entries = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            entries.append(HistoryEntry.model_validate_json(line))
        except ValidationError as error:
            raise UsageError(
                "history",
                f"{path}:{number}",
                f"is no history line ({first_problem(error, 'line')}).",
                "Delete that line; the runs themselves are not touched.",
            ) from error
    return sorted(entries, key=lambda entry: entry.created_at)


def with_protocols(entries: Sequence[HistoryEntry], report_dir: Path) -> list[HistoryEntry]:
    """The entries, and with lines that do not tell their protocol the one their record gives away.

    One record is read for all lines of a definition: that of the most points, since a run of
    selected experiments gives nothing away. Lines whose records are gone stay as they are.
    """
    untold: dict[str, list[HistoryEntry]] = {}
    for entry in entries:
        if "protocol" not in entry.identity and (report_dir / entry.path / RUN_FILE).is_file():
            untold.setdefault(str(entry.identity.get("definition")), []).append(entry)
    told = {}
    for definition, lines in untold.items():
        whole = max(lines, key=lambda entry: len(entry.points))
        found = identity_of(read_run(report_dir / whole.path, option="history"))
        if "protocol" in found:
            told[definition] = {"protocol": found["protocol"]}
    return [
        entry.model_copy(
            update={
                "identity": told.get(str(entry.identity.get("definition")), {}) | entry.identity
            }
        )
        for entry in entries
    ]


def last_of_identity(
    entries: Sequence[HistoryEntry],
    identity: Mapping[str, Any],
    count: int,
    *,
    not_binding: Collection[str] = (),
    before: datetime | None = None,
) -> list[HistoryEntry]:
    """The last `count` runs of that identity that measured something, oldest first.

    `before` leaves out runs that were created at that time or later: the one being judged.
    """
    same = [
        entry
        for entry in entries
        if entry.verdict not in (None, "infrastructure")
        and (before is None or entry.created_at < before)
        and not identity_differences(identity, entry.identity, not_binding)
    ]
    return same[-count:] if count > 0 else []


def load_runs(entries: Sequence[HistoryEntry], report_dir: Path) -> list[Run]:
    """The records of those entries that still lie under `report_dir`; CI may have pruned others.

    The launches of a window are the rolling reference, or the sessions a noise record is made of.
    """
    folders = [report_dir / entry.path for entry in entries]
    return [
        read_run(folder, option="history") for folder in folders if (folder / RUN_FILE).is_file()
    ]
