"""The folders of runs: making one, and leaving in it what the reader looks for."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

from append_prefill.records.baselines import save_baseline
from append_prefill.records.history import append_history
from append_prefill.records.run import Run
from append_prefill.report.write import write_reports
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


def close_run(session: Session, run: Run) -> None:
    """Write the reports, point `latest` at them, append to the history, store a baseline.

    A run without a usable measurement is reported but neither stored nor added to the history; one
    that the user interrupted is not stored, having fewer launches than a baseline was to have.
    """
    folder = session.folder
    write_reports(run, folder, profile=session.settings.profile, baseline=session.references.chosen)
    _point_latest(folder)
    if run.verdict == "infrastructure":
        return
    append_history(run, folder)
    if session.settings.options.save_baseline and not run.interrupted:
        save_baseline(
            run,
            session.settings.baselines,
            not_binding=session.settings.profile.identity_not_binding,
        )


def _point_latest(folder: Path) -> None:
    fresh = folder.parent / f".{LATEST}-{folder.name}"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(folder.name)
    fresh.replace(folder.parent / LATEST)
