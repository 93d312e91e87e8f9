"""The folders of runs: making one, and leaving in it what the reader looks for."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from append_prefill.analysis.trend.lineages import Followed
from append_prefill.errors import AppendPrefillError, UsageError, storing
from append_prefill.records.baselines import save_baseline
from append_prefill.records.run import Run
from append_prefill.report.history.note import note_of
from append_prefill.report.write import write_reports
from append_prefill.run.history import add_run, follow_run
from append_prefill.run.joining import join
from append_prefill.run.references import compared_with
from append_prefill.run.session import Session

LATEST = "latest"


def new_folder(report_dir: Path, created_at: datetime, label: str) -> Path:
    """Make `<report_dir>/<time>-<label>/`; a number is added where that is taken."""
    slug = re.sub(r"[^A-Za-z0-9.]+", "-", label).strip("-")
    name = f"{created_at.astimezone():%Y%m%dT%H%M%S}-{slug}"
    report_dir.mkdir(parents=True, exist_ok=True)
    for suffix in ("", *(f"-{n}" for n in range(2, 100))):
        folder = report_dir / f"{name}{suffix}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"{report_dir / name} and 98 more like it exist")


@dataclass(frozen=True, slots=True)
class Kept:
    """What the history has of a run that ended: its own, or the `problem` that it has not.

    Both None: the run is no session of a history, since it is not whole. `suspecting` is the record
    of the run whose suspicion this one measured again, with its answer, or `not_joined` says why it
    has none.
    """

    followed: Followed | None = None
    problem: str | None = None
    suspecting: Run | None = None
    not_joined: str | None = None


def close_run(session: Session, run: Run) -> Kept:
    """Put the run into the history, write the reports, point `latest` at them, store a baseline.

    A run without a usable measurement is reported and not stored, nor is one that the user
    interrupted, having fewer launches than a baseline was to have. Whatever is wrong with the
    history, it costs no report.
    """
    folder = session.folder
    kept = _keep(run, folder)
    write_reports(
        run,
        folder,
        profile=session.settings.profile,
        baseline=session.references.chosen,
        history=None if kept.followed is None else note_of(kept.followed),
    )
    _point_latest(folder)
    if run.verdict == "infrastructure":
        return kept
    kept = _join(session, run, kept)
    if session.settings.options.save_baseline and not run.interrupted:
        save_baseline(
            run,
            session.settings.baselines,
            not_binding=session.settings.profile.identity_not_binding,
        )
    return kept


def _join(session: Session, run: Run, kept: Kept) -> Kept:
    """Write what the run says of another's suspicion into that one; it costs the run nothing."""
    settings = session.settings
    if settings.suspicion is None or run.interrupted:
        return kept
    asked = settings.suspicion
    baseline = compared_with(asked.run, asked.comparison, settings.baselines, settings.shipped)
    try:
        joined = join(run, asked, session.folder, profile=settings.profile, baseline=baseline)
    except AppendPrefillError as error:
        return replace(kept, not_joined=str(error))
    return replace(kept, suspecting=joined)


def _keep(run: Run, folder: Path) -> Kept:
    try:
        add_run(run, folder)
        return Kept(followed=follow_run(run, folder.parent))
    except UsageError as error:
        return Kept(problem=str(error))
    except Exception as error:  # noqa: BLE001 (the report is worth more than what follows it)
        return Kept(problem=f"Following it failed: {type(error).__name__}: {error}")


def taken_latest(report_dir: Path) -> Path | None:
    """What stands where `latest` would, and is no link: a folder that no run replaces."""
    path = report_dir / LATEST
    return path if path.is_dir() and not path.is_symlink() else None


def _point_latest(folder: Path) -> None:
    if taken_latest(folder.parent) is not None:
        return  # the run's header has said so
    fresh = folder.parent / f".{LATEST}-{folder.name}"
    with storing(folder.parent / LATEST):
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(folder.name)
        fresh.replace(folder.parent / LATEST)
