"""What is named: between which positions, how large, and what stays open."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from append_prefill.analysis.bisection.path import Compared, path_of
from append_prefill.analysis.bisection.steps import Worth, level_at, told_of

LEAST = float(np.log1p(0.015))
WORTH = Worth(LEAST, float(np.log1p(0.03)))


def neighbours(levels, se=0.006):
    """Each position compared with the next, without noise."""
    return [
        Compared(a, b, levels[b] - levels[a], se) for a, b in itertools.pairwise(range(len(levels)))
    ]


def told(count, compared):
    path = path_of(count, compared, least=LEAST)
    return path, told_of(path, WORTH)


def test_steps_up_and_down_are_found_with_their_sizes():
    levels = [0, 0.04, 0.04, 0.01, 0.01, 0.09]
    path, found = told(6, neighbours(levels))
    assert [(s.before, s.after) for s in found.steps] == [(0, 1), (2, 3), (4, 5)]
    assert all(step.found for step in found.steps)
    for step, size in zip(found.steps, (0.04, -0.03, 0.08), strict=True):
        assert step.size.low < size < step.size.high
        assert step.size.value == pytest.approx(size, abs=0.003)
    assert abs(found.rest.value) < 0.003
    end = level_at(path, 5)
    assert end.low < 0.09 < end.high
    assert end.high - end.low == pytest.approx(2 * 1.96 * 0.006 * 5**0.5, rel=0.25)


def test_what_was_not_asked_about_is_between():
    _, found = told(9, [Compared(0, 3, 0.0, 0.006), Compared(3, 8, 0.05, 0.006)])
    (step,) = found.steps
    assert (step.before, step.after, step.found) == (3, 8, False)


def test_two_neighbours_of_which_either_may_hold_it_are_named_together():
    """The position in between is known badly: a step is sure, its place is not."""
    seen = [Compared(0, 2, 0.05, 0.005), Compared(0, 1, 0.025, 0.02), Compared(2, 3, 0.0, 0.005)]
    _, found = told(4, seen)
    (step,) = found.steps
    assert (step.before, step.after) == (0, 2)
    assert step.chance > 0.99


def test_no_step_is_no_name_and_nothing_open():
    _, found = told(6, [*neighbours([0.0] * 6, se=0.004), Compared(0, 5, 0.0, 0.004)])
    assert found.steps == ()
    assert found.open_chance < 0.02


def test_what_is_surely_too_small_is_not_named():
    _, found = told(3, neighbours([0, 0.007, 0.007], se=0.001))
    assert found.steps == ()
    assert found.open_chance < 0.02


def test_few_data_leave_it_open():
    _, found = told(6, [Compared(0, 5, 0.02, 0.02)])
    assert found.steps == ()
    assert found.open_chance > 0.02


def test_a_step_that_may_be_worth_a_name_and_need_not_be_caught_is_open_and_not_hidden():
    around = [Compared(0, 2, LEAST, 0.004), Compared(1, 2, 0.0, 0.004), Compared(2, 4, 0.0, 0.003)]
    _, found = told(5, [*around, Compared(0, 1, LEAST, 0.004)])
    assert found.steps == ()
    assert found.open_chance > 0.1
    assert found.hidden_chance < 0.02


def test_a_step_that_may_have_to_be_caught_is_hidden():
    _, found = told(3, [Compared(0, 1, LEAST, 0.012), Compared(1, 2, 0.0, 0.003)])
    assert found.steps == ()
    assert found.open_chance > found.hidden_chance > 0.02
