from __future__ import annotations

import pytest

from append_prefill.report.delivery.account import DIFFERENCES, account_of, status_line
from append_prefill.report.headline import headline_of
from tests.report import samples
from tests.report.delivery.messages import HOSTILE, RUNS, hostile, relabelled


@pytest.mark.parametrize("name", RUNS)
def test_everything_is_one_line_of_bounded_length(name: str) -> None:
    account = account_of(RUNS[name])
    texts = [account.title, account.sentence, *account.warnings, account.exit_meaning]
    texts += [text for pair in account.numbers for text in pair]
    texts += [text for row in account.differences for text in (row.field, row.candidate)]
    for text in texts:
        assert text
        assert len(text) <= 1000
        assert text.replace("\u00a0", " ").replace("\u202f", " ").isprintable()
    assert len(account.differences) <= DIFFERENCES


@pytest.mark.parametrize("name", RUNS)
def test_the_status_is_one_line_with_verdict_sentence_and_numbers(name: str) -> None:
    run = RUNS[name]
    line = status_line(run)
    account = account_of(run)
    assert line.endswith("]\n")
    assert line.count("\n") == 1
    assert line.startswith(f"{account.verdict.word.upper()}: {account.sentence} [launches ")
    assert len(line) < 2000


def test_the_sentence_is_the_headlines() -> None:
    for run in (samples.regression(), samples.passing(), samples.infrastructure()):
        assert account_of(run).sentence == headline_of(run).sentence


def test_numbers_say_what_the_sentence_rests_on() -> None:
    assert account_of(samples.regression()).numbers == [
        ("launches", "5 + 5"),
        ("points", "20"),
        ("can tell", "1.9\u00a0% and more"),
        ("findings", "6 of 6 hold"),
    ]
    broken = dict(account_of(samples.broken()).numbers)
    assert broken["launches"] == "5"
    assert broken["findings"] == "4 of 6 hold"
    assert "points" not in broken


def test_a_launch_that_failed_is_not_counted_as_measured() -> None:
    run = samples.regression()
    run.starts[0].failure = "gone"
    assert account_of(run).numbers[0] == ("launches", "4 + 5")


def test_differences_beyond_those_shown_are_counted() -> None:
    run = samples.regression()
    for start in run.starts:
        if start.side == "candidate":
            start.server_args = [f"--option-{n}=1" for n in range(10)]
        else:
            start.server_args = []
    account = account_of(run)
    assert [row.field for row in account.differences][:2] == ["SGLang", "--option-0"]
    assert len(account.differences) + account.further == 1 + 10 + 2
    assert account.further > 0


def test_sides_are_called_by_their_labels() -> None:
    sentence = account_of(relabelled(samples.regression(), "main", "release")).sentence
    assert sentence.startswith("main is ")
    assert " than release" in sentence


def test_hostile_names_are_cut_and_told_apart() -> None:
    account = account_of(hostile(HOSTILE))
    assert "\x1b" not in account.sentence
    assert "\N{REPLACEMENT CHARACTER}[31m" in account.sentence
