"""An experiment's traffic at any point: where a search looks, and where it cannot."""

from __future__ import annotations

import pytest

from append_prefill.errors import UsageError
from append_prefill.workload.any_point import experiment_at, searched
from append_prefill.workload.loading import load_profile
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Limits
from append_prefill.workload.traffic import Condition

NANO = load_profile("cpu-nano")
TEXT = load_profile("cpu-nano-chat")
POINTS = [Point(300, 40), Point(301, 40)]


def traffic(profile, name):
    return next(e for e in profile.traffic if e.id == name)


@pytest.mark.parametrize("name", ["together_8", "rate_40", "beside_4"])
def test_company_is_the_same_at_other_points(name):
    experiment = traffic(NANO, name)
    units = experiment_at(experiment, POINTS).units
    assert [unit.points for unit in units] == [(point,) for point in POINTS]
    assert {unit.traffic for unit in units} == {experiment.traffic}
    assert {unit.samples for unit in units} == {experiment.units[0].samples}


@pytest.mark.parametrize("name", ["turns", "agent"])
def test_a_conversation_has_the_point_as_its_second_turn(name):
    experiment = traffic(NANO, name)
    units = experiment_at(experiment, POINTS).units
    assert [unit.conditions for unit in units] == [
        (Condition(experiment.traffic, point),) for point in POINTS
    ]
    reply = experiment.units[0].conversation.turns[0].reply_tokens
    assert {turn.reply_tokens for unit in units for turn in unit.conversation.turns} == {reply}


def test_without_a_form_or_replies_the_limits_are_the_profiles():
    experiment, limits = searched(NANO, "together_8")
    assert experiment.id == "together_8"
    assert limits == NANO.limits


def test_without_an_experiment_lone_requests_are_searched():
    assert searched(NANO, None) == (None, NANO.limits)


def test_a_context_holds_a_reply_and_a_text_its_letters():
    limits = searched(NANO, "turns")[1]
    assert limits.context_tokens == (17, 2048)  # a reply of 16, and a token before it
    assert limits.total_tokens == 3072 - 16
    text = next(e for e in TEXT.traffic if e.form == "chat")
    narrowed = searched(TEXT, text.id)[1]
    experiment_at(text, [Point(narrowed.context_tokens[0], narrowed.append_tokens[0])])
    assert min(narrowed.context_tokens[0], narrowed.append_tokens[0]) > 1


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("append", "is no traffic of profile cpu-nano"),
        ("none", "is no traffic of profile cpu-nano"),
        ("aged", "on a server that is not fresh"),
    ],
)
def test_what_cannot_be_searched_is_refused(name, problem):
    with pytest.raises(UsageError, match=f"--experiment {name}: .*{problem}.*together_8"):
        searched(NANO, name)


def test_limits_without_room_are_refused():
    narrow = Limits(context_tokens=(1, 16), append_tokens=(1, 8), total_tokens=40)
    with pytest.raises(UsageError, match="has no point within the limits"):
        searched(NANO.model_copy(update={"limits": narrow}), "turns")
