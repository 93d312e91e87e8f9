"""What a page says of a suspicion that was measured again."""

from datetime import timedelta

import pytest

from append_prefill.records.confirmation import Confirmation
from append_prefill.records.run import Run
from append_prefill.report.confirmation import verdict_words
from append_prefill.report.headline import headline_of
from append_prefill.report.html import render_html
from append_prefill.report.markdown import render_markdown
from tests.report import samples


def answered(*answers: str) -> Run:
    run = samples.suspected()
    said = [
        Confirmation(
            run=f"key-{hour}",
            folder=f"again-{hour}",
            at=run.created_at + timedelta(hours=hour),
            answers={"points": answer},
        )
        for hour, answer in enumerate(answers)
    ]
    return run.model_copy(update={"confirmations": said})


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (["confirmed"], "confirmed by again-0"),
        (["undecided", "withdrawn"], "withdrawn by again-1"),
        (["undecided"], "still cannot tell after again-0"),
        (
            ["seen-again"],
            "still cannot tell: seen again by again-0, against the same stored run",
        ),
    ],
)
def test_it_stands_beside_the_verdict(answers, words):
    run = answered(*answers)
    assert headline_of(run).certainty == words
    assert f"regression – {words}" in render_markdown(run)
    assert words in render_html(run)
    assert f"Measured again:** the points: {words}" in render_markdown(run)


def test_what_nobody_measured_again_says_nothing_of_it():
    run = samples.suspected()
    assert verdict_words(run) == ""
    assert headline_of(run).certainty == "not confirmed"
    assert "Measured again" not in render_html(run)


def test_an_answer_for_something_else_is_none():
    run = answered("withdrawn")
    run.confirmations[0].answers = {"turns": "withdrawn"}
    assert verdict_words(run) == ""
