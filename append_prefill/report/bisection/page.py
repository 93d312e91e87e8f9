"""A bisection as one self-contained page: no font, script or image from elsewhere."""

from __future__ import annotations

from pathlib import Path

from append_prefill.records.bisection import Bisection
from append_prefill.records.store import write_whole
from append_prefill.report.bisection import picture, sentence
from append_prefill.report.templating import ENVIRONMENT

PAGE = "bisection.html"


def write_page(found: Bisection, folder: Path) -> Path:
    """Write the page into `folder`."""
    return write_whole(folder / PAGE, render_page(found))


def render_page(found: Bisection) -> str:
    """The page's text; links to the runs are relative to the bisection's folder."""
    shown, more = sentence.suspects_by_weight(found.suspects)
    return ENVIRONMENT.get_template("bisection.html.j2").render(
        found=found,
        command="ablate" if found.listed == "defaults" else "bisect",
        subject=sentence.subject_words(found),
        verdict=sentence.verdict_of(found),
        picture=picture.picture_of(found),
        size=picture,
        next_step=sentence.next_step_of(found),
        listed=sentence.LISTED[found.listed],
        step_columns=sentence.STEP_COLUMNS,
        step_rows=sentence.step_rows(found),
        each_columns=sentence.EACH_COLUMNS,
        each_rows=sentence.each_rows(found),
        level_columns=sentence.LEVEL_COLUMNS,
        level_rows=sentence.level_rows(found),
        logs={p.name: p.log for p in found.positions},
        seen=sentence.SEEN,
        shown_suspects=shown,
        more_suspects=more,
        why_words=sentence.why_words,
        suspect_words=sentence.suspect_words,
        size_words=sentence.size_words,
        experiments=sentence.experiments_words(found.experiments),
        forest_width=0,
    )
