"""What is measured next: simulated records, a fake clock, no server."""

import random
from types import SimpleNamespace

import pytest

from append_prefill.analysis.verdict.sequential import schedule_of
from append_prefill.probe.plan import make_plan
from append_prefill.run import adaptive
from append_prefill.run.adaptive import Decider
from append_prefill.run.judge import compare_references
from append_prefill.run.queue import QueueState
from append_prefill.run.references import References
from tests.report.parts import Model, bare, profile, starts_of, study_points, subject

POINTS, PROFILE = study_points(), profile()


class World:
    """Settings without engines, and a record that grows with the queue."""

    def __init__(
        self, candidate, reference=None, *, chosen=None, confirming=None, minutes=600, sd=0.008
    ):
        self.plan = make_plan(
            PROFILE,
            seed=1,
            sides=("candidate", "reference") if reference else ("candidate",),
            budget_minutes=minutes,
        )
        self.models = {"candidate": candidate, "reference": reference}
        self.measured = {"candidate": 0, "reference": 0}
        self.told, self.sd = [], sd
        settings = SimpleNamespace(
            profile=PROFILE,
            candidate=SimpleNamespace(replicable=True, label="new"),
            reference=SimpleNamespace(label="old") if reference else None,
            confirming=lambda version: confirming if version == "0.5.22" else None,
        )
        self.decider = Decider(
            settings,
            self.plan,
            References(chosen),
            elapsed_s=lambda: 60.0 * sum(self.measured.values()),
            record=self.record,
            tell=self.told.append,
        )

    def record(self):
        starts = []
        for side, count in self.measured.items():
            if count:
                model = self.models[side]
                starts += starts_of(
                    POINTS, side, model, random.Random(side), count=count, sd=self.sd
                )
        return bare(POINTS, PROFILE, starts)

    def decide(self, state):
        for pair in range(state.planned):
            if pair not in state.done:
                for side in self.decider.sides(pair, state):
                    self.measured[side] += 1
        done = state.model_copy(update={"done": list(range(state.planned))})
        return self.decider.decide(done)


def test_without_a_reference_the_planned_starts_are_all():
    state = World(Model()).decide(QueueState(planned=5))
    assert state.closed == "all planned launches are measured"


def test_a_clear_difference_ends_at_the_first_look():
    state = World(Model(floor_ms=24), Model()).decide(QueueState(planned=5))
    assert [look.verdict for look in state.looks] == ["regression"]
    assert state.closed is not None


def test_an_undecided_run_looks_again_and_every_look_is_kept():
    # +2 %, between the two policy effects, where launches scatter by 2.5 %
    world = World(Model(floor_ms=19.8), Model(), sd=0.025)
    state = QueueState(planned=5)
    while state.closed is None:
        state = world.decide(state)
    assert 1 < len(state.looks) <= PROFILE.policy.looks
    assert [look.look for look in state.looks] == list(range(1, len(state.looks) + 1))
    assert sum(look.threshold for look in state.looks) <= PROFILE.policy.false_alarm_rate + 1e-12
    assert state.looks[1].candidate_starts > state.looks[0].candidate_starts


def test_the_budget_ends_it():
    world = World(Model(floor_ms=19.8), Model(), minutes=10.5, sd=0.025)
    state = world.decide(QueueState(planned=5))
    assert "budget" in state.closed
    assert len(state.looks) == 1


STORED = bare(
    POINTS,
    PROFILE,
    starts_of(POINTS, "candidate", Model(), random.Random(9)),
    subject=subject("0.5.22"),
)


def test_a_suspect_is_confirmed_side_by_side_where_the_environment_is_at_hand():
    engine = SimpleNamespace(label="0.5.22")
    world = World(Model(floor_ms=24), chosen=STORED, confirming=engine)
    world.models["reference"] = Model()
    state = world.decide(QueueState(planned=5))
    assert (state.confirm_from, state.planned, state.closed) == (5, 10, None)
    assert world.decider.sides(4, state) == ("candidate",)
    assert {world.decider.sides(p, state) for p in (5, 6)} == {
        ("candidate", "reference"),
        ("reference", "candidate"),
    }
    assert world.decider.engine("reference", state) is engine
    assert any("suspects a regression" in line for line in world.told)


def test_what_the_nights_alone_could_not_call_is_confirmed_too():
    """+8 % is within what sessions differ by, and worth ten minutes."""
    engine = SimpleNamespace(label="0.5.22")
    world = World(Model(floor_ms=21.5), chosen=STORED, confirming=engine)
    world.models["reference"] = Model()
    state = world.decide(QueueState(planned=5))
    assert state.confirm_with == "0.5.22"
    stored = compare_references(world.record(), PROFILE, References(STORED), replicable=True)
    assert stored[0].verdict == "inconclusive"


def test_a_night_like_the_stored_one_confirms_nothing():
    world = World(Model(), chosen=STORED, confirming=SimpleNamespace(label="0.5.22"))
    assert world.decide(QueueState(planned=5)).confirm_from is None


def test_a_suspect_without_its_environment_stays_a_suspect():
    state = World(Model(floor_ms=24), chosen=STORED).decide(QueueState(planned=5))
    assert state.confirm_from is None
    assert state.closed == "all planned launches are measured"


def test_without_a_reference_engine_there_is_none_to_run():
    with pytest.raises(LookupError):
        World(Model()).decider.engine("reference", QueueState(planned=1))


# Launches take a minute each, five of the candidate are measured; a pair takes two.
@pytest.mark.parametrize(
    ("minutes", "pairs"),
    [(600, 5), (15, 5), (14.9, 4), (11, 3), (9, 2), (8.9, None), (6, None), (5, None), (4, None)],
)
def test_a_confirmation_has_the_pairs_the_budget_leaves(minutes, pairs):
    """No more than were planned, and none where two cannot be had: one pair shows no spread."""
    engine = SimpleNamespace(label="0.5.22")
    world = World(Model(floor_ms=24), chosen=STORED, confirming=engine, minutes=minutes)
    state = world.decide(QueueState(planned=5))
    if pairs is None:
        assert (state.planned, state.confirm_from, state.confirm_with) == (5, None, None)
        assert state.closed == "suspected, but the budget left no time to confirm"
        return
    assert (state.planned, state.confirm_from, state.closed) == (5 + pairs, 5, None)
    assert f"side by side, {pairs} pairs" in world.told[-1]


def test_the_suspect_that_can_be_measured_is_confirmed():
    """The first to suspect has no environment here; the second, another version, has."""
    old = STORED.model_copy(update={"subject": subject("0.5.10")})
    world = World(Model(floor_ms=24), chosen=old, confirming=SimpleNamespace(label="0.5.22"))
    assert world.decide(QueueState(planned=5)).confirm_from is None
    world.decider._references = References(old, pinned=STORED)
    assert world.decide(QueueState(planned=5)).confirm_with == "0.5.22"


def test_each_interim_analysis_is_made_at_its_own_level(monkeypatch):
    asked = []
    compare_sides = adaptive.compare_sides

    def record(*arguments, alpha):
        asked.append(alpha)
        return compare_sides(*arguments, alpha=alpha)

    monkeypatch.setattr(adaptive, "compare_sides", record)
    world = World(Model(floor_ms=19.8), Model(), sd=0.025)
    state = QueueState(planned=5)
    while state.closed is None:
        state = world.decide(state)
    planned = schedule_of(PROFILE.policy, 5).alphas
    assert len(asked) > 1
    assert tuple(asked) == planned[: len(asked)]
    assert [look.threshold for look in state.looks] == asked


@pytest.mark.parametrize(("looks", "more"), [(0, True), (1, True), (2, False)])
def test_more_pairs_may_be_planned_while_an_analysis_is_left(looks, more):
    """Then servers of one more pair are launched ahead, in case it is wanted."""
    world = World(Model(floor_ms=19.8), Model(), sd=0.025)
    state = QueueState(planned=5)
    for _ in range(looks):
        state = world.decide(state)
    assert len(state.looks) == looks
    assert PROFILE.policy.looks == 3
    assert world.decider.may_plan_more(state) is more


def test_what_confirms_a_suspicion_is_not_more_of_the_same():
    world = World(Model(floor_ms=24), chosen=STORED, confirming=SimpleNamespace(label="0.5.22"))
    world.models["reference"] = Model()
    state = QueueState(planned=5)
    assert not world.decider.may_plan_more(state)
    assert world.decider.may_plan_more(world.decide(state))
