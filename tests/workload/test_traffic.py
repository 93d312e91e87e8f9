import json

import pytest

from append_prefill.errors import UsageError
from append_prefill.workload.conversation import Conversation, Turn
from append_prefill.workload.loading import load_profile
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile
from append_prefill.workload.traffic import DEFAULT, Condition, Traffic
from append_prefill.workload.traffic_experiment import DECODE_TOKENS, TrafficExperiment

WHY = "An argument of at least twenty letters."
TALK = {"turns": 3, "first_tokens": 100, "append_tokens": 20, "reply_tokens": 50}


def experiment(**changes):
    own = {"id": "turns", "title": "t", "context": "replied", "conversation": TALK}
    return TrafficExperiment.model_validate({**own, "argument": WHY, **changes})


@pytest.mark.parametrize(
    "company", ["alone", "together:1", "together:64", "beside:4", "rate:0.5", "rate:16"]
)
def test_what_a_company_may_be(company):
    assert Traffic(company=company).company == company


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("company", "together"),
        ("company", "together:0"),
        ("company", "together:1.5"),
        ("company", "rate:0"),
        ("company", "rate:-1"),
        ("company", "alone:2"),
        ("context", "found"),
        ("form", "html"),
        ("state", "old"),
    ],
)
def test_what_is_none_of_these_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        Traffic(**{name: value})


def test_a_label_says_what_is_not_the_default():
    assert DEFAULT.label == "alone"
    assert Traffic("replied", "chat").label == "replied chat"
    assert Traffic(company="together:8", state="aged").label == "together:8 aged"
    assert Condition(DEFAULT, Point(5, 2)).label == "L5-m2"
    assert Condition(Traffic(company="rate:2"), Point(5, 2)).label == "L5-m2 rate:2"
    assert (Traffic().company_kind, Traffic().company_size) == ("alone", 1)
    assert Traffic(company="rate:0.5").company_size == 0.5


def test_a_turn_appends_to_all_before_it():
    talk = Conversation((Turn(100, 50), Turn(20, 30), Turn(7, 1)))
    assert list(talk.points()) == [(2, Point(150, 20)), (3, Point(200, 7))]
    assert talk.total_tokens == 208


@pytest.mark.parametrize("turn", [(0, 1), (1, 0), (1, 1, -1.0), (1, 1, float("nan"))])
def test_a_turn_without_a_token_or_before_its_time_is_refused(turn):
    with pytest.raises(ValueError, match="a turn has"):
        Turn(*turn)


def test_one_turn_is_no_conversation():
    with pytest.raises(ValueError, match="two turns"):
        Conversation((Turn(1, 1),))


def test_the_conditions_of_an_experiment_are_its_units():
    talk = experiment()
    assert [c.point for c in talk.conditions] == [Point(150, 20), Point(220, 20)]
    assert [talk.turn_of(p) for p in (Point(150, 20), Point(220, 20), Point(1, 1))] == [2, 3, None]
    (unit,) = talk.units
    assert unit.total_tokens == 290
    eight = experiment(
        context="primed", conversation=None, points=[[64, 8], [32, 8]], company="together:8"
    )
    assert [unit.points for unit in eight.units] == [(Point(64, 8),), (Point(32, 8),)]
    assert [unit.total_tokens for unit in eight.units] == [72, 40]
    assert eight.turn_of(Point(64, 8)) is None


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"context": "primed", "conversation": None, "points": [[1, 1]]}, "default traffic"),
        ({"conversation": None}, "takes a conversation"),
        ({"points": [[1, 1]]}, "takes a conversation or a trace, and no points"),
        ({"trace": {"generator": "agentic"}}, "takes a conversation or a trace"),
        ({"context": "primed", "form": "chat"}, "takes points"),
        ({"context": "primed", "form": "chat", "conversation": None}, "takes points"),
        ({"points": [[0, 1]]}, "at least one context"),
        (
            {"context": "primed", "conversation": None, "form": "text", "points": [[7, 8]]},
            "a point of text has 8 or more",
        ),
        (
            {"context": "primed", "conversation": None, "form": "chat", "points": [[8, 7]]},
            "a point of chat has 8 or more",
        ),
        ({"points": [[1, 1], [1, 1]]}, "twice"),
        ({"company": "together"}, "company is"),
        ({"every": 0}, "every"),
        ({"must_catch": 0}, "must_catch"),
        ({"conversation": {**TALK, "turns": 51}}, "turns"),
        ({"argument": "because"}, "argument"),
    ],
)
def test_an_experiment_that_cannot_be_measured_is_refused(changes, problem):
    with pytest.raises(ValueError, match=problem):
        experiment(**changes)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"id": "append"}, "share an id"),
        ({"conversation": {**TALK, "turns": 50}}, "more than limits.total_tokens"),
    ],
)
def test_a_profile_refuses_what_it_cannot_tell_apart_or_hold(changes, problem):
    whole = load_profile("cpu-nano").model_dump()
    own = experiment(**changes).model_dump()
    with pytest.raises(ValueError, match=problem):
        Profile.model_validate({**whole, "traffic": [own]})


TRACE = {"generator": "agentic", "conversations": 3, "turns_max": 5, "token_scale": 0.02}


def test_a_trace_brings_its_conversations(tmp_path):
    traced = experiment(conversation=None, trace=TRACE).with_trace(tmp_path, 3000)
    assert 1 <= len(traced.units) <= 3
    assert all(unit.total_tokens <= 3000 for unit in traced.units)
    first = traced.conditions[0].point
    assert traced.turn_of(first) == 2
    assert experiment().with_trace(tmp_path, 1) == experiment()


def test_a_trace_that_cannot_be_compared_is_refused(tmp_path):
    large = experiment(
        conversation=None, trace={**TRACE, "conversations": 50, "turns_max": 40, "seed": 1}
    )
    with pytest.raises(UsageError, match="more than the 200"):
        large.with_trace(tmp_path, 100_000)


def test_a_file_of_a_profile_lies_beside_it(tmp_path):
    text = """
name = "mine"
extends = "cpu-nano"
[[traffic]]
id = "replay"
title = "Mine"
context = "replied"
trace = { file = "mine.jsonl", token_scale = 0.5 }
argument = "An argument of at least twenty letters."
"""
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(UsageError, match="mine.jsonl"):
        load_profile(str(tmp_path / "mine.toml"))
    rows = [
        {"timestamp": 0, "input_length": 600, "output_length": 40, "hash_ids": [1, 2]},
        {"timestamp": 9000, "input_length": 1100, "output_length": 40, "hash_ids": [1, 2, 3]},
    ]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    replay = load_profile(str(tmp_path / "mine.toml")).traffic[-1]
    assert [unit.points for unit in replay.units] == [(Point(320, 230),)]


def company(**changes):
    own = {"id": "x", "title": "t", "company": "together:8", "points": [[100, 20], [400, 20]]}
    return TrafficExperiment.model_validate({**own, "argument": WHY, **changes})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"company": "together:65"}, "at most 64"),
        ({"company": "beside:65"}, "at most 64"),
        ({"company": "rate:5"}, "requests says"),
        ({"requests": 9}, "requests says"),
        ({"company": "rate:5", "requests": 257}, "requests"),
        ({"form": "text"}, "take primed prompts of ids"),
        ({"company": "alone", "state": "aged", "form": "chat"}, "take primed prompts of ids"),
        ({"state": "aged"}, "measured alone"),
        ({"context": "replied", "points": [], "conversation": TALK}, "take primed prompts of ids"),
    ],
)
def test_company_that_cannot_be_measured_is_refused(changes, problem):
    with pytest.raises(ValueError, match=problem):
        company(**changes)


def test_a_unit_of_company_is_at_one_point_and_has_as_many_samples_as_arrive():
    first, second = company().units
    assert (first.points, second.points) == ((Point(100, 20),), (Point(400, 20),))
    assert (first.samples, company().samples) == (8, 16)
    assert company(company="rate:5", requests=30).samples == 60
    assert company(company="beside:4").samples == 2
    assert company(company="alone", state="aged").samples == 2


def test_all_that_are_there_at_once_are_held_and_the_longest_is_no_longer():
    (unit,) = company(points=[[100, 20]]).units
    assert (unit.total_tokens, unit.held_tokens(2)) == (120, 8 * 122)
    (unit,) = company(points=[[100, 20]], company="rate:5", requests=30).units
    assert unit.held_tokens(2) == 30 * 122
    (unit,) = company(points=[[100, 20]], company="beside:4").units
    assert unit.held_tokens(2) == 2 * 122 + 4 * (101 + DECODE_TOKENS)
    assert experiment().units[0].held_tokens(2) == experiment().units[0].total_tokens
