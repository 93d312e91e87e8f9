"""`pinned.json`: the reference of one device and model that only a reviewed commit moves.

A baseline that follows every version forgives a slow creep: each run is held against one that
is a little slower already. The pinned one does not move until someone promotes another.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from append_prefill.errors import UsageError, first_problem
from append_prefill.records.run import Run
from append_prefill.records.store import read_run, write_whole

PINNED_FILE = "pinned.json"
_OPTION = "pinned baseline"


class Pinned(BaseModel):
    """Which file of the folder is pinned, why, and the digest of what it held then."""

    model_config = ConfigDict(extra="forbid")

    version: str
    file: str
    promoted_at: datetime
    reason: str = Field(min_length=1)
    sha256: str

    def names(self, path: Path) -> bool:
        """Whether `path`, a file in the same folder, is the pinned one."""
        return path.name == self.file


def pin(path: Path, *, version: str, reason: str, now: datetime | None = None) -> Pinned:
    """Make the baseline at `path` its folder's reference. Raises UsageError without a reason."""
    if not reason.strip():
        raise UsageError(
            "--reason", repr(reason), "says nothing.", "Say why the reference may move."
        )
    pinned = Pinned(
        version=version,
        file=path.name,
        promoted_at=now or datetime.now(UTC),
        reason=reason.strip(),
        sha256=_sha256(path),
    )
    write_whole(path.parent / PINNED_FILE, pinned.model_dump_json(indent=1) + "\n")
    return pinned


def read_pinned(folder: Path) -> Pinned | None:
    """The folder's `pinned.json`; None if there is none. Raises UsageError if it is not valid."""
    path = folder / PINNED_FILE
    if not path.is_file():
        return None
    try:
        return Pinned.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise UsageError(
            _OPTION,
            path,
            f"does not validate: {first_problem(error, 'file')}.",
            "Restore it, or run append-prefill baselines promote.",
        ) from error


def read_pinned_run(folder: Path) -> Run | None:
    """The pinned reference itself; None if nothing is pinned.

    Raises UsageError if the pinned file is gone, or holds something else than when it was pinned.
    """
    pinned = read_pinned(folder)
    if pinned is None:
        return None
    path = folder / pinned.file
    if not path.is_file() or _sha256(path) != pinned.sha256:
        state = "has changed since it was pinned" if path.is_file() else "is gone"
        raise UsageError(
            _OPTION,
            path,
            f"{state}, so the reference has moved without anyone promoting it.",
            "Restore it from version control, or run append-prefill baselines promote.",
        )
    return read_run(path, option=_OPTION)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
