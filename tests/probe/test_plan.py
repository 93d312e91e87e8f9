import pytest

from append_prefill.probe.plan import make_plan, plan_of
from append_prefill.workload.points import Point
from append_prefill.workload.profile import load_profile
from tests.records import builders

PROFILE = load_profile("cpu-nano")


def plan(**changes):
    return make_plan(PROFILE, **({"seed": 1, "sides": ("candidate", "reference")} | changes))


def test_two_pairs_in_a_row_are_abba():
    sides = [side for i in range(2) for side in plan().pair(i).sides]
    assert sides == ["candidate", "reference", "reference", "candidate"]


def test_every_block_has_every_point_in_its_own_order():
    orders = [plan().order(pair, block) for pair in range(2) for block in range(3)]
    assert all(sorted(order) == list(plan().all_points) for order in orders)
    assert len({tuple(order) for order in orders}) == 6


def test_the_seed_decides_everything():
    assert plan() == plan()
    assert plan().order(0, 0) != plan(seed=2).order(0, 0)
    assert plan().drawn != plan(seed=2).drawn


def test_selected_experiments_only():
    chosen = plan(experiments=["append"])
    assert {p.context_tokens for p in chosen.points} == {256}
    with pytest.raises(KeyError):
        plan(experiments=["nope"])


def test_the_record_can_be_planned_again():
    record = plan().record(25)
    assert record.pairs[:2] == [["candidate", "reference"], ["reference", "candidate"]]
    assert [Point(*p) for p in record.points] == list(plan().points)
    assert plan_of(builders.run(plan=record, seed=1), PROFILE) == plan()
