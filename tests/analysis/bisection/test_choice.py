"""What is asked next, and when nothing is."""

from __future__ import annotations

import numpy as np
import pytest

from append_prefill.analysis.bisection.choice import next_comparison, posterior, settled
from append_prefill.analysis.bisection.path import Compared
from append_prefill.analysis.bisection.steps import Worth, told_of

LEAST = float(np.log1p(0.015))
WORTH = Worth(LEAST, float(np.log1p(0.03)))
SE = 0.008


def asked(count, compared, *, missing=(), minutes=lambda _a, _b: 1.0, se=SE):
    return next_comparison(
        count, compared, worth=WORTH, missing=frozenset(missing), se=se, minutes=minutes
    )


def search(levels, rng, *, missing=(), se=SE):
    """Until nothing is asked: the comparisons and what is told of them."""
    count, compared = len(levels), []
    while (step := asked(count, compared, missing=missing, se=se)) is not None:
        seen = levels[step.later] - levels[step.earlier] + rng.normal(0, se)
        compared.append(Compared(step.earlier, step.later, seen, se))
        assert len(compared) < 100
    path = posterior(count, compared, least=LEAST, missing=missing)
    return compared, told_of(path, WORTH)


@pytest.mark.parametrize(
    "steps", [{}, {4: 0.05}, {2: 0.04, 5: -0.03, 8: 0.08}, {6: 0.04, 7: -0.04}]
)
def test_every_step_is_found_and_no_other(steps):
    levels = np.cumsum([steps.get(at, 0.0) for at in range(10)])
    compared, found = search(levels, np.random.default_rng(3))
    assert {step.after: step.found for step in found.steps} == dict.fromkeys(steps, True)
    # Short of what comparing all neighbours thrice would take.
    assert len(compared) < 27


def test_a_step_that_follows_from_others_is_measured_itself_before_the_end():
    """As on two CPU cores: the rest of +6.5 % at position 3 was a step at 4 nobody had seen."""
    levels = np.cumsum([0, 0.01, 0.025, 0.028, 0.035, 0.024, 0.012, 0.04, 0.0])
    rng = np.random.default_rng(4)
    compared, found = search(levels, rng, se=0.009)
    pairs = {(one.earlier, one.later) for one in compared}
    steps = {(step.before, step.after) for step in found.steps}
    assert len(steps) > 2
    assert steps <= pairs


def test_a_missing_position_leaves_its_two_boundaries_as_one():
    levels = np.cumsum([0, 0, 0, 0.05, 0, 0, 0])
    compared, found = search(levels, np.random.default_rng(1), missing={3})
    assert not any(3 in (c.earlier, c.later) for c in compared)
    (step,) = found.steps
    assert (step.before, step.after) == (2, 4)
    assert settled(found, {3})
    assert not settled(found, ())


def test_of_a_hundred_commits_a_tenth_is_measured():
    levels = np.where(np.arange(101) >= 37, 0.08, 0.0)
    compared, found = search(levels, np.random.default_rng(2))
    assert [(s.before, s.after) for s in found.steps] == [(36, 37)]
    assert len({at for c in compared for at in (c.earlier, c.later)}) <= 25


def test_an_answer_that_was_not_clear_is_asked_for_again_or_beside():
    seen = [Compared(0, 2, 0.03, 0.02)]
    step = asked(3, seen)
    assert step is not None
    # Nothing is known of 1, and little of the pair: both questions are sensible, no other is.
    assert (step.earlier, step.later) in {(0, 1), (1, 2), (0, 2)}
    assert step.information > 0.01


def test_what_is_at_hand_is_asked_before_what_has_to_be_made():
    seen = [Compared(0, 8, 0.06, SE)]
    plain = asked(9, seen)
    assert plain is not None
    assert 4 in (plain.earlier, plain.later)
    dear = asked(9, [*seen, Compared(0, 4, 0.02, 0.02)], minutes=lambda a, b: 1.0 + 99 * (
        not {a, b} <= {0, 4, 8}
    ))  # fmt: skip
    assert dear is not None
    assert {dear.earlier, dear.later} <= {0, 4, 8}


def test_where_nothing_would_tell_nothing_is_asked():
    seen = [Compared(0, 1, 0.02, 0.05)]
    assert asked(2, seen, se=50.0) is None


def test_before_it_ends_every_version_of_a_short_list_was_measured():
    compared, _ = search(np.zeros(8), np.random.default_rng(5))
    assert {at for c in compared for at in (c.earlier, c.later)} == set(range(8))
