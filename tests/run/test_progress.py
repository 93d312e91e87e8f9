"""What the terminal says of a run on its way: nothing that is false a moment later."""

from __future__ import annotations

import re

import pytest

from append_prefill.run.progress import Follower, Pace, ProgressLog, left_words, planned_words


def test_what_is_left_is_a_range_of_what_pairs_took() -> None:
    words = left_words(3, 5, Pace("pair", [60.0, 70.0, 90.0]))
    assert words == "3 of 5 pairs measured; left: 2 pairs, about 2 to 4 min"


def test_what_may_be_planned_after_an_interim_analysis_is_not_foretold() -> None:
    pace = Pace("pair", [60.0], then_judged=True)
    assert left_words(2, 3, pace) == (
        "2 of 3 pairs measured; to the next interim analysis: 1 pair, about 50 to 70 s"
    )
    assert left_words(3, 3, pace) == "3 of 3 pairs measured; judging whether to go on"
    last = Pace("launch", [5.0], then_pair=True)
    assert left_words(1, 1, last) == "1 of 1 launch measured; launching the P/D pair"


@pytest.mark.parametrize("done", [5, 6])
def test_a_plan_that_is_spent_promises_nothing(done: int) -> None:
    words = left_words(done, 5, Pace("launch", [60.0] * 5))
    assert words == f"{done} of 5 launches measured; finishing"


@pytest.mark.parametrize("took_s", [0.001, 0.4, 7, 65, 900])
@pytest.mark.parametrize("planned", [1, 3, 11])
def test_no_time_that_is_left_is_nought(took_s: float, planned: int) -> None:
    words = planned_words(planned, Pace("pair", [took_s, 2 * took_s]))
    numbers = [int(n) for n in re.findall(r"(\d+)(?: to|\b(?= (?:s|min)$))", words)]
    assert numbers
    assert min(numbers) > 0
    assert numbers == sorted(numbers)


def test_pairs_that_are_measured_at_once_take_the_time_of_one() -> None:
    alone = planned_words(4, Pace("launch", [60.0]))
    assert alone == "4 launches, about 3 to 5 min"
    assert planned_words(4, Pace("launch", [60.0], at_once=4)) == "4 launches, about 50 to 70 s"
    assert planned_words(5, Pace("launch", [60.0], at_once=4)) == "5 launches, about 2 to 3 min"


def test_before_anything_was_measured_no_time_is_guessed() -> None:
    assert planned_words(2, Pace("pair", [])) == "2 pairs"


def test_what_is_not_yet_shown_is_shown_at_once_and_once(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("append_prefill.run.progress.FOLLOW_S", 60.0)
    told, shown = ProgressLog(tmp_path / "progress.log", ""), []
    follower = Follower(tmp_path / "progress.log", lambda line: shown.append(line.split()[-1]))
    told("first")
    told("second")
    assert shown == []
    follower.show_rest()
    assert shown == ["first", "second"]
    told("third")
    follower.stop()
    follower.show_rest()
    assert shown == ["first", "second", "third"]
