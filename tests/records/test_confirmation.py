"""Which answer of several counts."""

from datetime import timedelta

from append_prefill.records.confirmation import Confirmation, answered
from tests.records.builders import CREATED


def said(hour, answer, name="points"):
    return Confirmation(
        run=f"key-{hour}",
        folder=f"run-{hour}",
        at=CREATED + timedelta(hours=hour),
        answers={name: answer},
    )


def test_the_first_that_decides_counts_whatever_order_they_are_kept_in():
    later, first, open_ = said(3, "confirmed"), said(2, "withdrawn"), said(1, "undecided")
    assert answered([later, first, open_])["points"] == ("withdrawn", first)


def test_where_nothing_decides_the_last_word_is_told():
    open_, again = said(1, "undecided"), said(2, "seen-again")
    assert answered([again, open_])["points"] == ("seen-again", again)


def test_each_suspect_has_its_own_answer():
    found = answered([said(1, "withdrawn"), said(2, "confirmed", "turns")])
    assert {name: answer for name, (answer, _) in found.items()} == {
        "points": "withdrawn",
        "turns": "confirmed",
    }
    assert answered([]) == {}
