"""Write the report files of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from append_prefill.records.run import Run
from append_prefill.records.store import write_whole
from append_prefill.report.delivery.account import status_line
from append_prefill.report.delivery.github import to_github_summary, to_pr_comment
from append_prefill.report.delivery.slack import to_slack
from append_prefill.report.delivery.teams import to_teams
from append_prefill.report.exports import to_bencher, to_csv, to_pytest_benchmark
from append_prefill.report.history.note import HistoryNote
from append_prefill.report.html import render_html
from append_prefill.report.markdown import render_markdown
from append_prefill.report.routing_map import to_routing
from append_prefill.workload.profile import Profile

FILES = {
    "html": "report.html",
    "md": "summary.md",
    "bencher": "bencher.json",
    "pytest-benchmark": "pytest-benchmark.json",
    "csv": "samples.csv",
    "routing": "routing.json",
    "status": "status.txt",
    "github-summary": "github-summary.md",
    "pr-comment": "pr-comment.md",
    "slack": "slack.json",
    "teams": "teams.json",
}
"""Format -> the name of its file."""

REPORTS = ("html", "md", "routing")
"""What every run writes."""


def write_reports(
    run: Run,
    folder: Path,
    *,
    profile: Profile | None,
    baseline: Run | None = None,
    formats: Sequence[str] = REPORTS,
    history: HistoryNote | None = None,
    home: Path | None = None,
) -> dict[str, Path]:
    """Write `formats` (keys of `FILES`) into `folder` (made if need be).

    `home` is where the record lies, if that is another folder: commands about the run name it.

    `profile` adds the experiments' titles and the policy, `baseline` the stored run's intervals;
    `history` what to say of the history; without them the record alone is rendered. Returns the
    paths by file name. Raises StorageError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for name in (known for known in FILES if known in formats):  # the summary names the page
        path = folder / FILES[name]
        page = folder / FILES["html"]
        text = rendered(
            name,
            run,
            profile,
            baseline,
            home=home or folder,
            page=page if page.is_file() else None,
            history=history,
        )
        write_whole(path, text)
        written[path.name] = path
    return written


def rendered(
    name: str,
    run: Run,
    profile: Profile | None,
    baseline: Run | None,
    *,
    home: Path,
    page: Path | None = None,
    history: HistoryNote | None = None,
) -> str:
    """The text of one of `FILES`.

    `home` is the record's folder, `page` the HTML report, where it is there to be named.
    """
    folder = _typed(home)
    match name:
        case "html":
            return render_html(
                run, profile=profile, baseline=baseline, history=history, folder=folder
            )
        case "md":
            path = None if page is None else str(page)
            return render_markdown(run, report_path=path, history=history, folder=folder)
        case "csv":
            return to_csv(run)
        case "bencher":
            return _json(to_bencher(run))
        case "pytest-benchmark":
            return _json(to_pytest_benchmark(run))
        case "routing":
            return _json(to_routing(run))
        case "slack":
            return _json(to_slack(run, baseline))
        case "teams":
            return _json(to_teams(run, baseline))
        case "status":
            return status_line(run, baseline)
        case "github-summary":
            return to_github_summary(run, baseline, history)
        case _:
            return to_pr_comment(run, baseline, history)


def _typed(folder: Path) -> str:
    """`folder` as a command names it from here, and not `latest`, which is another run tomorrow."""
    folder, here = folder.resolve(), Path.cwd().resolve()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=1, allow_nan=False) + "\n"
