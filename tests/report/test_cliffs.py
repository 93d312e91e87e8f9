"""What is said of cliffs, in every state that one can be in."""

from __future__ import annotations

import pytest

from append_prefill.records.cliffs import CliffSide, Edge, KeptCliff
from append_prefill.report.cliffs import edge_words, kept_line, side_words
from append_prefill.report.html import render_html
from append_prefill.report.markdown import render_markdown
from tests.analysis.cliffs.test_jump import EDGE
from tests.records import builders

SIDES = {
    "still there, +45.0 % (+40.0 to +50.0 %)": (1.45, 1.40, 1.50, True),
    "gone, +1.0 % (−1.0 to +3.0 %)": (1.01, 0.99, 1.03, False),
    "cannot tell, +7.0 % (+1.0 to +13.0 %)": (1.07, 1.01, 1.13, None),
    "cannot tell, +45.0 %": (1.45, None, None, None),
    "not measured": (None, None, None, None),
}


def side(ratio, low, high, standing):
    return CliffSide(side="candidate", ratio=ratio, low=low, high=high, standing=standing)


@pytest.mark.parametrize("words", SIDES)
def test_a_side_in_words(words):
    assert side_words(side(*SIDES[words])).replace("\u00a0", " ") == words


def test_an_edge_in_words():
    assert edge_words(EDGE) == "from m = 256 to 257, L = 64"
    other = Edge(axis="context", fast=(1101, 8), slow=(1100, 8), expected_ratio=1.0)
    assert edge_words(other) == "from L = 1101 to 1100, m = 8"


def test_a_run_without_kept_cliffs_has_no_such_part():
    run = builders.run()
    assert "Kept cliffs" not in render_html(run)
    assert "Kept cliffs" not in render_markdown(run)


def test_a_run_with_one_tells_it_in_page_and_summary():
    kept = KeptCliff(
        edge=EDGE, found=1.5, found_version="0.5.23", sides=[side(1.01, 0.99, 1.03, False)]
    )
    run = builders.run(cliffs=[kept])
    assert kept_line(kept).startswith("cliff from m = 256 to 257, L = 64: candidate gone")
    for text in (render_html(run), render_markdown(run)):
        assert "Kept cliffs" in text
        assert "from m = 256 to 257, L = 64" in text
        assert "gone" in text
