"""The record of a run that was killed: what its launches wrote to disk, not judged."""

from __future__ import annotations

from pathlib import Path

from append_prefill.analysis.summary import summarise_points, usable
from append_prefill.records.grounds import RunWarning
from append_prefill.records.run import Run
from append_prefill.records.store import read_starts
from append_prefill.workload.profile import Profile


def with_launches(run: Run, folder: Path, profile: Profile | None) -> Run:
    """A copy of the unjudged `run` with every launch in `folder`, its verdict still None.

    A run writes its record before the first launch and again after the last one; a killed one has
    its launches in `folder`/starts alone. Points are summarised where the `profile` is at hand.
    Raises UsageError for a launch's file that is no valid one.
    """
    starts = read_starts(folder) or run.starts
    candidate = usable(starts, "candidate")
    warning = RunWarning(
        code="not-finished", launches=len(starts), usable_launches=len(usable(starts, None))
    )
    return run.model_copy(
        update={
            "starts": starts,
            "subject": candidate[0].subject if candidate else run.subject,
            "points": [] if profile is None else summarise_points(starts, profile),
            "warnings": [*run.warnings, warning],
        }
    )
