"""Other traffic than the points': what is said of it, the same in page, summary and terminal."""

from __future__ import annotations

import base64
import csv
import functools
import html
import io
import re
import shlex

import pytest

from append_prefill.plugin.ending import exit_status
from append_prefill.records.figures import Estimate
from append_prefill.records.run import Run
from append_prefill.records.traffic import Boundary, OverIds, TrafficMean
from append_prefill.report.delivery.account import status_line
from append_prefill.report.exports import CSV_COLUMNS, to_bencher, to_csv, to_pytest_benchmark
from append_prefill.report.headline import headline_of
from append_prefill.report.html import render_html
from append_prefill.report.markdown import render_markdown
from append_prefill.report.next_step import (
    REPLIES_TEST,
    TRAFFIC_TEST,
    Program,
    next_step_of,
)
from append_prefill.report.terminal import last_lines, planned_traffic, summary_lines
from append_prefill.report.traffic import traffic_place, traffic_words
from append_prefill.report.traffic_charts import traffic_charts
from append_prefill.report.traffic_tables import traffic_rows
from append_prefill.workload.traffic import Traffic
from perf_tests import test_traffic as measuring
from tests.report import parts, samples
from tests.report.other_traffic import TOGETHER, TURNS, with_traffic

SLOWER = functools.cache(samples.turns_slower)
LOST = functools.cache(samples.replies_lost)


@functools.cache
def without_points() -> Run:
    """A run of the test of traffic alone: no point was planned."""
    run = samples.passing()
    starts = [start.model_copy(update={"series": []}) for start in run.starts]
    plan = run.plan.model_copy(update={"points": [], "drawn": []})
    bare = {"starts": starts, "plan": plan, "points": [], "comparison": None, "findings": []}
    return with_traffic(run.model_copy(update=bare))


@pytest.mark.parametrize(
    ("traffic", "words", "place"),
    [
        (Traffic("replied"), "conversation, replies in the context", "in conversations"),
        (Traffic("session"), "conversation in a streamed session", "in streamed sessions"),
        (Traffic(company="together:8"), "8 at once", "with 8 at once"),
        (Traffic(company="rate:16"), "16 a second", "at 16 a second"),
        (Traffic(company="rate:0.5"), "0.5 a second", "at 0.5 a second"),
        (Traffic(company="beside:4"), "beside 4 decodes", "beside 4 decodes"),
        (Traffic(state="aged"), "aged server", "on an aged server"),
        (Traffic(form="text"), "text", "as text"),
        (
            Traffic("replied", "chat", "beside:4"),
            "conversation, replies in the context, chat, beside 4 decodes",
            "in conversations as chat beside 4 decodes",
        ),
    ],
)
def test_traffic_is_told_in_plain_words(traffic: Traffic, words: str, place: str) -> None:
    assert traffic_words(traffic) == words
    assert traffic_place(traffic) == place


def test_a_regression_in_traffic_alone_is_the_headline() -> None:
    run = SLOWER()
    assert run.comparison is not None
    assert (run.comparison.verdict, run.verdict) == ("pass", "regression")
    headline = headline_of(run)
    assert re.fullmatch(
        r"SGLang 0\.5\.23 passes over all points, but is 1[3-6]\s% slower than 0\.5\.22 from turn "
        r"4 on in conversations \(turns: \d+ to \d+\), side by side, 5 launches each\.",
        headline.sentence,
    )
    assert headline.certainty == "confirmed side by side"
    (fact,) = (fact for fact in headline.facts if fact.term == "Other traffic")
    assert (fact.text, fact.detail) == ("2 of 3 pass", "1 regression: turns")
    assert headline.exit_meaning.startswith(f"Exit status {exit_status(run, 0, strict=False)}")


def test_points_that_regress_keep_the_headline_and_traffic_follows() -> None:
    run = with_traffic(samples.everywhere(), lambda _, __: 1.2)
    said = headline_of(run).sentence
    assert said.startswith("SGLang 0.5.23 adds ")
    assert re.search(
        r"\. So it is in other traffic: (19|2\d)\s% slower in conversations \(turns: .*\)\.$", said
    )


def test_an_improvement_in_traffic_alone_is_told_beside_the_points() -> None:
    run = with_traffic(samples.passing(), lambda _, __: 0.8)
    assert run.verdict == "improvement"
    assert "passes over all points, and is 20" in headline_of(run).sentence
    step = next_step_of(run)
    assert step is not None
    assert "baselines promote" in step.command


def test_traffic_that_cannot_be_told_is_said_after_points_that_pass() -> None:
    run = with_traffic(samples.passing(), sd=0.2, seed=9)
    assert run.verdict == "inconclusive"
    said = headline_of(run).sentence
    assert "passes over all points; cannot tell whether it is slower than 0.5.22 in conv" in said
    assert "(turns: level " in said


def test_traffic_that_is_faster_for_certain_is_said_after_points_that_cannot_be_told() -> None:
    """The verdict stays open, and what is known stands beside it."""
    one = with_traffic(samples.inconclusive(), lambda _, __: 0.8)
    assert one.verdict == "inconclusive"
    said, said_of_points = headline_of(one).sentence, headline_of(samples.inconclusive()).sentence
    assert said.startswith(said_of_points)
    assert re.search(r" In other traffic it is 2\d\s%\sfaster .*\(turns[^)]*\)\.$", said)
    mean = TrafficMean(
        experiments=["turns", "together_8"],
        weights=[0.5, 0.5],
        ratio=0.776,
        low=0.735,
        high=0.819,
        p=0.0006,
        alpha=0.0007,
        mde=0.2,
        verdict="improvement",
    )
    said = headline_of(one.model_copy(update={"traffic_mean": mean})).sentence
    assert said.removeprefix(said_of_points).replace("\u00a0", " ") == (
        " Other traffic as a whole is 22 % faster (18 to 26, over 2 experiments)."
    )


def test_several_that_regress_are_named_and_the_rest_counted() -> None:
    more = TOGETHER.model_copy(update={"id": "together_9", "company": "together:9"})
    run = with_traffic(
        samples.passing(),
        lambda e, _: 1.5 if e is TURNS else 1.3,
        experiments=(TURNS, TOGETHER, more),
    )
    said = headline_of(run).sentence
    assert re.search(r"slower than 0\.5\.22 in conversations \(turns: [^)]*\), ", said)
    assert re.search(r"slower with \d at once \(together_\d: [^)]*\) and 1 experiment more", said)


def test_lost_replies_are_named_in_the_headline() -> None:
    assert headline_of(LOST()).sentence.endswith(
        ". Replies are not cached: turn 2 prefilled 50 tokens again."
    )
    alone = LOST().model_copy(update={"comparison": None, "traffic": [], "verdict": "broken"})
    said = headline_of(alone).sentence
    assert said == ("Replies are not cached by SGLang 0.5.23: turn 2 prefilled 50 tokens again.")
    others = [*alone.findings, *parts.findings(append_flatness="broken")]
    both = headline_of(alone.model_copy(update={"findings": others})).sentence
    assert both == f"{said} append_flatness does not hold, too."


def test_replies_that_are_lost_now_and_then_are_told_as_a_mean() -> None:
    run = LOST().model_copy(deep=True)
    (finding,) = (f for f in run.findings if f.id == "reply_cached")
    assert not isinstance(finding.reason, str)
    finding.reason.cached_tokens = 140.0  # one in five of 50, where the median lost all
    assert headline_of(run).sentence.endswith(
        ". Replies are not always cached: turn 2 prefilled 10 tokens again on average."
    )


def test_what_traffic_costs_stands_in_its_row() -> None:
    run = SLOWER().model_copy(deep=True)
    text, company = run.traffic[1:]
    for point in (*text.points, *company.points):
        point.over_alone = None
    ms = Estimate(value=0.4, low=None, high=None)
    text.over_ids = OverIds(fixed_ms=ms, per_1000_tokens_ms=ms)
    company.points[0].over_alone = 1.5
    company.points[0].saturation_per_s, company.points[0].offered_per_s = 12.25, 16.0
    notes = {row.result.experiment: row.notes for row in traffic_rows(run)}
    assert notes[text.experiment][-2:] == ["over ids +0.40 ms", "per 1000 tokens +0.40 ms"]
    assert notes[company.experiment] == [
        "1.50 times alone",
        "a queue grows: 12.2 of 16.0 a second end",
    ]


COST = Estimate(value=0.34, low=-0.12, high=0.8)
TOOK = "a merge across the boundary took"


@pytest.mark.parametrize(
    ("boundary", "words"),
    [
        (
            Boundary(share=0.37, tokens=1.0, prefilled_again_tokens=1.05, cost_ms=None),
            f"{TOOK} 1.0 tokens of the context in 37\u00a0% of the prompts",
        ),
        (
            Boundary(share=0.37, tokens=1.1, prefilled_again_tokens=64.0, cost_ms=COST),
            f"{TOOK} 1.1 tokens of the context in 37\u00a0% of the prompts, "
            "64 with the rest of their pages, which cost +0.34 ms (\u22120.12 to +0.80)",
        ),
        (
            Boundary(share=0.0, tokens=None, prefilled_again_tokens=None, cost_ms=None),
            "no prompt lost a token of its context to a merge across the boundary",
        ),
    ],
)
def test_what_was_merged_across_the_boundary_is_said(boundary: Boundary, words: str) -> None:
    run = SLOWER().model_copy(deep=True)
    text = run.traffic[1]
    text.boundary = boundary
    notes = {row.result.experiment: row.notes for row in traffic_rows(run)}
    assert notes[text.experiment][-1] == words
    said = html.unescape(render_html(run)).replace("\u202f", "\u00a0")
    assert words in said
    assert words in render_markdown(run)
    assert any(words in line for line in summary_lines(run, None))


def test_several_conversations_are_charted_over_their_contexts() -> None:
    """The same turn of each is at another L."""
    run = LOST().model_copy(deep=True)
    for point in run.traffic[0].points:
        point.turn = 2 + (point.turn or 0) % 2
    (chart,) = traffic_charts(run, traffic_rows(run), None)
    assert chart.x_label == "context tokens L (log)"
    assert chart.lines[0].marks[0].tip.startswith("candidate, L\u00a0=\u00a0150")


def test_a_run_of_traffic_alone_passes_by_it() -> None:
    run = without_points()
    assert (run.comparison, run.verdict) == (None, "pass")
    headline = headline_of(run)
    assert headline.sentence.startswith(
        "No slow-down of 10 % can hide in SGLang 0.5.23 against 0.5.22 in conversations (turns: lev"
    )
    assert [fact.term for fact in headline.facts] == ["Can tell", "Findings", "Other traffic"]
    page = render_html(run)
    assert 'aria-label="What differs"' in page
    assert "reference: 0.5.22" in page


@pytest.mark.parametrize(
    ("run", "test"),
    [
        (SLOWER, f"{TRAFFIC_TEST}[turns]"),
        (LOST, f"{TRAFFIC_TEST}[turns]"),
        (lambda: LOST().model_copy(update={"verdict": "broken", "traffic": []}), REPLIES_TEST),
    ],
)
def test_the_next_command_measures_that_traffic_alone(run, test: str) -> None:
    step = next_step_of(run())
    assert step is not None
    words = shlex.split(step.command)
    assert words[words.index("-k") + 1] == test
    assert callable(getattr(measuring, test.partition("[")[0]))


def test_where_points_moved_too_all_is_measured_again() -> None:
    step = next_step_of(with_traffic(samples.everywhere(), lambda _, __: 1.2))
    assert step is not None
    assert "-k" not in step.command


@pytest.mark.parametrize("run", [SLOWER(), LOST(), without_points()])
def test_every_form_tells_the_same_of_an_experiment(run: Run) -> None:
    page = html.unescape(render_html(run, profile=parts.profile()))
    table = page[page.index('<table aria-label="Other traffic"') :]
    rows = table[: table.index("</tbody>")].split("<tr")[2:]
    summary = render_markdown(run).replace("\\", "")
    terminal = "\n".join([*summary_lines(run, None), *last_lines(run, Program(), keepable=True)])
    assert len(rows) == len(run.traffic)
    for row, told in zip(rows, traffic_rows(run), strict=True):
        comparison = told.result.comparison
        assert comparison is not None
        level = comparison.level
        assert level is not None
        assert level.ratio is not None
        (change,) = re.findall(r"<b>(\S+)\s%</b>", row)
        shown = float(change.replace("\u2212", "-"))
        assert shown == pytest.approx((level.ratio - 1) * 100, abs=0.051)
        assert f'<span class="w">{comparison.verdict}<' in row
        for text in (page, summary, terminal):
            assert told.words in text
        for text in (row, summary, terminal):
            assert change in text
            for note in told.notes:
                assert note in text
        assert re.search(rf"{comparison.verdict} +{told.result.experiment}: ", terminal)
        assert re.search(rf"{re.escape(change)}\s%.*{comparison.verdict} \|", summary)
    assert headline_of(run).sentence.replace("\u00a0", " ") in terminal
    assert "other traffic " in status_line(run)


def test_a_chart_goes_over_the_turns_with_both_sides_and_what_was_cached() -> None:
    run = LOST()
    (chart,) = traffic_charts(run, traffic_rows(run), None)
    assert [tick.text for tick in chart.x_ticks] == ["2", "3", "4", "5", "6"]
    assert [line.role for line in chart.lines] == ["candidate", "reference"]
    ours, theirs = chart.lines
    assert ours.marks[0].tip.startswith("candidate, turn 2: ")
    assert ours.marks[0].tip.endswith("; 100 of 150 tokens cached")
    assert all(mark.low_y and mark.high_y for mark in (*ours.marks, *theirs.marks))
    assert len(ours.dots) == 5 * 5
    assert chart.panel is not None
    assert chart.panel.marks[0].tip.startswith("turn 2: +2")
    assert chart.panel.catch_label == "+10 % to catch"


def test_an_experiment_of_one_condition_has_a_row_and_no_chart() -> None:
    run = SLOWER()
    assert {chart.id for chart in traffic_charts(run, traffic_rows(run), None)} == {
        "traffic-turns",
        "traffic-together_8",
    }
    assert len(traffic_rows(run)) == 3


def test_a_stored_run_lends_its_intervals_to_the_reference() -> None:
    stored = with_traffic(samples.baseline_run())
    run = LOST()
    alone = [start for start in run.starts if start.side == "candidate"]
    run = run.model_copy(update={"starts": alone})
    (bare,) = traffic_charts(run, traffic_rows(run), None)
    (full,) = traffic_charts(run, traffic_rows(run), stored)
    assert all(mark.low_y is None for mark in bare.lines[1].marks)
    assert all(mark.low_y is not None for mark in full.lines[1].marks)


def test_what_was_not_measured_says_why() -> None:
    run = SLOWER()
    (first, *others) = run.traffic
    left = first.model_copy(update={"comparison": None, "points": [], "reason": "no room for it"})
    page = render_html(run.model_copy(update={"traffic": [left, *others]}))
    assert "no room for it" in page
    assert "not compared" in page


def test_the_saved_table_has_the_conditions_too() -> None:
    run = SLOWER()
    page = render_html(run)
    found = re.search(r'href="data:text/csv;base64,([^"]*)"', page)
    assert found
    rows = list(csv.DictReader(io.StringIO(base64.b64decode(found[1]).decode())))
    turns = [row for row in rows if row["experiment"] == "turns"]
    assert [row["turn"] for row in turns] == ["2", "3", "4", "5", "6"]
    assert {row["traffic"] for row in turns} == {"replied"}
    assert turns[0]["cached_tokens"] == turns[0]["planned_cached_tokens"] == "150"
    assert all(len(row["candidate_launches_ms"].split()) == 5 for row in rows)
    assert sum(row["experiment"] == "" for row in rows) == len(run.points)


def test_exports_have_the_samples_of_other_traffic() -> None:
    run = SLOWER()
    rows = list(csv.DictReader(io.StringIO(to_csv(run))))
    assert tuple(rows[0]) == CSV_COLUMNS
    of = [row for row in rows if row["context"] == "replied"]
    assert len(of) == 10 * 5 * 8  # launches, turns, samples
    assert {row["planned_cached_tokens"] for row in of} == {"150", "400", "650", "900", "1150"}
    plain = next(row for row in rows if row["company"] == "alone" and row["state"] == "fresh")
    assert (plain["context"], plain["form"], plain["planned_cached_tokens"]) == (
        "primed",
        "ids",
        "",
    )
    assert {row["boundary_merged_tokens"] for row in rows} == {""}
    run = run.model_copy(deep=True)
    run.starts[0].traffic[0].boundary_merged_tokens = [0, 2, 0, 0, 0, 1, 0, 0]
    rows = list(csv.DictReader(io.StringIO(to_csv(run))))
    of = [row for row in rows if row["boundary_merged_tokens"]]
    assert [row["boundary_merged_tokens"] for row in of] == ["0", "2", *"00010", "0"]
    bencher = to_bencher(run)
    assert "ttft/L150-m200/replied" in bencher
    assert "ttft/L512-m32/together:8" in bencher
    names = [one["name"] for one in to_pytest_benchmark(run)["benchmarks"]]
    assert len(names) == len({*names}) == len(run.points) + 5 + 2 + 1
    assert "ttft[L150-m200 replied]" in names


def test_a_plan_tells_what_traffic_it_takes_and_how_often() -> None:
    planned = [
        {"experiment": "turns", "words": "conversation", "samples": 5, "every": 3},
        {"experiment": "aged", "words": "aged server", "samples": 1, "every": 1},
    ]
    assert planned_traffic(planned) == (
        "turns (conversation), 5 samples in every 3rd block; aged (aged server), 1 sample in every "
        "block"
    )
