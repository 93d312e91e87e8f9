"""A bisection in words."""

from __future__ import annotations

import shlex

import pytest

from append_prefill.cli.main import parser
from append_prefill.records.bisection import Size
from append_prefill.report.bisection.sentence import (
    comparison_line,
    each_rows,
    level_rows,
    next_step_of,
    step_rows,
    verdict_of,
)
from tests.report.bisection.findings import ablated, found, size, step


def test_the_steps_add_up_in_one_sentence():
    said = verdict_of(found())
    assert said.word == "slower in 2 steps"
    assert said.sentence == (
        "0.5.15 to 0.5.19: +20 % (19 to 21): 0.5.16 +4.0 % (2.8 to 5.2); "
        "between 0.5.16 and 0.5.18 \N{MINUS SIGN}3.0 % (\N{MINUS SIGN}4.2 to \N{MINUS SIGN}1.8); "
        "0.5.19 +19 % (18 to 20); the rest +0.2 % (\N{MINUS SIGN}0.2 to +0.6). Left out: 0.5.17."
    )


@pytest.mark.parametrize(
    ("changes", "word", "said"),
    [
        ({"steps": []}, "no step", "and no step of 1.5\N{NO-BREAK SPACE}% or more is certain"),
        ({"steps": [], "ended": "budget"}, "not settled", "The budget is spent"),
        ({"steps": [step("0.5.15", "0.5.16", 0.9)]}, "faster only", "0.5.16 \N{MINUS SIGN}10 %"),
        ({"ended": "interrupted"}, "slower in 2 steps", "Interrupted before all is settled"),
        (
            {"steps": [], "total": None, "rest": None, "ended": "interrupted"},
            "not settled",
            "Nothing was compared between 0.5.15 and 0.5.19",
        ),
    ],
)
def test_what_it_comes_out_as(changes, word, said):
    verdict = verdict_of(found(**changes))
    assert verdict.word == word
    assert said in verdict.sentence


@pytest.mark.parametrize("ended", ["budget", "interrupted", "nothing-tells"])
@pytest.mark.parametrize(("chance", "said"), [(0.004, True), (0.2, False), (None, False)])
def test_what_is_not_settled_says_where_nothing_that_must_be_caught_is_open(ended, chance, said):
    sentence = verdict_of(found(ended=ended, hidden_chance=chance)).sentence
    open_ = "; no step of 3.0 % or more is left open."
    assert sentence.replace("\N{NO-BREAK SPACE}", " ").endswith(open_) is said


def test_what_is_settled_says_nothing_of_what_is_open():
    assert "left open" not in verdict_of(found(hidden_chance=0.004)).sentence


def test_what_stopped_it_is_the_sentence():
    problem = "0.5.19 is an end of the list and cannot be measured"
    verdict = verdict_of(found(ended="stopped", problem=problem, total=None))
    assert verdict.word == "stopped"
    assert verdict.sentence.startswith(f"Stopped: {problem} Until then: 0.5.16 +4.0 %")


def test_each_flip_has_its_own_milliseconds():
    """Of 11 ms a tenth; the interval is that of the ratio, and what was not asked has none."""
    minus = "\N{MINUS SIGN}"
    assert each_rows(ablated()) == [
        [
            "--radix-cache-backend=python",
            f"{minus}10.0\N{NO-BREAK SPACE}%",
            f"{minus}11.2 to {minus}8.8\N{NO-BREAK SPACE}%",
            f"{minus}1.1",
            f"{minus}1.2 to {minus}0.97",
        ],
        ["SGLANG_X=0", "–", "–", "–", "–"],
    ]
    assert each_rows(found()) == []


def test_many_steps_are_the_largest_and_how_many_more():
    steps = [step("0.5.15", f"0.5.{n}", 1 + n / 1000) for n in range(20, 27)]
    said = verdict_of(found(steps=steps)).sentence
    assert "0.5.26" in said
    assert "0.5.22" not in said
    assert "and 3 smaller steps" in said


def test_a_commit_is_called_by_its_subject_too():
    positions = [one.model_copy(update={"title": "Walk the tree"}) for one in found().positions]
    assert "0.5.19 (Walk the tree) +19 %" in verdict_of(found(positions=positions)).sentence


def test_a_default_is_told_in_milliseconds_of_the_change():
    verdict = verdict_of(ablated())
    assert verdict.word == "1 default"
    assert "--radix-cache-backend=python \N{MINUS SIGN}10 % (" in verdict.sentence
    assert "), \N{MINUS SIGN}1.1 ms of the +1.3; the rest" in verdict.sentence


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Size(ratio=1.13, low=1.10, high=1.16), "ms of the +1.3"),
        (Size(ratio=0.995, low=0.97, high=1.02), "ms where the whole change is none for certain, "),
    ],
)
def test_of_a_change_that_is_none_for_certain_nothing_is_a_part(change, said):
    assert said in verdict_of(ablated(change=change)).sentence


def test_the_largest_slower_step_is_to_be_ablated():
    next_step = next_step_of(found())
    assert next_step is not None
    words = shlex.split(next_step.command)
    assert words[:3] == ["append-prefill", "ablate", "0.5.18..0.5.19"]
    args = parser().parse_args(words[1:])
    assert (args.experiment, args.server_arg) == (["append"], ["--page-size=1"])


ON, ABLATE = "append-prefill bisect 0.5.15..0.5.19", "append-prefill ablate 0.5.18..0.5.19"


@pytest.mark.parametrize("ended", ["budget", "interrupted", "stopped"])
@pytest.mark.parametrize(
    ("changes", "command"),
    [
        ({}, ON),
        ({"hidden_chance": 0.2}, ON),
        # Nothing that must be caught is open: the largest step is what matters now.
        ({"hidden_chance": 0.004}, ABLATE),
        ({"hidden_chance": 0.004, "steps": [step("0.5.15", "0.5.16", 0.9)]}, ON),
        ({"hidden_chance": 0.004, "steps": []}, ON),
        ({"hidden_chance": 0.004, "listed": "commits"}, ON),
    ],
)
def test_what_was_cut_short_goes_on_while_a_step_that_must_be_caught_can_hide(
    ended, changes, command
):
    next_step = next_step_of(found(ended=ended, **changes))
    assert next_step is not None
    assert next_step.command.startswith(command)


@pytest.mark.parametrize("made", [found(steps=[]), ablated(), found(listed="interpreters")])
def test_where_nothing_follows_nothing_is_proposed(made):
    assert next_step_of(made) is None


def test_the_tables_name_what_was_left_out():
    assert step_rows(found())[1][1] == "0.5.18 (or 0.5.17)"
    rows = {row[0]: row[1:] for row in level_rows(found())}
    assert rows["0.5.15"][1] == "–"
    assert rows["0.5.17"] == ["–", "–", "left out: the server ended: no <kernel>"]
    assert rows["0.5.19"][0] == "+20.0\N{NO-BREAK SPACE}%"


def test_a_line_of_progress():
    first, second = found().comparisons
    told = comparison_line(1, first).replace("\N{NO-BREAK SPACE}", " ")
    assert told == "1: 0.5.19 against 0.5.15: +20 % (19 to 21): slower, 3.20 min"
    assert comparison_line(2, second) == "2: 0.5.17 against 0.5.15: no answer"
    assert size(1.0).low < 1
