"""The guard itself: gauges begin and end around a block, whatever happens inside."""

from types import SimpleNamespace
from typing import Any

import pytest

from append_prefill.probe.guard.watch import Guard, Reading, guard_for


class FakeGauge:
    def __init__(self, name: str, log: list[str], void: str | None = None, fails: str = "") -> None:
        self.name, self._log, self._void, self._fails = name, log, void, fails

    def identity(self) -> dict[str, Any]:
        return {f"{self.name}_key": 1}

    def begin(self, own_pids) -> None:
        self._log.append(f"begin {self.name}")
        if self._fails == "begin":
            raise RuntimeError(self.name)

    def end(self, own_pids) -> Reading:
        self._log.append(f"end {self.name}")
        if self._fails == "end":
            raise RuntimeError(self.name)
        return Reading({"own": sorted(own_pids())}, self._void)


def test_readings_and_voids_are_joined():
    guard = Guard([FakeGauge("a", [], void="too hot"), FakeGauge("b", [], void="too busy")])
    watch = guard.watch(3, "reference", lambda: {7})
    with watch, pytest.raises(RuntimeError, match="once the block has been left"):
        _ = watch.state
    state = watch.state
    assert (state.block, state.side) == (3, "reference")
    assert state.void == "too busy; too hot"
    assert state.readings == {"a": {"own": [7]}, "b": {"own": [7]}}
    assert guard.identity() == {"a_key": 1, "b_key": 1}


def test_a_clean_block_has_no_void():
    with Guard([FakeGauge("a", [])]).watch(0, "candidate", set) as watch:
        pass
    assert watch.state.void is None


def test_the_block_failing_ends_every_gauge_and_leaves_a_state():
    log: list[str] = []
    guard = Guard([FakeGauge("a", log), FakeGauge("b", log)])
    watch = guard.watch(0, "candidate", set)
    with pytest.raises(ZeroDivisionError), watch:
        _ = 1 / 0
    assert log == ["begin a", "begin b", "end b", "end a"]
    assert watch.state.void is None


def test_a_gauge_that_cannot_begin_ends_those_before_it():
    log: list[str] = []
    guard = Guard([FakeGauge("a", log), FakeGauge("b", log, fails="begin")])
    with pytest.raises(RuntimeError, match="b"), guard.watch(0, "candidate", set):
        pass
    assert log == ["begin a", "begin b", "end a"]


def test_a_gauge_that_cannot_end_keeps_no_other_from_ending():
    log: list[str] = []
    guard = Guard([FakeGauge("a", log), FakeGauge("b", log, fails="end")])
    with pytest.raises(RuntimeError, match="b"), guard.watch(0, "candidate", set):
        pass
    assert log[-2:] == ["end b", "end a"]


def test_the_cpu_guard_reads_this_machine():
    guard = guard_for(SimpleNamespace(kind="cpu", id="cpu", name="cpu", memory_bytes=1))
    identity = guard.identity()
    assert identity["device_kind"] == "cpu"
    assert identity["logical_cores"] >= 1
    with guard.watch(0, "candidate", set) as watch:
        pass
    assert set(watch.state.readings) == {"host"}
    # Far below a second: there is nothing to judge, and the record says so.
    assert watch.state.void is None
    assert "shorter than" in watch.state.readings["host"]["not_judged"]
