"""One account: over simulated runs, all that a report says of one thing is one and the same.

Runs are simulated pairs of servers that differ by a change of any kind, judged by the real judge
and rendered to page, summary, terminal and CSV, which are then read as a reader would.
"""

from __future__ import annotations

import base64
import csv
import html
import io
import re
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from append_prefill.analysis.summary import summarise_points
from append_prefill.analysis.verdict.comparison import compare
from append_prefill.plugin.ending import exit_status
from append_prefill.records.comparison import Comparison
from append_prefill.records.run import Run
from append_prefill.report.headline import headline_of
from append_prefill.report.html import render_html
from append_prefill.report.markdown import render_markdown
from append_prefill.report.next_step import Program
from append_prefill.report.places import named_points, spoken_parts, where_words
from append_prefill.report.terminal import last_lines, summary_lines
from tests.analysis.factory import NOISE, POINTS, POLICY
from tests.report import parts
from tests.report.other_traffic import with_traffic

M = np.array([p.append_tokens for p in POINTS], dtype=float)
L = np.array([p.context_tokens for p in POINTS], dtype=float)
TIMES = np.maximum(15.0, 0.026 * M) + 0.0004 * L
KINDS = {
    "none": 0 * M,
    "everywhere": 0 * M + 1.0,
    "proportional": TIMES / TIMES.mean(),
    "floor": (M <= 308) * 1.0,
    "append": M / 500,
    "context": L / 700,
    "point": (np.arange(len(M)) == 7) * 4.0,
    "mixed": np.where(M >= 512, 2.0, -2.0),
    "against": np.where((np.arange(len(M)) == 2), -2.5, 2.0),
}


@dataclass(frozen=True)
class Told:
    """A run and everything that is made of it."""

    run: Run
    comparison: Comparison
    page: str
    summary: str
    terminal: str


def simulated(kind: str, size_ms: float, sd: float, launches: int, seed: int) -> Run:
    """Interleaved pairs, `sd` being a launch's relative scatter."""
    rng = np.random.default_rng(seed)
    sides = []
    for side, delta in (("reference", 0 * M), ("candidate", size_ms * KINDS[kind])):
        times = np.log(np.maximum(TIMES + delta, 1.0)) + sd * rng.normal(size=(launches, 1))
        table = np.exp(times + sd / 2 * rng.normal(size=(launches, len(M))))
        made = parts.starts_of(list(POINTS), side, parts.Model(), parts.random.Random(seed),
                               count=launches, samples=4,
                               version="0.5.23" if side == "candidate" else "0.5.22")  # fmt: skip
        for start, row in zip(made, table, strict=True):
            start.interleaved = True
            for series, value in zip(start.series, row, strict=True):
                series.ttft_ms = [float(v) for v in value * (1 + 0.004 * rng.normal(size=4))]
        sides.append(made)
    reference, candidate = sides
    comparison = compare(
        candidate,
        reference,
        policy=POLICY,
        noise=NOISE.model_copy(update={"pair_sd": sd, "start_sd": sd}),
        kind="side-by-side",
        reference_label="0.5.22",
        reference_version="0.5.22",
        provenance="suite",
    )
    return parts.bare(
        list(POINTS),
        parts.profile(),
        [*candidate, *reference],
        points=summarise_points(candidate, parts.profile()),
        comparison=comparison,
        verdict=comparison.verdict,
    )


def told(run: Run) -> Told:
    assert run.comparison is not None
    return Told(
        run,
        run.comparison,
        render_html(run, profile=parts.profile()),
        render_markdown(run).replace("\\", ""),
        "\n".join([*summary_lines(run, None), *last_lines(run, Program(), keepable=True)]),
    )


def number(text: str) -> float:
    return float(text.replace("\u2212", "-").replace("+", "").replace("\u202f", ""))


def decimals(text: str) -> int:
    return len(text.partition(".")[2])


def same(shown: str, value: float) -> None:
    """`shown` is `value` as rounded, with its sign."""
    assert number(shown) == pytest.approx(value, abs=0.5000001 * 10 ** -decimals(shown)), shown
    if number(shown):
        assert (number(shown) > 0) == (value > 0), shown


def table_rows(page: str) -> dict[tuple[int, int], tuple[str, list[str], str | None]]:
    """Of the table of points: label, change with both ends, fitted ms; by (L, m)."""
    table = page[page.index('aria-label="Points"') :]
    table = table[table.index("<tbody>") : table.index("</tbody>")]
    found = {}
    for row in table.split("<tr")[1:]:
        place = [int(v) for v in re.findall(r'data-sort="(\d+)"', row)[:2]]
        label = re.search(r'<span class="w">([^<]*)<', row)
        change = re.search(
            r'num change"[^>]*><b>(\S+)\u00a0%</b> <span class="sub">(\S+) to (\S+)\u00a0%', row
        )
        fitted = re.search(r'num fit"[^>]*>([^<]*)<', row)
        assert label
        assert change
        found[place[0], place[1]] = (label[1], list(change.groups()), fitted and fitted[1])
    return found


def tips(page: str, holder: str) -> dict[tuple[int, int], str]:
    """What a pointer reads at each point of the drawing whose class is `holder`."""
    drawing = page[page.index(f'<svg class="{holder}"') :]
    drawing = drawing[: drawing.index("</svg>")]
    found = {}
    for tip in re.findall(r'data-tip="([^"]*)"', drawing):
        place = re.match(r"L\u00a0=\u00a0([\d\u202f]+), m\u00a0=\u00a0([\d\u202f]+): (.*)", tip)
        if place:
            found[int(place[1].replace("\u202f", "")), int(place[2].replace("\u202f", ""))] = place[
                3
            ]
    return found


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    # A second an example: what fails is said by its numbers, and smaller ones say no more.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    size_ms=st.sampled_from([-2.0, -0.5, 0.2, 0.6, 1.5, 3.0]),
    sd=st.sampled_from([0.002, 0.01, 0.04]),
    launches=st.integers(2, 6),
    seed=st.integers(0, 10_000),
)
def test_everything_that_is_said_of_one_thing_agrees(
    kind: str, size_ms: float, sd: float, launches: int, seed: int
) -> None:
    report = told(simulated(kind, size_ms, sd, launches, seed))
    every_point_is_said_once(report)
    what_is_joint_lies_among_its_points(report)
    the_headline_is_what_was_measured(report)
    every_form_has_the_same_sentence(report)
    the_exit_status_follows_from_the_banner(report)


def every_point_is_said_once(report: Told) -> None:
    """Table, both planes, CSV: one change a point, one label, which fits its interval."""
    rows = table_rows(report.page)
    effects = {(e.context_tokens, e.append_tokens): e for e in report.comparison.points}
    assert rows.keys() == effects.keys()
    change = report.comparison.change
    fitted = (
        {} if change is None else {(a.context_tokens, a.append_tokens): a for a in change.points}
    )
    encoded = re.search(r"data:text/csv;base64,([^\"]*)", report.page)
    assert encoded
    saved = {
        (int(row["context_tokens"]), int(row["append_tokens"])): row
        for row in csv.DictReader(io.StringIO(base64.b64decode(encoded[1]).decode()))
    }
    wide, narrow = (tips(report.page, f"plane {name}") for name in ("wide", "narrow"))
    assert wide == narrow
    for place, effect in effects.items():
        label, shown, model = rows[place]
        low, high = effect.low, effect.high
        assert effect.ratio is not None
        assert low is not None
        assert high is not None
        for text, value in zip(shown, (effect.ratio, low, high), strict=True):
            same(text, (value - 1) * 100)
        tip = wide[place]
        assert tip.startswith(f"{shown[0]}\u00a0% ({shown[1]} to {shown[2]}\u00a0%), {label}")
        assert saved[place]["label"] == label
        assert float(saved[place]["ratio"]) == pytest.approx(effect.ratio, rel=1e-5)
        assert not (label == "pass" and high < 1)
        assert not (label == "regression" and low <= 1)
        assert not (label in ("improvement", "faster") and high >= 1)
        if place in fitted:
            assert model is not None
            same(model, fitted[place].delta_ms)
            assert f"fitted {model} ms" in tip
        else:
            assert "fitted" not in tip


def what_is_joint_lies_among_its_points(report: Told) -> None:
    """A mean over the points that its name says, which are more than one."""
    table = report.page[report.page.index('aria-label="Joint quantities"') :]
    table = table[: table.index("</table>")]
    changes = {place: number(row[1][0]) for place, row in table_rows(report.page).items()}
    rows = re.findall(
        r'<th scope="row">At ([mL]) ([≤≥]) (\d+)</th>.*?<b>(\S+)\u00a0%', table, re.DOTALL
    )
    assert rows
    for letter, side, edge, shown in rows:
        of = [(place["Lm".index(letter)], change) for place, change in changes.items()]
        bound = int(edge)
        inside = [c for t, c in of if (t <= bound if side == "≤" else t >= bound)]
        assert 1 < len(inside) < len(of)
        assert min(inside) - 0.1 <= number(shown) <= max(inside) + 0.1


def the_headline_is_what_was_measured(report: Told) -> None:
    """Its numbers are the parts' or the level's; its words go the way of the verdict."""
    comparison, text = report.comparison, headline_of(report.run).sentence
    level = comparison.level
    assert level is not None
    assert level.ratio is not None
    joint = re.search(
        r'<th scope="row">Overall level</th>.*?<b>(\S+)\u00a0%</b> '
        r'<span class="sub">(\S+) to (\S+)\u00a0%',
        report.page,
        re.DOTALL,
    )
    assert joint
    for shown, value in zip(joint.groups(), (level.ratio, level.low, level.high), strict=True):
        assert value is not None
        same(shown, (value - 1) * 100)
    said = re.search(r"level ([+\u22120-9.]+)\u00a0%", text)
    if said:
        same(said[1], (level.ratio - 1) * 100)
    change = comparison.change
    if change is None:
        assert comparison.verdict not in ("regression", "improvement")
        assert said
        return
    spoken = spoken_parts(comparison, change)
    ways = {part.ratio > 1 for part in spoken}
    if named := named_points(comparison):
        ways.add(comparison.verdict == "regression")
        for effect in named[:3]:
            assert f"{effect.point.label} (" in text
    assert (comparison.verdict == "regression") in ways
    assert bool(re.search(r"adds|slower|more per", text)) == (True in ways)
    assert bool(re.search(r"saves|faster than|faster at|faster on|less per", text)) == (
        False in ways
    )
    if size := re.search(r"(?:adds|saves) ([\d.]+)\u00a0?ms|(?:adds|saves) ([\d.]+) ms", text):
        shown = size[1] or size[2]
        assert number(shown) == pytest.approx(
            abs(spoken[0].delta_ms), abs=0.5000001 * 10 ** -decimals(shown)
        )
        level_said = spoken[0].region == "level" and {t.kind for t in change.terms} == {
            "everywhere"
        }
        if level_said:
            # The table's fitted milliseconds are the headline's.
            fitted = {row[2] for row in table_rows(report.page).values()}
            assert {f.lstrip("+\u2212") for f in fitted if f} == {shown}
    places = where_words(comparison)
    for part in spoken:
        percent = (part.ratio - 1) * 100
        assert f"({percent:+.1f} %)".replace("-", "\u2212") in places
        inside = [a for a in change.points if (a.context_tokens, a.append_tokens) in part.points]
        mean = sum(a.delta_ms for a in inside) / len(inside)
        if abs(part.delta_ms) > 0.05:
            assert (mean > 0) == (part.delta_ms > 0)


def every_form_has_the_same_sentence(report: Told) -> None:
    headline = headline_of(report.run)
    banner = re.search(r'<p class="sentence[^>]*>(.*?)</p>', report.page, re.DOTALL)
    assert banner
    assert html.unescape(re.sub(r"</?b>", "", banner[1])) == headline.sentence
    assert headline.sentence in report.summary.replace("**", "")
    assert headline.sentence.replace("\u00a0", " ") in report.terminal
    if headline.next_step:
        for text in (html.unescape(report.page), report.summary):
            assert headline.next_step.command in text


def the_exit_status_follows_from_the_banner(report: Told) -> None:
    word = re.search(r'class="word">.*?<span>([\w -]+?)<', report.page, re.DOTALL)
    assert word
    verdict = word[1].strip()
    assert verdict == report.run.verdict
    meaning = headline_of(report.run).exit_meaning
    plain = exit_status(report.run, 0, strict=False)
    strict = exit_status(report.run, 0, strict=True)
    assert meaning.startswith(f"Exit status {plain}")
    assert (f"or {strict} under --strict-verdicts" in meaning) == (plain != strict)
    assert meaning in report.page
    assert meaning in report.summary


@pytest.mark.parametrize(
    ("kind", "size_ms", "verdict", "words"),
    [
        ("everywhere", 1.5, "regression", "adds 1.5 ms to every append-prefill"),
        ("everywhere", -1.5, "improvement", "saves 1.5 ms on every append-prefill"),
        ("proportional", 1.0, "regression", "slower than 0.5.22 everywhere"),
        ("append", 2.0, "regression", "µs more per new token"),
        ("none", 0.0, "pass", "No slow-down of 3 % can hide"),
    ],
)
def test_what_was_simulated_is_what_is_said(
    kind: str, size_ms: float, verdict: str, words: str
) -> None:
    run = simulated(kind, size_ms, 0.002, 6, 3)
    assert run.verdict == verdict
    assert words in headline_of(run).sentence


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    points=st.sampled_from([("none", 0.0), ("everywhere", -2.0), ("everywhere", 1.5)]),
    slower=st.sampled_from([0.8, 1.0, 1.25]),
    sd=st.sampled_from([0.004, 0.05]),
    lost_tokens=st.sampled_from([0, 50]),
    seed=st.integers(0, 10_000),
)
def test_verdict_and_sentence_agree_with_other_traffic(
    points: tuple[str, float], slower: float, sd: float, lost_tokens: int, seed: int
) -> None:
    run = simulated(*points, 0.004, 5, seed)
    run = with_traffic(run, lambda _, __: slower, sd=sd, lost_tokens=lost_tokens, seed=seed)
    report = told(run)
    every_form_has_the_same_sentence(report)
    the_exit_status_follows_from_the_banner(report)
    made, text = run.traffic[0].comparison, headline_of(run).sentence
    assert made is not None
    verdicts = {report.comparison.verdict, made.verdict, *(["broken"] if lost_tokens else [])}
    assert run.verdict in verdicts
    speaks = made.verdict == run.verdict and made.verdict in ("regression", "improvement")
    assert ("(turns" in text) == (
        speaks or (made.verdict == run.verdict != report.comparison.verdict)
    )
    if speaks:
        assert ("slower" if made.verdict == "regression" else "faster") in text
    alone = speaks and report.comparison.verdict == "pass"
    assert ("passes over all points, " in text) >= alone
    assert bool(re.search(r"Replies are not cached.*: turn 2 prefilled 50 tokens again", text)) == (
        lost_tokens > 0 and run.verdict in ("broken", "regression", "improvement")
    )
