"""What fresh launches say of a suspicion: by the rule of any run, and by it alone."""

import pytest

from append_prefill.analysis.confirming import answers_of, suspect_of, suspicions_of
from append_prefill.records.confirmation import POINTS, Confirms, Suspect
from append_prefill.records.grounds import Ground, Method, NoiseSource
from tests.report import samples

METHOD = Method(
    paired=True, alpha=0.01, min_effect=0.015, must_catch=0.03, noise=NoiseSource(kind="profile")
)


def asking(run, *suspects, **comparison):
    suspects = suspects or (Suspect(name=POINTS),)
    changed = run.comparison.model_copy(update={"method": METHOD, **comparison})
    confirms = Confirms(run="key", folder="then", suspects=list(suspects))
    return run.model_copy(update={"comparison": changed, "confirms": confirms})


@pytest.mark.parametrize(
    ("run", "answer"),
    [
        (samples.regression(), "confirmed"),
        (samples.passing(), "withdrawn"),
        (samples.improvement(), "withdrawn"),
        (samples.inconclusive(), "undecided"),
        # The stored run is the same in both, and its own session may be the odd one.
        (samples.suspected(), "seen-again"),
    ],
)
def test_the_fresh_comparison_is_the_answer(run, answer):
    assert answers_of(asking(run)) == {POINTS: answer}


def test_what_was_not_compared_is_open():
    run = asking(samples.passing()).model_copy(update={"comparison": None})
    assert answers_of(run) == {POINTS: "undecided"}
    assert answers_of(asking(samples.passing(), Suspect(name="turns"))) == {"turns": "undecided"}


def test_a_run_of_its_own_answers_nothing():
    assert answers_of(samples.passing()) == {}


def at_points(run, high):
    effects = [p.model_copy(update={"high": high}) for p in run.comparison.points]
    first = effects[0]
    suspect = Suspect(name=POINTS, points=[(first.context_tokens, first.append_tokens)])
    return asking(run, suspect, points=effects)


@pytest.mark.parametrize(
    ("high", "answer"),
    [(1.029, "withdrawn"), (1.03, "undecided"), (1.031, "undecided"), (None, "undecided")],
)
def test_a_pass_clears_a_single_point_only_where_its_own_interval_does(high, answer):
    """A pass promises parts of the plane, and no point."""
    assert answers_of(at_points(samples.passing(), high)) == {POINTS: answer}


def test_a_point_that_was_not_measured_again_is_open():
    gone = Suspect(name=POINTS, points=[(1, 1)])
    assert answers_of(asking(samples.passing(), gone)) == {POINTS: "undecided"}


@pytest.mark.parametrize(
    ("ground", "alone"),
    [
        (Ground(code="rejected", single_points=True), True),
        (Ground(code="rejected", single_points=True, quantities=["level"]), False),
        (Ground(code="rejected", quantities=["level"]), False),
        ("Words of an old suite.", False),
    ],
)
def test_points_are_suspected_alone_where_no_part_of_the_plane_is(ground, alone):
    run = asking(samples.regression(), reason=ground)
    slower = [p.point for p in run.comparison.points if p.verdict == "regression"]
    found = suspect_of(POINTS, run.comparison).points
    assert slower
    assert found == ([(p.context_tokens, p.append_tokens) for p in slower] if alone else [])


def test_only_what_is_slower_is_suspected():
    assert list(suspicions_of(samples.suspected())) == [POINTS]
    for run in (samples.passing(), samples.improvement(), samples.inconclusive(), samples.broken()):
        assert suspicions_of(run) == {}


def test_a_pass_whose_method_is_not_told_clears_no_point():
    run = at_points(samples.passing(), 1.0)
    untold = run.comparison.model_copy(update={"method": "paired t over launches"})
    assert answers_of(run.model_copy(update={"comparison": untold})) == {POINTS: "undecided"}
