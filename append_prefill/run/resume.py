"""Going on with a run that was cut off: what its folder holds, and what has to be the same.

A run that was killed, interrupted, or lost its device or its power has its plan in `run.json`, its
whole launches beside it, and in its queue which pairs are done and which interim analyses were
made. What is not done is measured again from its start; nothing else is, and nothing that was
planned changes, so the verdict is that of a run which was never cut off.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError

import append_prefill
from append_prefill.errors import UsageError, first_problem
from append_prefill.probe.plan import Plan
from append_prefill.records.definition import definition_of
from append_prefill.records.grounds import RunWarning
from append_prefill.records.identity import identity_differences
from append_prefill.records.run import Run
from append_prefill.records.store import RUN_FILE, read_run, read_starts
from append_prefill.run.identity import identity_for, profile_digest
from append_prefill.run.progress import PROGRESS
from append_prefill.run.queue import QUEUE_FILE, WORK, QueueState, Resumption, read_state
from append_prefill.run.settings import Settings

OPTION = "--resume"
_LOCK_FILE = "run.lock"
_AFRESH = "Measure again, without --resume."


@dataclass(frozen=True, slots=True)
class Resumed:
    """A run that is gone on with: its folder, its record so far, and this resumption of it."""

    folder: Path
    run: Run
    resumption: Resumption


def hold(folder: Path) -> FileLock:
    """A lock that is held as long as the run in `folder` goes on, by whoever owns its report.

    Raises UsageError while another process holds it, or measures a pair of that run.
    """
    work = folder / WORK
    work.mkdir(exist_ok=True)
    lock = FileLock(work / _LOCK_FILE)
    try:
        lock.acquire(blocking=False)
        # A worker may outlive its controller for a moment.
        for path in work.glob("pair-*.lock"):
            with FileLock(path).acquire(blocking=False):
                pass
    except Timeout:
        raise UsageError(
            OPTION, folder, "is still being measured.", "Wait for its end, or end it (Ctrl-C)."
        ) from None
    return lock


def read_cut(path: Path) -> Resumed:
    """The run in `path`, a report folder or its record, at the moment of going on with it.

    Raises UsageError where there is nothing to go on with: no run, none of this suite's version,
    or one that is finished.
    """
    folder = (path if path.is_dir() else path.parent).resolve()
    if folder.is_dir() and (folder / PROGRESS).is_file() and not (folder / RUN_FILE).exists():
        raise UsageError(OPTION, path, "was cut off before it measured anything.", _AFRESH)
    run = read_run(folder if path.is_dir() else path, option=OPTION)
    try:
        state = read_state(folder / WORK)
    except ValidationError as error:
        raise UsageError(
            OPTION,
            folder / WORK / QUEUE_FILE,
            f"does not validate: {first_problem(error, 'queue')}.",
            _AFRESH,
        ) from error
    if state is None:
        raise UsageError(
            OPTION,
            path,
            f"is a record without the run's queue ({WORK}/{QUEUE_FILE}).",
            "Give the report folder of the run as it was left.",
        )
    version = run.suite.get("version")
    if version != append_prefill.__version__:
        raise UsageError(
            OPTION,
            path,
            f"was begun by append-prefill {version}; this is {append_prefill.__version__}.",
            "Go on with the same version, or measure again.",
        )
    if _is_finished(run, state):
        raise UsageError(OPTION, path, f"is finished: {run.verdict}.", _AFRESH)
    read_starts(folder)  # raises for a launch that nothing could be made of
    now = datetime.now(UTC)
    paused_s = max(0.0, now.timestamp() - _last_sign_s(folder))
    return Resumed(folder, run, Resumption(at=now, pairs=len(state.done), paused_s=paused_s))


def begun(resumed: Resumed) -> bool:
    """Whether the run has been gone on with since, by any worker."""
    state = read_state(resumed.folder / WORK)
    return state is not None and resumed.resumption in state.resumed


def _is_finished(run: Run, state: QueueState) -> bool:
    """Whether it was judged as planned. What only its judging failed of can be judged again."""
    failed = any(isinstance(w, RunWarning) and w.code == "judging-failed" for w in run.warnings)
    return state.closed is not None and run.verdict is not None and not failed


def _last_sign_s(folder: Path) -> float:
    """When the run last wrote something (Unix time)."""
    written = [folder / RUN_FILE]
    for pattern in (f"{WORK}/{QUEUE_FILE}", "starts/*.json", "*.log"):
        written += folder.glob(pattern)
    latest = -math.inf
    for path in written:
        with suppress(FileNotFoundError):
            latest = max(latest, path.stat().st_mtime)
    return latest


def refuse_changed(resumed: Resumed, settings: Settings) -> None:
    """Raise UsageError where what would be measured now is not what was measured before."""
    run, profile = resumed.run, settings.profile
    digest = run.suite.get("profile_digest")
    if run.definition != definition_of(profile) or digest != profile_digest(profile):
        raise UsageError(
            "--profile",
            run.profile,
            "has changed since the run was begun: points, protocol or policy are others.",
            "Restore it, or measure again.",
        )
    if differing := identity_differences(run.identity, identity_for(settings)):
        raise UsageError(
            OPTION,
            resumed.folder,
            f"was begun on something else: {', '.join(sorted(differing))} differ(s).",
            "Go on where it was begun, or measure again.",
        )
    version = settings.candidate.version
    # Before its first launch the record has what the environment says of itself.
    if not run.starts and None not in (run.version, version) and run.version != version:
        raise UsageError(
            "--sglang",
            version,
            f"is not what the run was begun with, which is {run.version}.",
            "Restore the environment, or measure again.",
        )


def refuse_other_plan(resumed: Resumed, plan: Plan, settings: Settings, workers: int) -> None:
    """Raise UsageError where another plan, or another number of workers, would be measured by."""
    before = resumed.run.plan
    now = plan.record(settings.profile.link.gb_per_s)
    differing = [
        name for name in type(before).model_fields if getattr(before, name) != getattr(now, name)
    ]
    if differing:
        raise UsageError(
            OPTION,
            resumed.folder,
            f"was planned otherwise: {', '.join(differing)} differ(s).",
            "Select the same tests; or measure again.",
        )
    # How many are measured at once decides when interim analyses are due.
    counted = resumed.run.state.get("workers")
    if counted != workers:
        raise UsageError(
            "-n",
            workers,
            f"is not what the run was begun with: {counted} worker(s).",
            "Use as many.",
        )
