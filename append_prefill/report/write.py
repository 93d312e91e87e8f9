"""Write the report files of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from append_prefill.records.run import Run
from append_prefill.report.exports import to_bencher, to_csv, to_pytest_benchmark
from append_prefill.report.html import render_html
from append_prefill.report.markdown import render_markdown
from append_prefill.workload.profile import Profile

FILES = {
    "html": "report.html",
    "md": "summary.md",
    "bencher": "bencher.json",
    "pytest-benchmark": "pytest-benchmark.json",
    "csv": "samples.csv",
}
"""Format -> the name of its file."""

REPORTS = ("html", "md")
"""What every run writes."""


def write_reports(
    run: Run,
    folder: Path,
    *,
    profile: Profile | None,
    baseline: Run | None = None,
    formats: Sequence[str] = REPORTS,
) -> dict[str, Path]:
    """Write `formats` (keys of `FILES`) into `folder` (made if need be).

    `profile` adds the experiments' titles and the policy, `baseline` the stored run's intervals;
    without them the record alone is rendered. Returns the paths by file name. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for name in (known for known in FILES if known in formats):  # the summary names the page
        path = folder / FILES[name]
        path.write_text(_rendered(name, run, folder, profile, baseline), encoding="utf-8")
        written[path.name] = path
    return written


def _rendered(
    name: str, run: Run, folder: Path, profile: Profile | None, baseline: Run | None
) -> str:
    match name:
        case "html":
            return render_html(run, profile=profile, baseline=baseline)
        case "md":
            page = folder / FILES["html"]
            return render_markdown(run, report_path=str(page) if page.is_file() else None)
        case "csv":
            return to_csv(run)
        case _:
            export = {"bencher": to_bencher, "pytest-benchmark": to_pytest_benchmark}[name]
            return json.dumps(export(run), indent=1, allow_nan=False) + "\n"
