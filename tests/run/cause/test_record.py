"""From profiled launches to the record."""

from __future__ import annotations

from dataclasses import replace

import pytest

from append_prefill.errors import UsageError
from append_prefill.records.cause import FILE, read_cause, write_cause
from append_prefill.run.cause import record
from tests.run.cause.profiled import LOOP, cause, launch, pairs


def test_functions_are_ranked_by_what_the_candidate_takes_more():
    found = cause()
    assert [one.name for one in found.functions[:2]] == ["sglang.cache:match", "new:fresh"]
    first, second = found.functions[:2]
    assert (first.process, first.idle) == ("scheduler", False)
    assert first.own.delta_ms == pytest.approx(2.0)
    assert 0 < first.own.low_ms < 2.0 < first.own.high_ms
    assert second.own.reference_ms is None
    last = [one for one in found.functions if one.own][-1]
    assert last.name == "sglang.s:gone"
    assert last.own.candidate_ms is None


def test_a_caller_has_its_callees_time_in_whole():
    (loop,) = [one for one in cause().functions if one.name == "sglang.s:batch"]
    assert loop.own.delta_ms == pytest.approx(-0.2)
    assert loop.whole.delta_ms == pytest.approx(0.8)


def test_what_never_runs_itself_has_no_time_of_its_own():
    behind = [one for one in cause().functions if one.own is None]
    assert {one.name for one in behind} >= {"sglang.s:loop", "uvicorn:run"}
    assert cause().functions[-len(behind) :] == behind
    (loop,) = [one for one in behind if one.name == "sglang.s:loop"]
    assert loop.whole.delta_ms == pytest.approx(2.5)


def test_polling_is_in_nothing_that_is_kept():
    found = cause()
    assert "zmq:poll" not in {one.name for one in found.functions}
    assert "zmq:poll" not in found.names
    assert found.own_total.candidate_ms == pytest.approx(7.5)
    assert found.own_total.reference_ms == pytest.approx(5.0)


def test_a_faster_candidate_is_ranked_the_other_way():
    assert cause(ratio=0.8).functions[0].name == "sglang.s:gone"
    assert not cause(ratio=0.8).slower


def test_a_loop_of_one_side_alone_is_marked():
    made = [(launch("candidate", n, {}), launch("reference", n, {})) for n in range(2)]
    other = (*LOOP, "sglang.s:spins")
    for new, _ in made:
        new.stacks.busy_ms[other] = 500.0
        new.stacks.idle_ms[other] = 1000.0
    first = cause(made=made).functions[0]
    assert (first.name, first.idle) == ("sglang.s:spins", True)


def test_stacks_hold_all_of_the_time_and_small_ones_are_their_callers(monkeypatch):
    found = cause()
    for side in ("candidate_ms", "reference_ms"):
        total = sum(getattr(stack, side) for stack in found.stacks)
        assert total == pytest.approx(getattr(found.own_total, side))
    monkeypatch.setattr(record, "STACK_LEAST_MS", 0.5)
    pruned = cause()
    assert "sglang.s:gone" not in pruned.names
    assert sum(s.reference_ms for s in pruned.stacks) == pytest.approx(5.0)
    monkeypatch.setattr(record, "STACK_LEAST_MS", 100.0)
    assert {tuple(cause().names[i] for i in s.frames) for s in cause().stacks} == {
        ("<string>:main",),
        ("uvicorn:run",),
    }


def test_of_many_functions_both_ends_are_kept(monkeypatch):
    monkeypatch.setattr(record, "FUNCTIONS_KEPT", 1)
    found = cause()
    own = [one.name for one in found.functions if one.own]
    assert own == ["sglang.cache:match", "sglang.s:gone"]
    assert found.functions_seen > 2


def test_kernels_are_ranked_where_every_launch_has_them():
    found = cause(kernels=True)
    assert [(one.name, round(one.own.delta_ms, 3)) for one in found.kernels] == [
        ("gemm", 0.1),
        ("copy", 0.1),
    ]
    assert found.kernels[1].own.reference_ms is None
    assert cause().kernels is None


def test_kernels_of_one_name_are_summed_and_all_of_them_too():
    """As where another tile of a product is taken: -0.3 and +0.5, together +0.2."""
    made = []
    for pair in range(3):
        old = {"nvjet_128x8_A": 0.3, "norm": 0.2}
        new = {"nvjet_256x8_A": 0.5, "norm": 0.2}
        made.append((launch("candidate", pair, {LOOP: 1.0}, new),
                     launch("reference", pair, {LOOP: 1.0}, old)))  # fmt: skip
    found = cause(made=made)
    assert [(one.name, round(one.own.delta_ms, 3)) for one in found.kernel_families] == [
        ("nvjet", 0.2),
        ("norm", 0.0),
    ]
    assert [one.name for one in found.kernels] == ["nvjet_256x8_A", "norm", "nvjet_128x8_A"]
    total = found.kernels_total
    assert (total.reference_ms, total.candidate_ms) == pytest.approx((0.5, 0.7))
    assert total.delta_ms == pytest.approx(0.2)
    assert total.low_ms == pytest.approx(0.2)
    faster = cause(made=made, ratio=0.8)
    assert [one.name for one in faster.kernel_families] == ["norm", "nvjet"]
    without = cause()
    assert without.kernels_total is without.kernel_families is without.kernels is None


def test_one_launch_without_kernels_leaves_none():
    made = pairs(kernels=True)
    new, old = made[1]
    for one in (replace(new, kernels_ms=None), old), (new, replace(old, kernels_ms=None)):
        found = cause(made=[made[0], one, made[2]])
        assert found.kernels is found.kernels_total is found.kernel_families is None


def test_waiting_for_the_gpu_is_no_function_and_in_no_total():
    """A candidate whose scheduler is done sooner and waits the longer."""
    wait = (*LOOP, "torch.cuda.streams:Event.synchronize")
    made = [
        (launch("candidate", pair, {LOOP: 2.0, wait: 9.0}), launch("reference", pair, {LOOP: 6.0}))
        for pair in range(3)
    ]
    found = cause(made=made)
    assert found.own_total.delta_ms == pytest.approx(-4.0)
    assert (found.device_wait.reference_ms, found.device_wait.candidate_ms) == (None, 9.0)
    assert found.device_wait.delta_ms == pytest.approx(9.0)
    # Three pairs of 90 samples of 0.1 ms a request: it is counted, as functions are.
    assert found.device_wait.low_ms == pytest.approx(9.0 - 1.96 * (0.1 * 27 / 9) ** 0.5)
    assert not [one for one in found.functions if "synchronize" in one.name]
    assert not [name for name in found.names if "synchronize" in name]
    assert cause().device_wait is None


def test_it_is_read_as_it_was_written(tmp_path):
    found = cause(kernels=True)
    write_cause(found, tmp_path)
    assert read_cause(tmp_path) == found
    assert '"schema": "append-prefill/cause/1"' in (tmp_path / FILE).read_text()


def test_none_and_a_damaged_one_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        read_cause(tmp_path)
    (tmp_path / FILE).write_text('{"schema": "append-prefill/cause/2"}')
    with pytest.raises(UsageError, match="does not validate"):
        read_cause(tmp_path)


def test_what_moved_is_one_function_and_says_what_it_was():
    """A class that got another name takes its function along: 0.5 ms there, 0.5 here."""
    made = pairs()
    for new, old in made:
        new.stacks.busy_ms[(*LOOP, "sglang.u:UnifiedRadix.insert")] = 50.0
        old.stacks.busy_ms[(*LOOP, "sglang.r:Radix.insert")] = 50.0
    found = cause(made=made)
    names = {one.name: one for one in found.functions}
    assert "sglang.r:Radix.insert" not in names
    moved = names["sglang.u:UnifiedRadix.insert"]
    assert moved.was == "sglang.r:Radix.insert"
    assert (moved.own.reference_ms, moved.own.candidate_ms) == (0.5, 0.5)
    assert moved.own.delta_ms == moved.whole.delta_ms == 0.0
    assert {one.was for one in found.functions if one is not moved} == {None}


def test_what_moved_keeps_the_mark_that_an_idle_server_shows_it():
    made = pairs()
    old_name, new_name = (*LOOP, "sglang.r:Radix.spin"), (*LOOP, "sglang.u:UnifiedRadix.spin")
    for new, old in made:
        new.stacks.busy_ms[new_name] = 50.0
        old.stacks.busy_ms[old_name] = 50.0
        old.stacks.idle_ms[old_name] = 1000.0
    names = {one.name: one for one in cause(made=made).functions}
    assert names["sglang.u:UnifiedRadix.spin"].idle


def test_modules_have_the_time_of_all_their_functions():
    found = cause()
    sums = {(one.process, one.name): one.own.delta_ms for one in found.modules}
    assert sums == {
        ("scheduler", "sglang.cache"): pytest.approx(2.0),
        ("scheduler", "new"): pytest.approx(1.0),
        # 3.0 of 3.2 ms in one function, and 0.3 in one that is gone.
        ("scheduler", "sglang.s"): pytest.approx(-0.5),
        ("http", "sglang.t"): pytest.approx(0.0),
    }
    assert found.modules[0].name == "sglang.cache"
    assert sum(sums.values()) == pytest.approx(found.own_total.delta_ms)
    assert found.functions[0].module == "sglang.cache"
