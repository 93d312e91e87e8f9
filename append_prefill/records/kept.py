"""The files of cliffs: those that are kept for a profile, and a search's record."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ValidationError

from append_prefill.errors import UsageError, first_problem
from append_prefill.records.cliffs import Cliff, KeptCliffs
from append_prefill.records.store import write_whole


def kept_file(folder: Path, profile: str) -> Path:
    """Where the cliffs of a profile are kept."""
    return folder / f"{profile}.json"


def read_kept(folder: Path, profile: str) -> tuple[Cliff, ...]:
    """Those kept for a profile; none without a file. Raises UsageError for a damaged one."""
    path = kept_file(folder, profile)
    if not path.is_file():
        return ()
    try:
        return tuple(KeptCliffs.model_validate_json(path.read_bytes()).cliffs)
    except ValidationError as error:
        raise UsageError(
            "--profile",
            path,
            f"does not validate: {first_problem(error, 'cliffs')}.",
            "Repair it, or remove it: no kept cliff is measured then.",
        ) from error


def keep(folder: Path, profile: str, found: list[Cliff]) -> tuple[Path, list[Cliff]]:
    """Add to the profile's file what it does not hold; its path and what was added.

    A cliff is held if the file has one with an edge of the same axis, in the same traffic, within
    its reach: what is measured ever after stays the same pair of points.
    """
    before = read_kept(folder, profile)
    new = [
        cliff
        for cliff in found
        if not any(
            (old.axis, old.experiment) == (cliff.axis, cliff.experiment)
            and cliff.has(old.points[1])
            for old in before
        )
    ]
    path = kept_file(folder, profile)
    if new:
        folder.mkdir(parents=True, exist_ok=True)
        write_document(path, KeptCliffs(profile=profile, cliffs=[*before, *new]))
    return path, new


def write_document(path: Path, document: BaseModel) -> Path:
    """Write it, replacing what was there as a whole."""
    return write_whole(path, document.model_dump_json(indent=1, by_alias=True) + "\n")
