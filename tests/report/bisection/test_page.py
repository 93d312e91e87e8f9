"""The page of a bisection, and its picture."""

from __future__ import annotations

import re

import pytest

from append_prefill.records.bisection import ListedPosition, read_bisection, write_bisection
from append_prefill.report.bisection.page import render_page, write_page
from append_prefill.report.bisection.picture import BOTTOM, LEFT, RIGHT, TOP, picture_of
from tests.report.bisection.findings import ablated, found, size


@pytest.mark.parametrize("made", [found(), ablated(), found(steps=[], total=None, rest=None)])
def test_the_page_stands_alone(made):
    page = render_page(made)
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)
    assert "<script" in page
    assert page.count("<h1>") == 1


def test_the_page_has_all_that_was_found():
    page = render_page(found())
    # A number and its unit stay on one line.
    assert "0.5.16 +4.0\N{NO-BREAK SPACE}% (2.8 to 5.2)" in page
    assert "append-prefill ablate 0.5.18..0.5.19" in page
    assert '<a href="runs/1/report.html">' in page
    assert '<a href="runs/3/candidate-0.log">log</a>' in page
    assert "no &lt;kernel&gt;" in page
    assert "no <kernel>" not in page
    assert page.count('class="whisker"') == 4


def test_what_was_not_measured_is_listed():
    page = render_page(ablated())
    assert "torch 2.9 → 2.10" in page
    assert "does not work: the server ended" in page
    assert '<a href="tried/1/candidate-0.log">log</a>' in page
    folded = page[page.index("<details><summary>1 environment variable ") :]
    assert "SGLANG_OFF 1 → –</td>" in folded
    assert "torch" not in folded[: folded.index("</details>")]


def test_what_stopped_a_search_is_on_its_page():
    page = render_page(found(ended="stopped", problem="0.5.19 is an end", total=None, steps=[]))
    assert "Stopped: 0.5.19 is an end" in page
    assert "Go on from here" in page


def test_the_picture_lies_within_its_frame():
    picture = picture_of(found())
    assert picture is not None
    assert len(picture.dots) == 4
    assert len(picture.crosses) == 1
    assert [band.slower for band in picture.bands] == [True, False, True]
    for dot in picture.dots:
        assert LEFT <= dot.x <= RIGHT
        assert TOP <= dot.high_y <= dot.y <= dot.low_y <= BOTTOM
    assert [dot.x for dot in picture.dots] == sorted(dot.x for dot in picture.dots)
    # Slower is higher.
    assert picture.dots[-1].y < picture.dots[0].y


def test_of_many_positions_some_are_named():
    many = [ListedPosition(name=f"c{n:03}", level=size(1.0)) for n in range(120)]
    picture = picture_of(found(positions=many, steps=[]))
    assert picture is not None
    assert len(picture.dots) == 120
    assert len(picture.x_ticks) < 60
    assert picture.x_ticks[-1].text == "c119"


def test_without_a_level_there_is_no_picture():
    none = [one.model_copy(update={"level": None}) for one in found().positions]
    assert picture_of(found(positions=none)) is None


def test_what_is_written_is_read_again(tmp_path):
    assert read_bisection(tmp_path) is None
    write_bisection(found(), tmp_path)
    assert read_bisection(tmp_path) == found()
    assert write_page(found(), tmp_path).read_text(encoding="utf-8") == render_page(found())
