"""`history.jsonl`, one line a run, which suites before 0.2 kept: read once, and left as it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from append_prefill.errors import UsageError, first_problem
from append_prefill.records.history.entry import Entry, Value
from append_prefill.records.run import RunVerdict
from append_prefill.workload.points import Point

LINES_FILE = "history.jsonl"


class _PointMedian(BaseModel):
    model_config = ConfigDict(extra="forbid")

    context_tokens: int
    append_tokens: int
    median_ms: float | None


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid")

    created_at: datetime
    version: str | None
    reference: str | None
    verdict: RunVerdict | None
    floor_ms: float | None
    points: list[_PointMedian]
    path: str
    identity: dict[str, Any]


def lines_of(report_dir: Path) -> Iterator[Entry]:
    """An entry for each line: of runs whose records may be gone, so never of whole ones.

    What such a line lacks (launches, intervals, its profile) no reader of it ever had. Raises
    UsageError for a line that is none.
    """
    path = report_dir / LINES_FILE
    if not path.is_file():
        return
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            yield _entry(_Line.model_validate_json(line))
        except ValidationError as error:
            raise UsageError(
                "history",
                f"{path}:{number}",
                f"is no history line ({first_problem(error, 'line')}).",
                "Delete that line; the runs themselves are not touched.",
            ) from error


def _entry(line: _Line) -> Entry:
    told = f"{line.created_at.isoformat()}\n{line.path}"
    values = [Value("own", "floor_ms", line.floor_ms)]
    values += [
        Value("own", f"point:{Point(p.context_tokens, p.append_tokens).label}", p.median_ms)
        for p in line.points
    ]
    return Entry(
        key=hashlib.sha256(told.encode()).hexdigest()[:16],
        path=line.path,
        created_at=line.created_at,
        host=None,
        profile="",
        definition=str(line.identity.get("definition", "")),
        identity=line.identity,
        version=line.version,
        label=None,
        reference=line.reference,
        verdict=line.verdict,
        purpose="simulated" if line.identity.get("device_kind") == "planted" else "partial",
        whole=False,
        launches=0,
        minutes=None,
        blocks=0,
        invalid_blocks=0,
        values=tuple(values),
    )
