"""The history's page and what a run's own report says of its history."""

from __future__ import annotations

import re
from datetime import timedelta

import numpy as np
import pytest

from append_prefill.analysis.trend.lineages import Followed
from append_prefill.records.history.entry import Value
from append_prefill.records.history.rows import Act
from append_prefill.report.history.note import history_lines, note_of
from append_prefill.report.history.page import render_history
from append_prefill.report.html import render_html
from append_prefill.report.markdown import render_markdown
from append_prefill.run.history import followed
from tests.records.history import entries
from tests.report import parts, samples
from tests.report.test_html import Page
from tests.test_words import house_words_in

DAYS = 60
NOW = entries.CREATED + timedelta(days=DAYS)


def sessions(count: int = DAYS, **changes: object) -> list:
    rng = np.random.default_rng(0)
    made = []
    for i in range(count):
        log = 0.04 * (20 <= i < 40) + 0.05 * (i >= 50) + rng.normal(0, 0.004)
        level = 16 * float(np.exp(log + rng.normal(0, 0.02)))
        values = [
            entries.ratio("level", log),
            Value("own", "level", level, level * 0.98, level * 1.02),
            Value("own", "floor_ms", level, level * 0.98, level * 1.02),
            Value("own", "finding:flat", 1.1, 1.0, 1.2, False),
            Value("own", "point:L512-m32", level, None, None),
            Value("own", "point:L64-m128", None),
        ]
        made.append(entries.entry(i, values, **changes))
    return made


def history(**changes: object) -> Followed:
    (found,) = followed(sessions(**changes))
    return found


def test_the_page_shows_each_alert_and_every_trend() -> None:
    text = render_history([history()], now=NOW)
    page = Page(text)
    assert page.rows["Open alerts"] == 1
    assert page.rows["Closed alerts"] == 1
    assert page.rows["Findings over sessions"] == 1
    assert page.rows["Points over sessions"] == 1  # the other was never measured
    seen = " ".join(page.text)
    for said in ("+5.0", "standing", "fixed", "everywhere, against 0.5.17", "10 days"):
        assert said in seen
    titles = [
        attributes["aria-label"]
        for tag, attributes in page.tags
        if tag == "svg" and "role" in attributes
    ]
    assert [title.split(" over ")[0] for title in titles] == [
        "Against 0.5.17, everywhere",
        "Level",
        "Floor T₀",
    ]
    assert titles[0].count("from 2026-01-21") == 1  # where it began, as a change point
    assert not house_words_in(seen)


def test_the_page_needs_nothing_from_elsewhere() -> None:
    page = Page(render_history([history()], now=NOW))
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "img")]
    linked = [a["href"] for tag, a in page.tags if tag == "a"]
    assert all(href.startswith("#") for href in linked)


def test_names_are_text() -> None:
    nasty = "<script>alert(1)</script>"
    text = render_history([history(version=nasty, path=nasty)], now=NOW)
    assert "<script" not in text


def test_no_history_is_said() -> None:
    assert "No whole run yet" in render_history([], now=NOW)


def test_size_does_not_grow_with_the_sessions() -> None:
    sizes = [len(render_history(followed(sessions(count)), now=NOW)) for count in (200, 800)]
    assert sizes[1] < 1.2 * sizes[0]


def test_a_runs_own_report_says_where_it_stands() -> None:
    note = note_of(history())
    (alert,) = note.alerts
    page = Page(render_html(samples.passing(), profile=parts.profile(), history=note))
    summary = render_markdown(samples.passing(), history=note)
    lines = "\n".join(history_lines(note))
    for text in (" ".join(page.text), summary.replace("\\", ""), lines):
        assert alert.id in text
        assert re.search(r"\+5\.\d.%? ?.*everywhere, against 0\.5\.17", text.replace("\u00a0", " "))
        assert "session 60" in text
        assert "9 days" in text
    assert page.rows["Open alerts"] == 1
    assert note.bars in summary
    assert note.bars in lines


def test_without_a_history_nothing_is_said_of_one() -> None:
    assert "History" not in render_markdown(samples.passing())
    assert 'id="history"' not in render_html(samples.passing())


def test_an_accepted_alert_is_not_among_the_open_ones() -> None:
    (alert,) = history().open
    act = Act(alert.id, "accept", "kim", "the price of #123", NOW)
    (accepted,) = followed(sessions(), [act])
    assert note_of(accepted).alerts == []
    seen = " ".join(Page(render_history([accepted], now=NOW)).text)
    assert "No alert is open" in seen
    assert "accepted by kim: the price of #123" in seen


@pytest.mark.parametrize("count", [1, 2])
def test_the_first_sessions_make_a_page(count: int) -> None:
    text = render_history(followed(sessions(count)), now=NOW)
    assert "nan" not in text.lower().replace("finance", "")
