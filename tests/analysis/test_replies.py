import random

import pytest

from append_prefill.analysis.replies import reply_cached, turn_splits
from tests.report.parts import Model, starts_of, study_points
from tests.report.traffic_parts import conversation, talking

TALK = conversation()


def launches(count=2, **how):
    starts = starts_of(study_points(), "candidate", Model(), random.Random(1), count=count)
    return talking(starts, TALK, Model(), **how)


def test_where_all_is_cached_it_holds():
    finding = reply_cached(launches(), [TALK])
    assert (finding.verdict, finding.measured, finding.bound) == ("holds", 0, 0)
    assert finding.reason.code == "reply-kept"
    assert finding.details == {"turns_turn_2": 0, "turns_turn_3": 0, "turns_turn_4": 0}


def test_one_token_that_is_computed_again_breaks_it():
    finding = reply_cached(launches(missing=1), [TALK])
    assert (finding.verdict, finding.measured) == ("broken", 1)


def test_the_turn_that_lost_most_is_named():
    starts = launches(missing=50)
    starts[0].traffic[1].cached_tokens = starts[1].traffic[1].cached_tokens = [140] * 5
    finding = reply_cached(starts, [TALK])
    ground = finding.reason
    assert (ground.code, ground.turn) == ("reply-lost", 3)
    assert (ground.cached_tokens, ground.planned_cached_tokens, finding.measured) == (140, 219, 79)
    assert finding.details == {"turns_turn_2": 50, "turns_turn_3": 79, "turns_turn_4": 50}


def test_one_turn_in_twenty_may_find_less():
    """Of 60 turns (two launches, three turns, ten samples) three may, and a fourth may not."""
    starts = launches(samples=10)
    starts[0].traffic[0].cached_tokens = [0, 0, 0, *[149] * 7]
    finding = reply_cached(starts, [TALK])
    assert (finding.verdict, finding.measured) == ("holds", pytest.approx(149 * 3 / 20))
    starts[1].traffic[2].cached_tokens = [0, *[289] * 9]
    assert reply_cached(starts, [TALK]).verdict == "broken"


def test_more_than_planned_is_nothing_missing():
    finding = reply_cached(launches(missing=-1), [TALK])
    assert (finding.verdict, finding.measured) == ("holds", 0)


def test_without_a_valid_turn_it_is_not_decided():
    starts = launches()
    for start in starts:
        for series in start.traffic:
            for name in ("ttft_ms", "e2e_ms", "itl_ms", "output_tokens", "cached_tokens", "block"):
                getattr(series, name).clear()
    finding = reply_cached(starts, [TALK])
    assert (finding.verdict, finding.measured) == ("inconclusive", None)
    assert finding.reason.code == "not-measured"
    assert finding.reason.text == "no turn has a valid sample"


def test_a_turn_without_a_sample_hides_none_after_it():
    starts = launches(missing=50)
    for start in starts:
        start.traffic[0].cached_tokens.clear()
    assert [split.turn for split in turn_splits(starts, [TALK])] == [3, 4]


def test_without_a_conversation_there_is_no_finding():
    eight = conversation(
        context="primed", conversation=None, points=[[64, 8]], company="together:8"
    )
    assert reply_cached(launches(), []) is None
    assert reply_cached(launches(), [eight]) is None


@pytest.mark.parametrize("others", [0, 1])
def test_other_experiments_have_turns_of_their_own(others):
    second = conversation("short", conversation={**TALK.conversation.model_dump(), "turns": 3})
    experiments = [TALK, second][: 1 + others]
    splits = turn_splits(launches(), experiments)
    assert [(s.experiment, s.turn) for s in splits] == [
        ("turns", 2),
        ("turns", 3),
        ("turns", 4),
        *[("short", 2), ("short", 3)][: 2 * others],
    ]
