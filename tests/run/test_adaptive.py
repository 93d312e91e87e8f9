"""What is measured next: simulated records, a fake clock, no server."""

import random
from dataclasses import replace
from types import SimpleNamespace

import pytest

from append_prefill.analysis.verdict.sequential import Analysis, schedule_of
from append_prefill.probe.planning import make_plan
from append_prefill.run import adaptive
from append_prefill.run.adaptive import Decider
from append_prefill.run.comparing import compare_references
from append_prefill.run.queue import QueueState
from append_prefill.run.references import References
from tests.report.parts import Model, bare, profile, starts_of, study_points, subject
from tests.report.traffic_parts import conversation, talking, with_traffic

POINTS, PROFILE = study_points(), profile()


class World:
    """Settings without engines, and a record that grows with the queue."""

    def __init__(
        self,
        candidate,
        reference=None,
        *,
        chosen=None,
        confirming=None,
        minutes=600,
        sd=0.008,
        at_once=1,
        without_points=False,
    ):
        self.plan = make_plan(
            PROFILE,
            seed=1,
            sides=("candidate", "reference") if reference else ("candidate",),
            budget_minutes=minutes,
        )
        if without_points:
            self.plan = replace(self.plan, points=(), drawn=())
        self.models = {"candidate": candidate, "reference": reference}
        self.measured = {"candidate": 0, "reference": 0}
        self.told, self.sd = [], sd
        settings = SimpleNamespace(
            profile=PROFILE,
            candidate=SimpleNamespace(replicable=True, label="new"),
            reference=SimpleNamespace(label="old") if reference else None,
            kv_bytes_per_token=None,
            kv_fixed_bytes=0,
            confirming=lambda version: confirming if version == "0.5.22" else None,
        )
        self.decider = Decider(
            settings,
            self.plan,
            References(chosen),
            at_once=at_once,
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

    def begin(self):
        return QueueState(planned=self.decider.first_pairs)

    def decide(self, state):
        for pair in range(state.planned):
            if pair not in state.done:
                for side in self.decider.sides(pair, state):
                    self.measured[side] += 1
        done = state.model_copy(update={"done": list(range(state.planned))})
        return self.decider.decide(done)

    def run(self):
        """The states after each decision, until the queue is closed."""
        states = [self.decide(self.begin())]
        while states[-1].closed is None:
            states.append(self.decide(states[-1]))
        return states


def undecided(**options):
    """+2 %, between the two policy effects, where launches scatter by 2.5 %."""
    return World(Model(floor_ms=19.8), Model(), sd=0.025, **options)


@pytest.fixture
def findings(monkeypatch):
    """The verdicts of the findings that each interim analysis meets, to be replaced."""
    said = ["holds", "not-applicable"]
    monkeypatch.setattr(
        adaptive, "judged_findings", lambda *_, **__: [finding_of(verdict) for verdict in said]
    )
    return said


def finding_of(verdict, **measured):
    known = dict.fromkeys(("measured", "low", "high", "bound"))
    return SimpleNamespace(verdict=verdict, **(known | measured))


def test_without_a_reference_the_planned_starts_are_all():
    world = World(Model())
    assert world.begin().planned == 5
    assert world.decide(world.begin()).closed == "all planned launches are measured"


@pytest.mark.parametrize(("at_once", "pairs"), [(1, 3), (2, 4), (3, 3), (4, 4), (5, 5), (8, 5)])
def test_both_sides_are_first_judged_before_all_planned_pairs_are_done(at_once, pairs):
    """As many as are measured at the same time anyway."""
    assert World(Model(), Model(), at_once=at_once).begin().planned == pairs


@pytest.mark.parametrize(
    ("floor_ms", "verdict"), [(19.4, "pass"), (24, "regression"), (16, "improvement")]
)
def test_what_is_clear_early_ends_early(findings, floor_ms, verdict):
    (state,) = World(Model(floor_ms=floor_ms), Model(), sd=0.003).run()
    assert [look.verdict for look in state.looks] == [verdict]
    assert (state.done, state.closed) == ([0, 1, 2], f"Settled: {verdict}.")
    assert (state.looks[0].candidate_starts, state.looks[0].reference_starts) == (3, 3)


@pytest.mark.parametrize(("floor_ms", "pairs"), [(19.4, [3, 5]), (16, [3, 5]), (24, [3])])
def test_a_finding_that_is_open_is_measured_as_planned(findings, floor_ms, pairs):
    """Unless the run is red anyway."""
    findings.append("inconclusive")
    states = World(Model(floor_ms=floor_ms), Model(), sd=0.003).run()
    assert [look.candidate_starts for look in states[-1].looks] == pairs
    assert [look.decision.code for look in states[-1].looks[:-1]] == ["findings"] * (len(pairs) - 1)
    assert states[-1].looks[-1].decision.code == "settled"


def test_a_finding_on_its_bound_is_not_measured_on_for(monkeypatch):
    """As many launches as are planned would leave it as open."""
    on_bound = finding_of("inconclusive", measured=0.199, low=0.18, high=0.22, bound=0.2)
    monkeypatch.setattr(adaptive, "judged_findings", lambda *_, **__: [on_bound])
    (state,) = World(Model(floor_ms=19.4), Model(), sd=0.003).run()
    assert (state.done, state.closed) == ([0, 1, 2], "Settled: pass.")


def test_findings_are_judged_as_the_run_will_judge_them(monkeypatch):
    """On what was measured so far, without the experiments that were not selected."""
    asked = {}

    def judged(*given, **options):
        asked.update(given=given, options=options)
        return []

    monkeypatch.setattr(adaptive, "judged_findings", judged)
    world = World(Model(), Model())
    world.decide(world.begin())
    run, narrowed, references = asked["given"]
    assert {start.side for start in run.starts} == {"candidate", "reference"}
    assert narrowed == world.plan.narrowed(PROFILE)
    assert references == References()
    assert asked["options"] == {"kv_bytes_per_token": None, "kv_fixed_bytes": 0}


def test_an_undecided_run_looks_again_and_every_look_is_kept():
    world = undecided()
    state = world.run()[-1]
    assert 1 < len(state.looks) <= PROFILE.policy.looks
    assert [look.look for look in state.looks] == list(range(1, len(state.looks) + 1))
    assert sum(look.threshold for look in state.looks) <= PROFILE.policy.false_alarm_rate + 1e-12
    planned = schedule_of(PROFILE.policy, 5).analyses[: len(state.looks)]
    assert [
        (look.candidate_starts, look.threshold, look.pass_confidence) for look in state.looks
    ] == [(one.starts, one.alpha, one.pass_confidence) for one in planned]


def test_an_interrupted_run_is_judged_at_the_level_of_the_analysis_it_did_not_reach():
    world = undecided()
    schedule = schedule_of(PROFILE.policy, 5)
    levels = [(now.alpha, now.pass_confidence, None) for now in schedule.analyses]
    state = world.begin()
    for level in levels:
        assert world.decider.next_level(state) == level
        state = world.decide(state)
        if state.closed is not None:
            break
    assert len(state.looks) == len(levels)
    assert world.decider.next_level(state) == levels[-1]  # past it there is none of its own


@pytest.mark.parametrize(
    ("minutes", "starts"), [(1, [3, 5]), (15.9, [3, 5]), (16, [3, 5, 8]), (22, [3, 5, 8, 11])]
)
def test_the_budget_holds_what_is_added_to_the_plan(minutes, starts):
    """A launch takes a minute here, so what was planned takes ten, whatever the budget."""
    state = undecided(minutes=minutes).run()[-1]
    assert [look.candidate_starts for look in state.looks] == starts
    assert [look.decision.code for look in state.looks[:-1]] == ["continue"] * (len(starts) - 1)
    assert state.looks[-1].decision.code == ("budget" if minutes < 22 else "last")
    assert ("budget" in state.closed) is (minutes < 22)


STORED = bare(
    POINTS,
    PROFILE,
    starts_of(POINTS, "candidate", Model(), random.Random(9)),
    subject=subject("0.5.22"),
)


ENGINE = SimpleNamespace(label="0.5.22")
TALK = conversation()
TALKING = with_traffic(PROFILE, TALK)


def test_a_suspect_is_confirmed_side_by_side_where_the_environment_is_at_hand():
    engine = SimpleNamespace(label="0.5.22")
    world = World(Model(floor_ms=24), chosen=STORED, confirming=engine)
    world.models["reference"] = Model()
    state = world.decide(QueueState(planned=5))
    assert (state.confirm_from, state.confirm_pairs, state.planned) == (5, 5, 8)
    assert state.closed is None
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
    assert (state.confirm_from, state.confirm_pairs, state.closed) == (5, pairs, None)
    assert state.planned == 5 + schedule_of(PROFILE.policy, pairs).starts[0]
    assert f"side by side, {pairs} pairs" in world.told[-1]


def test_the_suspect_that_can_be_measured_is_confirmed():
    """The first to suspect has no environment here; the second, another version, has."""
    old = STORED.model_copy(update={"subject": subject("0.5.10")})
    world = World(Model(floor_ms=24), chosen=old, confirming=SimpleNamespace(label="0.5.22"))
    assert world.decide(QueueState(planned=5)).confirm_from is None
    world.decider._references = References(old, pinned=STORED)
    assert world.decide(QueueState(planned=5)).confirm_with == "0.5.22"


def talking_world(talk_ms, *, confirming=ENGINE, minutes=600):
    """A night whose points are the stored ones', and whose conversations take `talk_ms`."""
    world = World(Model(), chosen=None, confirming=confirming, minutes=minutes)
    world.plan = replace(world.plan, traffic=(TALK,))
    world.decider._plan = world.plan
    world.decider._profile = world.plan.narrowed(TALKING)
    stored = talking(list(STORED.starts), TALK, Model(), sd=0.002)
    world.decider._references = References(STORED.model_copy(update={"starts": stored}))

    def record():
        run = World.record(world)
        starts = talking(list(run.starts), TALK, Model(floor_ms=talk_ms), seed=2, sd=0.002)
        return run.model_copy(update={"starts": starts})

    world.decider._record = record
    return world


def test_what_is_suspected_in_other_traffic_is_confirmed_in_the_same_session():
    """Interim analyses look at the points: all pairs are measured, and judged at the end."""
    world = talking_world(48)
    state = world.decide(QueueState(planned=5))
    assert (state.confirm_from, state.confirm_with, state.planned) == (5, "0.5.22", 10)
    assert (state.confirm_at_once, state.closed) == (True, None)
    assert "in other traffic" in world.told[-1]
    assert not world.decider.may_plan_more(state)
    assert set(world.decider.sides(5, state)) == {"candidate", "reference"}
    world.models["reference"] = Model()
    last = world.decide(state)
    assert (last.looks, last.closed) == ([], "all pairs that confirm are measured")


def test_conversations_like_the_stored_ones_confirm_nothing():
    assert talking_world(19.4).decide(QueueState(planned=5)).confirm_from is None


def test_of_other_traffic_too_a_suspect_without_its_environment_stays_one():
    assert talking_world(48, confirming=None).decide(QueueState(planned=5)).confirm_from is None


def test_a_confirmation_is_judged_early_and_as_planned_too():
    engine = SimpleNamespace(label="0.5.22")
    world = World(Model(floor_ms=24), chosen=STORED, confirming=engine)
    world.models["reference"] = Model()
    *_, last = world.run()
    assert (last.looks[-1].verdict, last.looks[-1].candidate_starts) == ("regression", 3)
    assert last.done == list(range(5 + 3))
    world = World(Model(floor_ms=19.8), chosen=STORED, confirming=engine, sd=0.025)
    world.models["reference"] = Model()
    state = QueueState(planned=8, confirm_from=5, confirm_with="0.5.22", confirm_pairs=5)
    world.measured["candidate"] = 5
    while state.closed is None:
        state = world.decide(state)
    assert [look.candidate_starts for look in state.looks] == [3, 5, 8, 11]


def test_a_confirmation_is_not_prolonged_for_findings(findings):
    """Their launches were measured before it."""
    findings.append("inconclusive")
    world = World(Model(), Model(), sd=0.003)
    world.measured["candidate"] = 5
    confirming = {"confirm_from": 5, "confirm_with": "0.5.22", "confirm_pairs": 5}
    state = world.decide(QueueState(planned=8, done=list(range(5)), **confirming))
    assert state.closed == "Settled: pass."


def test_each_interim_analysis_is_made_at_its_own_level(monkeypatch):
    asked = []
    compare_sides = adaptive.compare_sides

    def record(*arguments, **rates):
        asked.append(rates)
        return compare_sides(*arguments, **rates)

    monkeypatch.setattr(adaptive, "compare_sides", record)
    state = undecided().run()[-1]
    planned = schedule_of(PROFILE.policy, 5).analyses
    assert len(asked) > 1
    assert [
        Analysis(rows.starts, **rates) for rows, rates in zip(planned, asked, strict=False)
    ] == (list(planned[: len(asked)]))
    assert [(look.threshold, look.pass_confidence) for look in state.looks] == [
        (rates["alpha"], rates["pass_confidence"]) for rates in asked
    ]


def test_more_pairs_may_be_planned_while_an_analysis_is_left():
    """Then servers of one more pair are launched ahead, in case it is wanted."""
    world = undecided()
    states = world.run()
    analyses = len(schedule_of(PROFILE.policy, 5).analyses)
    for state in states:
        assert world.decider.may_plan_more(state) is (len(state.looks) + 1 < analyses)


def test_what_confirms_a_suspicion_is_not_more_of_the_same():
    world = World(Model(floor_ms=24), chosen=STORED, confirming=SimpleNamespace(label="0.5.22"))
    world.models["reference"] = Model()
    state = QueueState(planned=5)
    assert not world.decider.may_plan_more(state)
    assert world.decider.may_plan_more(world.decide(state))


def test_without_points_all_planned_launches_are_measured_and_none_is_looked_at():
    world = World(Model(), Model(), without_points=True)
    assert world.begin().planned == world.plan.starts
    (state,) = world.run()
    assert (state.looks, state.closed) == ([], "all planned launches are measured")
