"""What two sides' profiles differ by."""

from __future__ import annotations

import pytest

from append_prefill.analysis.profiles import (
    DEVICE_WAITS,
    Profile,
    differences,
    inclusive_ms,
    mean_of,
    per_request,
    ranked,
    self_ms,
    split_waits,
    waiting,
)

LOOP = ("scheduler", "run", "loop", "poll")
WORK = ("scheduler", "run", "loop", "batch")
SPIN = ("scheduler", "run", "loop", "poll", "spin")


def profile(busy, idle, *, requests=100):
    return Profile(busy, requests, idle)


def polling(work_ms=800.0):
    """A scheduler that polls whenever it does not work, for two seconds."""
    return profile({LOOP: 2000.0 - work_ms, WORK: work_ms}, {LOOP: 1000.0})


def test_a_loop_that_polls_is_no_cost_however_long_it_polls():
    for mine, other in ((polling(400.0), polling(1000.0)), (polling(1000.0), polling(400.0))):
        left_out = waiting([mine], [other])
        assert left_out == {LOOP}
        assert set(per_request(mine, left_out)) == {WORK}
    assert per_request(polling(400.0), {LOOP}) == {WORK: 4.0}


def test_a_loop_is_known_again_within_another_wrapper():
    wrapped = ("scheduler", "run", "once", "loop", "poll")
    new = profile({wrapped: 900.0, WORK: 400.0}, {wrapped: 1000.0})
    assert waiting([new], [polling()]) == {wrapped}
    assert waiting([polling()], [new]) == {LOOP}


def test_what_ends_alike_in_a_stack_that_no_idle_server_shows_is_work():
    at_work = ("scheduler", "run", "batch", "poll")
    new = profile({at_work: 900.0}, {LOOP: 1000.0})
    assert per_request(new, waiting([new], [polling()])) == {at_work: 9.0}


def test_what_one_side_alone_does_while_idle_stays():
    slow = profile({SPIN: 1500.0, WORK: 400.0}, {SPIN: 1000.0})
    assert waiting([slow], [polling()]) == frozenset()
    assert waiting([polling()], [slow]) == frozenset()


def test_a_process_of_the_same_function_is_another():
    http = profile({}, {("http", "run", "loop", "poll"): 1000.0})
    assert waiting([http], [polling()]) == frozenset()


def test_no_request_is_refused():
    with pytest.raises(ValueError, match="no request"):
        per_request(profile({WORK: 1.0}, {}, requests=0), frozenset())


def test_one_request_is_enough_to_say_what_one_takes():
    assert per_request(profile({WORK: 3.0}, {}, requests=1), frozenset()) == {WORK: 3.0}


def test_own_and_whole_time():
    stacks = {WORK: 2.0, (*WORK, "loop", "batch"): 1.0, ("http", "run"): 4.0, ("http",): 0.5}
    own = self_ms(stacks)
    assert own == {("scheduler", "batch"): 3.0, ("http", "run"): 4.0, ("http", "http"): 0.5}
    whole = inclusive_ms(stacks)
    # Once where it calls itself.
    assert whole["scheduler", "batch"] == whole["scheduler", "run"] == 3.0
    assert whole["http", "run"] == 4.0


def test_differences_are_over_pairs_of_launches():
    new, old = [{"a": 3.0}, {"a": 5.0}, {"a": 4.0}], [{"a": 1.0}, {"a": 3.0}, {"a": 2.0}]
    found = differences(new, old, sample_ms=0.0)["a"]
    assert (found.reference_ms, found.candidate_ms) == (2.0, 4.0)
    # Each pair differs by 2: launches that move together are no scatter.
    assert (found.delta_ms.low, found.delta_ms.value, found.delta_ms.high) == (2.0, 2.0, 2.0)


def test_what_one_side_has_never_shown_is_missing_there_and_no_zero():
    found = differences([{"new": 1.0}, {}], [{"old": 2.0}, {"old": 2.0}], sample_ms=0.0)
    assert found["new"].reference_ms is None
    assert found["new"].candidate_ms == 0.5
    assert found["new"].delta_ms.value == 0.5
    assert found["old"].candidate_ms is None
    assert found["old"].delta_ms.value == -2.0


def test_launches_that_look_alike_are_no_surer_than_their_samples():
    # Two samples in each launch of the candidate, none in the reference's: 0.2 ms, known by four.
    found = differences([{"a": 0.2}] * 2, [{}] * 2, sample_ms=0.1)["a"].delta_ms
    assert found.value == pytest.approx(0.2)
    assert found.high - found.value == pytest.approx(1.96 * 0.1)
    assert found.value - found.low == pytest.approx(1.96 * 0.1)
    # Those of both sides count: 1.8 ms in all, as six launches saw them.
    found = differences([{"a": 0.4}] * 3, [{"a": 0.2}] * 3, sample_ms=0.1)["a"].delta_ms
    assert found.high - found.value == pytest.approx(1.96 * (0.1 * 1.8 / 9) ** 0.5)


def test_launches_that_scatter_by_more_than_their_samples_say_so():
    found = differences([{"a": 4.0}, {"a": 6.0}], [{"a": 1.0}, {"a": 1.0}], sample_ms=1e-3)["a"]
    # Student's t of one degree of freedom: 12.7062 times sqrt(2) / sqrt(2).
    assert found.delta_ms.value == 4.0
    assert found.delta_ms.low == pytest.approx(4 - 12.7062, abs=1e-4)
    assert found.delta_ms.high == pytest.approx(4 + 12.7062, abs=1e-4)


def test_one_pair_has_no_interval():
    assert differences([{"a": 1.0}], [{"a": 0.5}], sample_ms=0.1)["a"].delta_ms.low is None


@pytest.mark.parametrize(("new", "old"), [([], []), ([{}], []), ([{}], [{}, {}])])
def test_sides_that_are_no_pairs_are_refused(new, old):
    with pytest.raises(ValueError, match="pairs"):
        differences(new, old, sample_ms=0.0)


def test_the_ranking_begins_where_the_change_is():
    found = differences(
        [{"a": 1.0, "b": 3.0, "c": 1.0}], [{"a": 1.0, "b": 1.0, "c": 2.0}], sample_ms=0.0
    )
    assert ranked(found) == ["b", "a", "c"]
    assert ranked(found, slower_first=False) == ["c", "a", "b"]


def test_the_mean_counts_launches_that_never_showed_it():
    assert mean_of([{"a": 1.0}, {"b": 1.0}]) == {"a": 0.5, "b": 0.5}
    assert mean_of([{"a": 1.0}, {"a": 2.0}]) == {"a": 1.5}


def test_what_waits_for_the_gpu_is_told_apart():
    work = ("scheduler", "sglang.s:loop")
    waits = [(*work, name) for name in sorted(DEVICE_WAITS)]
    stacks = {work: 1.0, (*waits[0], "sglang.s:after"): 2.0} | dict.fromkeys(waits, 4.0)
    kept, waited = split_waits(stacks)
    assert kept == {work: 1.0, (*waits[0], "sglang.s:after"): 2.0}
    assert waited == 12.0
    assert split_waits({}) == ({}, 0)
