"""A cause as one self-contained page: no font, script or image from elsewhere."""

from __future__ import annotations

from pathlib import Path

from append_prefill.records.bisection import Bisection
from append_prefill.records.cause import Cause
from append_prefill.records.run import Run
from append_prefill.records.store import write_whole
from append_prefill.report.bisection import sentence as bisected
from append_prefill.report.cause import flames, kernels, sentence
from append_prefill.report.headline import headline_of
from append_prefill.report.templating import ENVIRONMENT

PAGE = "cause.html"


def write_page(
    cause: Cause, run: Run, folder: Path, *, steps: Bisection | None, defaults: Bisection | None
) -> Path:
    """Write the page into `folder`; see `render_page`."""
    return write_whole(folder / PAGE, render_page(cause, run, steps=steps, defaults=defaults))


def render_page(
    cause: Cause, run: Run, *, steps: Bisection | None = None, defaults: Bisection | None = None
) -> str:
    """The page's text: the verdict of `run`, what was bisected and flipped back, the profiles."""
    headline = headline_of(run)
    return ENVIRONMENT.get_template("cause.html.j2").render(
        cause=cause,
        verdict=headline.verdict,
        said=headline.said,
        condition=sentence.condition_words(cause),
        cause_words=sentence.cause_words(cause),
        unshown_words=sentence.unshown_words(cause),
        own_rows=sentence.own_rows(cause),
        whole_rows=sentence.whole_rows(cause),
        other_rows=sentence.other_rows(cause),
        module_rows=sentence.module_rows(cause),
        wait_words=kernels.wait_words(cause),
        family_rows=kernels.family_rows(cause),
        kernel_rows=kernels.kernel_rows(cause),
        costs=sentence.costs(cause),
        graphs=flames.graphs_of(cause),
        size=flames,
        steps=steps,
        defaults=defaults,
        step_columns=bisected.STEP_COLUMNS,
        step_rows=bisected.step_rows,
        bisection_words=bisected.verdict_words,
        suspect_words=bisected.suspect_words,
        reasons=bisected.REASONS,
        forest_width=0,
    )
