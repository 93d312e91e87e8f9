"""Launching ahead on simulated servers: who is held, what it leaves alone, and when it gives up."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import pytest

from append_prefill.engines.base import Device
from append_prefill.engines.local import PlantedEngine
from append_prefill.errors import ServerDiedError
from append_prefill.probe import ahead as module
from append_prefill.probe.bench import Bench
from append_prefill.probe.guard.watch import Guard
from append_prefill.probe.launch import Launch
from append_prefill.probe.placement.topology import Topology
from append_prefill.probe.planning import make_plan
from append_prefill.probe.runner import PairRunner
from append_prefill.records.store import read_starts
from append_prefill.workload.loading import load_profile
from append_prefill.workload.profile import Launching

# Three points are enough for what launches have to do with one another, and no conversation.
PROFILE = load_profile(str(Path(__file__).parents[1] / "tiny.toml"))
PROFILE = PROFILE.model_copy(update={"experiments": (PROFILE.experiment("append"),), "traffic": ()})
DEVICE = Device("cpu", "cpu", "test", 2**30)
ENOUGH = Topology(tuple((core,) for core in range(6)))


@dataclass(frozen=True)
class Noted(PlantedEngine):
    """A simulated server that tells how it is launched."""

    launched: list[str] = field(default_factory=list, compare=False)
    held: list[object] = field(default_factory=list, compare=False)

    def start(self, device, log_path):
        self.launched.append(f"start {log_path.name}")
        return super().start(device, log_path)

    def hold(self, device, log_path):
        ahead = log_path.name.startswith("held-")
        self.launched.append("ahead" if ahead else f"hold {log_path.name}")
        server = super().hold(device, log_path)
        if ahead:
            self.held.append(server)
        return server


def engine(**options):
    return Noted({"floor-ms": "2", **options}, PROFILE)


def bench_of(folder, told, *, ahead=True, interleave=True, topology=ENOUGH):
    plan = PROFILE.plan.model_copy(update={"interleave": interleave})
    changes = {"plan": plan, "launch": Launching(ahead=ahead)}
    profile = PROFILE.model_copy(update=changes)
    plan = make_plan(profile, seed=1, sides=("candidate", "reference"))
    return Bench(profile, plan, DEVICE, Guard([]), folder, 32000, told.append, topology)


def servers_here():
    """Server processes that this one has started, gone ones left out."""
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE
        # The tests' own forkserver (see `forked`) stays for the tests to come.
        and "multiprocessing" not in " ".join(child.cmdline())
    ]


@pytest.fixture
def told():
    return []


def measure(folder, told, engines, pairs=2, **changes):
    """`pairs` pairs of the same engines, one after the other."""
    with PairRunner(bench_of(folder, told, **changes)) as runner:
        for pair in range(pairs):
            runner.measure(pair, engines, lambda last=pair + 1 == pairs: [] if last else engines)
    return read_starts(folder)


def test_the_second_pair_is_launched_while_the_first_comes_up(tmp_path, told):
    candidate, reference = engine(), engine()
    engines = [("candidate", candidate), ("reference", reference)]
    starts = measure(tmp_path, told, engines)
    assert candidate.launched == ["hold candidate-0.log", "ahead"]
    assert reference.launched == ["hold reference-0.log", "ahead"]
    for start in starts:
        assert (start.held_s is not None) is (start.pair == 1)
        assert (start.settle_s is not None) is (start.pair == 0)
        assert start.ready_s > 0
        assert start.usable
        assert all(block.void is None for block in start.state)
    logs = sorted(path.name for path in tmp_path.glob("*.log"))
    assert logs == ["candidate-0.log", "candidate-1.log", "reference-0.log", "reference-1.log"]
    assert "simulated" in (tmp_path / "candidate-1.log").read_text()
    assert servers_here() == []


def test_nothing_is_measured_before_what_is_held_has_settled(tmp_path, told, monkeypatch):
    candidate = engine()
    seen = []

    def noted(self):
        seen.append([server.poll_held() or server.reached for server in candidate.held])
        opened(self)

    opened = Launch.open_block
    monkeypatch.setattr(Launch, "open_block", noted)
    measure(tmp_path, told, [("candidate", candidate)], pairs=1 + 1)
    first = seen[: PROFILE.plan.samples]
    assert first == [[True]] * PROFILE.plan.samples


def test_where_launches_follow_one_another_the_next_one_is_held(tmp_path, told):
    candidate, reference = engine(), engine()
    engines = [("candidate", candidate), ("reference", reference)]
    starts = measure(tmp_path, told, engines, pairs=1, interleave=False)
    assert candidate.launched == ["hold candidate-0.log"]
    # One of another side has not been seen to stop at the gate yet, though it is alike here.
    assert candidate == reference
    assert reference.launched == ["ahead"]
    assert [start.held_s is None for start in starts] == [True, False]


def test_a_side_that_was_not_seen_at_its_gate_is_launched_at_its_turn(tmp_path, told):
    """As where a suspicion is confirmed: the reference comes in late."""
    candidate, reference = engine(), engine(**{"new-token-us": "2"})
    both = [("candidate", candidate), ("reference", reference)]
    with PairRunner(bench_of(tmp_path, told)) as runner:
        runner.measure(0, both[:1], lambda: both)
        runner.measure(1, both, lambda: both)
        runner.measure(2, both, tuple)
    assert candidate.launched == ["hold candidate-0.log", "hold candidate-1.log", "ahead"]
    assert reference.launched == ["hold reference-1.log", "ahead"]


def test_what_is_held_for_other_launches_is_ended(tmp_path, told):
    old, new = engine(), engine(**{"new-token-us": "2"})
    with PairRunner(bench_of(tmp_path, told)) as runner:
        runner.measure(0, [("candidate", old)], lambda: [("candidate", old)])
        (held,) = old.held
        assert held.pids()
        runner.measure(1, [("candidate", new)])
        assert not held.pids()
    assert new.launched == ["hold candidate-1.log"]
    assert [start.held_s for start in read_starts(tmp_path)] == [None, None]
    assert sorted(path.name for path in tmp_path.glob("held*")) == []


def test_what_is_not_needed_is_ended_with_the_run(tmp_path, told):
    candidate = engine()
    with PairRunner(bench_of(tmp_path, told)) as runner:
        runner.measure(0, [("candidate", candidate)], lambda: [("candidate", candidate)])
        assert len(candidate.held) == 1
        assert servers_here()
    assert servers_here() == []
    assert list(tmp_path.glob("held*")) == []


def test_a_failure_ends_what_is_held(tmp_path, told, monkeypatch):
    candidate = engine()

    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Launch, "take", lambda self, point: interrupted(self))
    with pytest.raises(KeyboardInterrupt), PairRunner(bench_of(tmp_path, told)) as runner:
        runner.measure(0, [("candidate", candidate)], lambda: [("candidate", candidate)])
    assert len(candidate.held) == 1
    assert servers_here() == []


def kill(server):
    for pid in server.pids() - {server._supervisor.pid}:
        psutil.Process(pid).kill()
    server._supervisor.wait(10)


def test_one_that_dies_while_it_is_held_costs_no_pair(tmp_path, told):
    candidate = engine()
    engines = [("candidate", candidate)]
    with PairRunner(bench_of(tmp_path, told)) as runner:
        runner.measure(0, engines, lambda: engines)
        kill(candidate.held[0])
        runner.measure(1, engines, lambda: engines)
        runner.measure(2, engines, lambda: engines)
    starts = read_starts(tmp_path)
    assert all(start.usable and start.held_s is None for start in starts)
    assert candidate.launched[2:] == ["hold candidate-1.log", "start candidate-2.log"]
    (line,) = [line for line in told if "ahead" in line]
    assert "no servers are launched ahead any more: the server ended with status 137" in line


def test_one_that_does_not_come_to_its_gate_in_time_costs_no_pair(tmp_path, told, monkeypatch):
    candidate = engine()

    def late(servers):
        if servers:
            raise ServerDiedError("the server was not held within 20 s", "", "log")

    monkeypatch.setattr(module, "await_held", late)
    starts = measure(tmp_path, told, [("candidate", candidate)])
    assert [start.held_s for start in starts] == [None, None]
    assert candidate.launched == ["hold candidate-0.log", "ahead", "start candidate-1.log"]
    assert not candidate.held[0].pids()


def test_servers_that_do_not_come_by_the_gate_are_never_held(tmp_path, told, monkeypatch):
    """Such a server would come up on the device, beside those that are measured."""
    monkeypatch.setattr("append_prefill.engines.local._GATE_AT", "append_prefill.planted.no:such")
    candidate = engine()
    starts = measure(tmp_path, told, [("candidate", candidate)])
    assert candidate.launched == ["hold candidate-0.log", "start candidate-1.log"]
    assert all(start.usable and start.held_s is None for start in starts)
    assert sum("do not come by the gate" in line for line in told) == 1


def test_a_launch_that_fails_fails_as_without(tmp_path, told):
    broken = engine(fault="refuse_start")
    with pytest.raises(ServerDiedError, match="ended with status"):
        measure(tmp_path, told, [("candidate", broken)])
    (start,) = read_starts(tmp_path)
    assert "ended with status" in start.failure
    assert servers_here() == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"topology": replace(ENOUGH, quota_cores=5.9)}, ["too few cores: 5 for this device, 6"]),
        ({"topology": Topology(ENOUGH.cores[:5])}, ["too few cores: 5 for this device, 6"]),
        ({"ahead": False}, []),
    ],
    ids=["quota", "cores", "profile"],
)
def test_where_it_does_not_pay_every_launch_is_as_before(tmp_path, told, changes, said):
    candidate = engine()
    starts = measure(tmp_path, told, [("candidate", candidate)], **changes)
    assert candidate.launched == ["start candidate-0.log", "start candidate-1.log"]
    assert [start.held_s for start in starts] == [None, None]
    lines = [line for line in told if "ahead" in line]
    assert len(lines) == len(said)
    assert all(part in line for part, line in zip(said, lines, strict=True))


def test_the_guard_is_told_of_what_is_held(tmp_path, told):
    candidate, own = engine(), []

    class Gauge:
        name = "fake"

        def identity(self):
            return {}

        def begin(self, own_pids):
            own.append(own_pids())

        def end(self, own_pids):
            return module_reading()

    def module_reading():
        from append_prefill.probe.guard.gauge import Reading

        return Reading({})

    bench = replace(bench_of(tmp_path, told), guard=Guard([Gauge()]))
    with PairRunner(bench) as runner:
        runner.measure(0, [("candidate", candidate)], lambda: [("candidate", candidate)])
        assert candidate.held[0].pids() <= own[0]
        assert len(own[0]) > len(candidate.held[0].pids())
