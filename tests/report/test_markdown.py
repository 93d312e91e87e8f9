from __future__ import annotations

import re

import pytest

from append_prefill.report.html import render_html
from append_prefill.report.markdown import WORST_POINTS, escape, render_markdown
from append_prefill.report.terminal import summary_lines
from append_prefill.report.words import shared_note, word_of
from tests.report import samples


@pytest.mark.parametrize("name", sorted(samples.SAMPLES))
def test_verdict_first_and_tables_are_rectangular(name: str) -> None:
    run, _ = samples.SAMPLES[name]()
    text = render_markdown(run, report_path="reports/x/report.html")
    word = word_of(run.verdict)
    assert text.startswith(f"## {word.sign} append-prefill: {word.word}")
    assert "reports/x/report.html" in text
    width = 0
    for line in text.splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert width in (0, cells) or not cells
        width = cells


def test_points_of_one_side_are_named_wherever_the_verdict_is_told() -> None:
    run = samples.suspected()
    assert run.comparison is not None
    assert shared_note(run.comparison) == ""
    run.comparison.only_candidate = [(96, 64)]
    run.comparison.only_reference = [(9, 9), (9, 10)]
    note = (
        f"Compared at the {len(run.comparison.points)} points both have; "
        "not in the baseline: L96-m64; not in this run: L9-m9 and L9-m10."
    )
    assert shared_note(run.comparison) == note
    terminal = summary_lines(run, None)
    for text in (render_markdown(run).replace("\\", ""), render_html(run), "\n".join(terminal)):
        assert note in text


def test_no_common_point_is_said_as_such() -> None:
    run = samples.not_comparable()
    assert run.comparison is not None
    run.comparison.differing = {}
    text = render_markdown(run)
    assert "no point was measured on both sides" in text


def test_worst_points_are_the_five_slowest() -> None:
    run = samples.regression()
    assert run.comparison is not None
    text = render_markdown(run)
    table = text[text.index("### Worst") :].splitlines()
    rows = [line for line in table if re.match(r"\| \d", line)]
    assert len(rows) == WORST_POINTS
    slowest = sorted(run.comparison.points, key=lambda p: -(p.ratio or 0))[:WORST_POINTS]
    for row, effect in zip(rows, slowest, strict=True):
        assert row.startswith(f"| {effect.context_tokens} | {effect.append_tokens} |")


def test_a_judged_change_is_explained_and_a_quotient_of_medians_is_not() -> None:
    for run, explained in ((samples.regression(), True), (samples.against_study(), False)):
        texts = [render_markdown(run), render_html(run)]
        assert [("scatters less than the medians" in text) for text in texts] == [explained] * 2


def test_findings_table_has_every_finding() -> None:
    run = samples.regime_shift()
    text = render_markdown(run)
    for finding in run.findings:
        assert f"`{finding.id}`" in text
    assert "⇄ regime-shift" in text


def test_hostile_text_cannot_format_link_mention_or_break_a_table() -> None:
    text = render_markdown(samples.huge_names())
    assert "<script>" not in text
    assert "\\<script\\>" in text
    assert "[a](b)" not in text
    assert " @team" not in text


def test_suspicion_carries_its_command() -> None:
    text = render_markdown(samples.suspected())
    assert text.splitlines()[0].endswith("regression – not confirmed")
    assert "append-prefill confirm reports/latest" in text


@pytest.mark.parametrize(
    ("raw", "escaped"),
    [
        ("a|b", "a\\|b"),
        ("two\nlines", "two lines"),
        ("*x* `y`", "\\*x\\* \\`y\\`"),
        ("plain 1.5 %", "plain 1.5 %"),
    ],
)
def test_escape(raw: str, escaped: str) -> None:
    assert escape(raw) == escaped
