"""Which condition is profiled."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from append_prefill.errors import UsageError
from append_prefill.records.comparison import PointEffect
from append_prefill.records.traffic import TrafficResult
from append_prefill.run.cause.where import moved_most
from append_prefill.workload.traffic import DEFAULT
from tests.run.bisection.runs import compared, comparison

GIVEN = Path("reports/x")


def effect(context, append, ratio, half=0.02):
    return PointEffect(
        context_tokens=context,
        append_tokens=append,
        reference_ms=20.0,
        candidate_ms=20.0 * ratio,
        ratio=ratio,
        low=ratio * math.exp(-half),
        high=ratio * math.exp(half),
        p=None,
        mde=None,
        verdict="inconclusive",
    )


def told(verdict, *effects, confirmed=True):
    made = comparison(1.1)
    return made.model_copy(
        update={"verdict": verdict, "points": list(effects), "confirmed": confirmed}
    )


def traffic(experiment, made, **changes):
    fields = {
        "experiment": experiment,
        "title": experiment,
        "context": "replied",
        "form": "ids",
        "company": "alone",
        "state": "fresh",
        "points": [],
        "comparison": made,
    }
    return TrafficResult(**(fields | changes))


def run(made, *others):
    return compared("b", "a", 1.1, comparison=made, traffic=list(others))


def test_it_is_the_one_that_surely_moved_most():
    made = told("regression", effect(64, 64, 1.3, half=0.25), effect(256, 64, 1.2, half=0.02))
    moved = moved_most(run(made), GIVEN)
    assert (moved.effect.point.context_tokens, moved.experiment) == (256, None)
    assert moved.traffic == DEFAULT
    assert moved.surely == pytest.approx(math.log(1.2) - 0.02)


def test_of_an_improvement_the_one_that_is_faster():
    made = told("improvement", effect(64, 64, 1.4), effect(256, 64, 0.8))
    assert moved_most(run(made), GIVEN).effect.context_tokens == 256


def test_a_slower_one_goes_before_a_faster_one():
    other = traffic("turns", told("regression", effect(144, 32, 1.1)))
    moved = moved_most(run(told("improvement", effect(64, 64, 0.5)), other), GIVEN)
    assert (moved.experiment, moved.traffic.context) == ("turns", "replied")


def test_aged_servers_and_what_is_not_certain_are_left_out():
    aged = traffic("aged", told("regression", effect(64, 64, 2.0)), context="primed", state="aged")
    unsure = traffic("turns", told("inconclusive", effect(144, 32, 3.0)))
    made = run(told("regression", effect(64, 64, 1.1)), aged, unsure)
    assert moved_most(made, GIVEN).experiment is None


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (None, "found no change"),
        (told("pass", effect(64, 64, 1.1)), "found no change"),
        (told("regression", effect(64, 64, 1.1), confirmed=False), "only suspects"),
        (told("regression", effect(64, 64, 0.9)), "tells of no point"),
    ],
)
def test_a_run_that_is_no_confirmed_change_is_refused(made, problem):
    with pytest.raises(UsageError, match=rf"RUN reports/x: .*{problem}"):
        moved_most(run(made), GIVEN)
