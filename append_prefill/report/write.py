"""Write the report files of a run."""

from __future__ import annotations

from pathlib import Path

from append_prefill.records.run import Run
from append_prefill.report.html import render_html
from append_prefill.report.markdown import render_markdown
from append_prefill.workload.profile import Profile


def write_reports(
    run: Run, folder: Path, *, profile: Profile | None, baseline: Run | None = None
) -> dict[str, Path]:
    """Write `report.html` and `summary.md` into `folder` (made if need be).

    `profile` adds the experiments' titles and the policy, `baseline` the stored run's intervals;
    without them the record alone is rendered. Returns the paths by file name. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "report.html"
    summary = folder / "summary.md"
    page.write_text(render_html(run, profile=profile, baseline=baseline), encoding="utf-8")
    summary.write_text(render_markdown(run, report_path=str(page)), encoding="utf-8")
    return {page.name: page, summary.name: summary}
