import pytest

from append_prefill.probe.plan import PLANE_SHARE
from append_prefill.probe.planning import make_plan, plan_of
from append_prefill.workload.loading import load_profile
from append_prefill.workload.points import Point
from tests.analysis.cliffs.test_jump import cliff
from tests.records import builders

PROFILE = load_profile("cpu-nano")


def plan(**changes):
    return make_plan(PROFILE, **({"seed": 1, "sides": ("candidate", "reference")} | changes))


def test_two_pairs_in_a_row_are_abba():
    sides = [side for i in range(2) for side in plan().pair(i).sides]
    assert sides == ["candidate", "reference", "reference", "candidate"]


def test_every_block_has_every_point_in_its_own_order():
    orders = [plan().order(pair, block) for pair in range(2) for block in range(3)]
    for order in orders:
        points = [task for task in order if isinstance(task, Point)]
        assert sorted(points) == list(plan().all_points)
    assert len({tuple(order) for order in orders}) == 6


def test_traffic_is_in_every_so_many_blocks_among_the_points():
    planned = plan()
    (turns,) = planned.traffic
    assert (turns.id, turns.every) == ("turns", 3)
    (unit,) = turns.units
    held = [unit in planned.order(0, block) for block in range(7)]
    assert held == [True, False, False, True, False, False, True]
    places = {planned.order(pair, 0).index(unit) for pair in range(20)}
    assert len(places) > 5
    assert planned.samples_a_block == len(planned.all_points) + 5 / 3
    assert planned.record(1.0).traffic == ["turns"]


def test_traffic_alone_has_no_drawn_points_and_is_in_every_block():
    planned = plan(experiments=["turns"])
    assert (planned.all_points, planned.samples_a_block) == ((), 5)
    assert all(len(planned.order(0, block)) == 1 for block in range(4))
    assert planned.longest_tokens(1000) == 128 + 5 * 32 + 6 * 16


def test_points_alone_have_the_whole_false_alarm_rate():
    whole = PROFILE.policy.false_alarm_rate
    rates = {
        name: plan(experiments=[name]).narrowed(PROFILE).policy.false_alarm_rate
        for name in ("append", "turns")
    }
    assert rates == {"append": whole, "turns": whole}
    assert plan().narrowed(PROFILE).policy.false_alarm_rate == whole * PLANE_SHARE


def test_kept_cliffs_share_the_false_alarm_rate_as_points_do():
    """They are compared as points are, so that other traffic has not all of the rate either."""
    chosen = plan(cliffs=[cliff()], experiments=["cliffs", "turns"])
    assert chosen.points == ()
    assert chosen.narrowed(PROFILE).policy.false_alarm_rate == pytest.approx(
        PROFILE.policy.false_alarm_rate * PLANE_SHARE
    )
    assert chosen.record(25).has_points
    assert not plan(experiments=["turns"]).record(25).has_points
    in_traffic = plan(cliffs=[cliff(experiment="turns")], experiments=["turns"])
    assert in_traffic.cliffs
    assert not in_traffic.record(25).has_points
    assert plan(experiments=["append"]).record(25).has_points


def test_the_seed_decides_everything():
    assert plan() == plan()
    assert plan().order(0, 0) != plan(seed=2).order(0, 0)
    assert plan().drawn != plan(seed=2).drawn


def test_selected_experiments_only():
    chosen = plan(experiments=["append"])
    assert {p.context_tokens for p in chosen.points} == {256}
    with pytest.raises(KeyError):
        plan(experiments=["nope"])


def test_kept_cliffs_are_measured_with_all_of_the_profile_or_where_they_are_named():
    kept = cliff()
    whole = plan(cliffs=[kept])
    assert set(kept.points) <= set(whole.all_points)
    assert whole.points == plan().points
    assert whole.experiments_of(kept.points[1], PROFILE) == ["cliffs"]
    assert plan(cliffs=[kept], experiments=["append"]).cliffs == ()
    alone = plan(cliffs=[kept], experiments=["cliffs"])
    assert alone.all_points == tuple(sorted(kept.points))
    assert plan_of(builders.run(plan=whole.record(25), seed=1), PROFILE) == whole


def test_kept_cliffs_in_other_traffic_are_measured_beside_their_experiment():
    kept = cliff(experiment="together_8")
    assert plan(cliffs=[kept]).cliffs == ()  # it is heavy, and was not asked for
    chosen = plan(cliffs=[kept], experiments=["together_8"])
    (own,) = chosen.traffic
    assert own == next(e for e in PROFILE.traffic if e.id == "together_8")
    assert chosen.cliff_points == ()
    added = [unit for unit in chosen.units if unit not in own.units]
    assert [unit.points for unit in added] == [(point,) for point in kept.points]
    assert {(unit.traffic, unit.samples) for unit in added} == {(own.traffic, 8)}
    assert chosen.conditions[-2:] == tuple(c for unit in added for c in unit.conditions)
    assert [set(added) <= set(chosen.order(0, block)) for block in range(6)] == [
        block % own.every == 0 for block in range(6)
    ]
    # What is judged, and what runs are comparable by, knows nothing of it.
    assert chosen.narrowed(PROFILE).traffic == (own,)
    assert plan_of(builders.run(plan=chosen.record(25), seed=1), PROFILE) == chosen
    there = cliff(experiment="together_8", fast=(256, 64), slow=(256, 65))
    units = plan(cliffs=[there], experiments=["together_8"]).units
    assert [unit.points for unit in units].count((Point(256, 64),)) == 1


def test_the_record_can_be_planned_again():
    record = plan().record(25)
    assert record.pairs[:2] == [["candidate", "reference"], ["reference", "candidate"]]
    assert [Point(*p) for p in record.points] == list(plan().points)
    assert plan_of(builders.run(plan=record, seed=1), PROFILE) == plan()


def test_what_company_and_age_cost_is_a_ratio_to_the_same_point_alone():
    """So its points are measured alone as well, though no experiment at them was selected."""
    chosen = plan(experiments=["together_8", "aged"])
    assert chosen.points == (Point(256, 64), Point(1024, 64))
    assert chosen.drawn == ()
    assert not set(plan(experiments=["append"]).points).difference(
        PROFILE.experiment("append").as_points
    )


def test_an_aged_server_has_blocks_of_its_own():
    chosen = plan(experiments=["together_8", "aged"])
    states = [
        {"fresh" if isinstance(t, Point) else t.traffic.state for t in chosen.order(0, 1, state)}
        for state in ("fresh", "aged")
    ]
    assert states == [{"fresh"}, {"aged"}]
    assert chosen.states == ("aged",)
    assert plan().states == ()
    # Every block of them has all, however seldom a launch's other blocks have anything.
    assert len({*chosen.order(0, 0, "aged")}) == len(chosen.order(0, 1, "aged")) == 2


def test_a_launch_comes_into_its_states_in_one_order_and_is_probed_at_the_shortest_point():
    chosen = plan(experiments=["soaked", "overloaded", "aged"])
    assert chosen.states == ("aged", "overloaded", "soaked")
    assert chosen.probed("soaked") == Point(256, 64)
    with pytest.raises(ValueError, match="empty"):
        plan().probed("soaked")


def test_what_is_there_at_once_is_more_than_the_longest():
    chosen = plan(experiments=["together_8"])
    assert chosen.longest_tokens(2) == 1088 + 2
    assert chosen.held_tokens(2) == 8 * (1088 + 2)
    # Of points alone it is the shortest: those that do not fit are left out.
    points = plan(experiments=["append"])
    shortest = min(point.total_tokens for point in points.all_points)
    assert points.held_tokens(2) == shortest + 2


def test_a_pair_that_is_all_there_is_has_one_launch_beside_it():
    profile = load_profile("llama-3.1-8b")

    def launches(*experiments):
        return make_plan(profile, seed=1, sides=("candidate",), experiments=experiments).starts

    assert launches("pd_pair") == 1
    assert launches("pd_pair", "append") == launches("append") == profile.plan.starts
    assert launches("pd_pair", "turns") == profile.plan.starts


@pytest.mark.parametrize(("experiments", "beside"), [(["pd_pair"], 1), (["pd_pair", "append"], 12)])
def test_launches_and_samples_that_are_asked_for_are_the_pairs_as_well(experiments, beside):
    profile = load_profile("llama-3.1-8b")
    asked = {"seed": 1, "sides": ("candidate",), "experiments": experiments}
    planned = make_plan(profile, **asked, starts=12, samples=7)
    assert planned.pd_pair is not None
    assert (planned.pd_pair.launches, planned.pd_pair.samples) == (12, 7)
    assert planned.starts == beside
    assert make_plan(profile, **asked).pd_pair == profile.pd_pair
