"""Where the minutes of a run went."""

import pytest

from append_prefill.analysis.minutes import minutes_of, slow_to_start
from tests.records import builders


def start(index, side="candidate", **changes):
    return builders.start(index, side, ready_s=60.0, measured_s=30.0, **changes)


def test_starts_that_follow_each_other_add_up():
    spent = minutes_of([start(0), start(1)])
    # Two minutes of starting; 30 s of which 3 s warm-up, twice.
    assert (spent.starting, spent.warming_up, spent.measuring) == pytest.approx((2, 0.1, 0.9))
    assert spent.total == pytest.approx(3)


def test_an_interleaved_pair_shares_its_time():
    pair = [start(0, side, interleaved=True) for side in ("candidate", "reference")]
    pair[1] = pair[1].model_copy(update={"ready_s": 90.0})
    spent = minutes_of(pair)
    assert (spent.starting, spent.warming_up, spent.measuring) == pytest.approx((1.5, 0.1, 0.4))


def test_devices_work_side_by_side_and_their_minutes_add_up():
    assert minutes_of([start(0, device="a"), start(0, device="b")]).total == pytest.approx(3)


def test_a_pair_that_followed_each_other_adds_up():
    pair = [start(0, side) for side in ("candidate", "reference")]
    spent = minutes_of(pair)
    assert (spent.starting, spent.warming_up, spent.measuring) == pytest.approx((2, 0.1, 0.9))


def test_interleaved_pairs_share_their_time_within_the_pair_alone():
    pairs = [
        start(n, side, interleaved=True).model_copy(update={"pair": n // 2})
        for n, side in enumerate(("candidate", "reference") * 2)
    ]
    spent = minutes_of(pairs)
    assert (spent.starting, spent.warming_up, spent.measuring) == pytest.approx((2, 0.2, 0.8))


def test_a_compile_run_counts_as_starting():
    launches = [start(n).model_copy(update={"rehearsal_s": 120.0}) for n in range(2)]
    assert minutes_of(launches).starting == pytest.approx(6)


def test_an_unfinished_launch_leaves_it_unknown():
    assert minutes_of([]) is None
    assert minutes_of([start(0), builders.start(1, measured_s=None)]) is None


def test_a_start_that_compiled_is_the_odd_one():
    starts = [start(n) for n in range(3)]
    assert slow_to_start(starts) == []
    starts[0] = starts[0].model_copy(update={"ready_s": 130.0})
    assert slow_to_start(starts) == [starts[0]]
    # Of two no one knows which is odd, and sides are not held against each other.
    assert slow_to_start(starts[:2]) == []
    others = [s.model_copy(update={"side": "reference", "ready_s": 200.0}) for s in starts]
    assert slow_to_start([*starts, *others]) == [starts[0]]


def test_twice_the_median_is_not_yet_slow():
    for side in ("candidate", "reference"):
        starts = [start(n, side) for n in range(4)]
        starts[3] = starts[3].model_copy(update={"ready_s": 120.0})
        assert slow_to_start(starts) == []
        starts[3] = starts[3].model_copy(update={"ready_s": 120.1})
        assert slow_to_start(starts) == [starts[3]]
        unknown = start(4, side).model_copy(update={"ready_s": None})
        assert slow_to_start([*starts, unknown]) == [starts[3]]


def test_the_candidates_come_first():
    sides = ("reference", "candidate")
    starts = {side: [start(n, side) for n in range(3)] for side in sides}
    for side in sides:
        starts[side][0] = starts[side][0].model_copy(update={"ready_s": 200.0})
    slow = slow_to_start([*starts["reference"], *starts["candidate"]])
    assert [s.side for s in slow] == ["candidate", "reference"]


def test_held_and_not_held_are_not_held_against_each_other():
    """The first launch of a run imports at its turn, those after it have done so before."""
    held = [start(n).model_copy(update={"ready_s": 16.0, "held_s": 80.0}) for n in range(3)]
    fresh = [start(n).model_copy(update={"ready_s": 45.0}) for n in range(3)]
    assert slow_to_start([*held, fresh[0]]) == []
    assert slow_to_start([*held, *fresh]) == []
    held[1] = held[1].model_copy(update={"ready_s": 33.0})
    assert slow_to_start([*held, *fresh]) == [held[1]]


def test_what_a_pair_waits_for_the_next_servers_is_starting_them():
    waits = {"interleaved": True, "settle_s": 6.0}
    pair = [start(0, side).model_copy(update=waits) for side in ("candidate", "reference")]
    without = [s.model_copy(update={"settle_s": None}) for s in pair]
    assert minutes_of(pair).total == pytest.approx(minutes_of(without).total)
    assert minutes_of(pair).starting == pytest.approx(minutes_of(without).starting + 0.1)
    apart = [s.model_copy(update={"interleaved": False}) for s in pair]
    without = [s.model_copy(update={"interleaved": False}) for s in without]
    assert minutes_of(apart).starting == pytest.approx(minutes_of(without).starting + 0.2)
    assert minutes_of(apart).measuring == pytest.approx(minutes_of(without).measuring - 0.2)
