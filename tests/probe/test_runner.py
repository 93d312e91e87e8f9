"""Pairs on simulated servers: what is measured, what a compile run does, what a failure leaves."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from append_prefill.engines.base import Device
from append_prefill.engines.local import PlantedEngine
from append_prefill.errors import InfrastructureError, ServerDiedError
from append_prefill.probe.bench import Bench
from append_prefill.probe.guard.watch import Guard
from append_prefill.probe.launch import Launch
from append_prefill.probe.placement.topology import Topology
from append_prefill.probe.planning import make_plan
from append_prefill.probe.runner import PairRunner, in_turns
from append_prefill.probe.speech import _Whole
from append_prefill.records.store import read_starts
from append_prefill.workload.loading import load_profile
from append_prefill.workload.profile import Placement

# Three points are enough for what launches have to do with one another, and no conversation.
WHOLE = load_profile(str(Path(__file__).parents[1] / "tiny.toml"))
PROFILE = WHOLE.model_copy(update={"experiments": (WHOLE.experiment("append"),), "traffic": ()})
DEVICE = Device("cpu", "cpu", "test", 2**30)


@dataclass(frozen=True)
class Compiling(PlantedEngine):
    """A simulated server whose first launch on a host is said to compile."""

    key: str = "kernels"
    launches: list[Path] = field(default_factory=list)

    def compile_key(self, device):
        return self.key

    def start(self, device, log_path):
        self.launches.append(log_path)
        return super().start(device, log_path)


def engine(key="kernels", **options):
    return Compiling({"floor-ms": "2", **options}, PROFILE, key=key)


@pytest.fixture
def runner(tmp_path, monkeypatch):
    monkeypatch.setattr("append_prefill.engines.compiled.tempfile.gettempdir", lambda: tmp_path)

    def make(*, interleave=False, traffic=()):
        changed = PROFILE.plan.model_copy(update={"interleave": interleave})
        profile = PROFILE.model_copy(update={"plan": changed, "traffic": traffic})
        plan = make_plan(profile, seed=1, sides=("candidate", "reference"))
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        told = []
        bench = Bench(profile, plan, DEVICE, Guard([]), folder, 32000, told.append, Topology(()))
        return PairRunner(bench), folder, told

    return make


def test_what_compiles_is_started_once_without_being_counted(runner):
    pair_runner, folder, told = runner()
    candidate = engine()
    pair_runner.measure(0, [("candidate", candidate)])
    pair_runner.measure(1, [("candidate", candidate)])
    assert len(candidate.launches) == 3
    first, second = read_starts(folder)
    assert first.rehearsal_s > 0
    assert second.rehearsal_s is None
    assert [len(start.series) for start in (first, second)] == [len(PROFILE.points) + 1] * 2
    assert all(len(s.ttft_ms) == PROFILE.plan.samples for s in first.series)
    assert sum("not counted" in line for line in told) == 1
    # Another runner, as of the next run, knows of it.
    later, _, _ = runner()
    later.measure(2, [("candidate", candidate)])
    assert len(candidate.launches) == 4


def test_only_the_side_that_is_new_is_rehearsed(runner):
    pair_runner, folder, _ = runner(interleave=True)
    old, new = engine("old"), engine("new")
    pair_runner.measure(0, [("candidate", old)])
    pair_runner.measure(1, [("candidate", new), ("reference", old)])
    assert (len(old.launches), len(new.launches)) == (3, 2)
    starts = read_starts(folder)
    assert [s.interleaved for s in starts] == [False, True, True]


def test_a_rehearsal_that_fails_is_kept_as_a_failed_start_and_not_noted(runner):
    pair_runner, folder, _ = runner()
    broken = engine(fault="refuse_start")
    for _ in range(2):
        with pytest.raises(ServerDiedError):
            pair_runner.measure(0, [("candidate", broken)])
    assert len(broken.launches) == 2
    (start,) = read_starts(folder)
    assert "ended with status" in start.failure
    assert start.series == []


def placed(runner_of, policy, topology):
    pair_runner, folder, _ = runner_of(interleave=True)
    bench = pair_runner._bench
    profile = bench.profile.model_copy(update={"placement": Placement(policy=policy)})
    bench = replace(bench, profile=profile, topology=topology)
    PairRunner(bench).measure(0, [("candidate", engine()), ("reference", engine())])
    return read_starts(folder)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core: nothing can be moved")
def test_every_block_records_its_placement_and_the_masks_come_back(runner):
    before = os.sched_getaffinity(0)
    two = sorted(before)[:2]
    starts = placed(runner, "turns", Topology(tuple((two[i % 2],) for i in range(5))))
    assert os.sched_getaffinity(0) == before
    by_side = {s.side: [b.readings["placement"] for b in s.state] for s in starts}
    assert [len(placements) for placements in by_side.values()] == [PROFILE.plan.samples] * 2
    # One round has one placement for both sides: they take turns on the same cores.
    assert by_side["candidate"] == by_side["reference"]
    first = by_side["candidate"][0]
    assert first["policy"] == "turns"
    assert first["candidate"] == first["reference"]
    assert all(b.void is None for s in starts for b in s.state)


def test_a_core_taken_away_voids_the_blocks_measured_without_it(runner):
    starts = placed(runner, "turns", Topology(tuple((4000 + i,) for i in range(6))))
    voids = [b.void for s in starts for b in s.state]
    assert all("cannot be put on core" in void for void in voids)
    assert sum(len(series.ttft_ms) for s in starts for series in s.series) == 0


def test_too_few_cores_are_said_in_the_record_and_void_nothing(runner):
    starts = placed(runner, "turns", Topology(((0,), (1,))))
    for block in (b for s in starts for b in s.state):
        assert "too few cores: 2" in block.readings["placement"]
        assert block.void is None


@pytest.mark.parametrize("alternate", ["block", "sample"])
def test_the_sides_alternate_by_block_or_by_sample(runner, monkeypatch, alternate):
    taken = []
    take = Launch.take

    def noted(self, point):
        taken.append((self.start.side, point))
        yield from take(self, point)

    monkeypatch.setattr(Launch, "take", noted)
    pair_runner, folder, _ = runner(interleave=True, traffic=WHOLE.traffic)
    bench = pair_runner._bench
    plan = bench.profile.plan.model_copy(update={"alternate": alternate})
    bench = replace(bench, profile=bench.profile.model_copy(update={"plan": plan}))
    PairRunner(bench).measure(0, [("candidate", engine()), ("reference", engine())])
    tasks = bench.plan.order(0, 0)
    assert set(tasks) > set(bench.plan.all_points)  # a conversation among them
    count, later = len(tasks), len(bench.plan.order(0, 1))
    first, second = taken[: 2 * count], taken[2 * count : 2 * (count + later)]
    for block, size in ((first, count), (second, later)):
        # Both sides are sent the same tasks in the same order, each once.
        by_side = [[p for s, p in block if s == side] for side in ("candidate", "reference")]
        assert by_side[0] == by_side[1]
        assert len(set(by_side[0])) == size
    sides = [side for side, _ in first]
    if alternate == "block":
        assert sides == ["candidate"] * count + ["reference"] * count
    else:
        assert sides[:4] == ["candidate", "reference", "reference", "candidate"]
        assert {(a[1], b[1]) for a, b in zip(first[::2], first[1::2], strict=True)} == {
            (task, task) for task in tasks
        }
    assert second[0][0] == "reference"
    starts = read_starts(folder)
    for start in starts:
        assert [b.side for b in start.state] == [start.side] * PROFILE.plan.samples
        assert [b.block for b in start.state] == list(range(PROFILE.plan.samples))
        assert all(len(s.ttft_ms) == PROFILE.plan.samples for s in start.series)


@pytest.mark.parametrize("alternate", ["block", "sample"])
def test_the_turns_of_two_conversations_alternate_with_the_samples(runner, monkeypatch, alternate):
    spoke = []
    say = _Whole.say

    def noted(self, append_tokens, reply_tokens):
        spoke.append(id(self._client))
        return say(self, append_tokens, reply_tokens)

    monkeypatch.setattr(_Whole, "say", noted)
    pair_runner, folder, _ = runner(interleave=True, traffic=WHOLE.traffic)
    bench = pair_runner._bench
    plan = bench.profile.plan.model_copy(update={"alternate": alternate})
    bench = replace(bench, profile=bench.profile.model_copy(update={"plan": plan}))
    PairRunner(bench).measure(0, [("candidate", engine()), ("reference", engine())])
    (unit,) = {unit for unit in bench.plan.units if unit.conversation}
    turns = len(unit.conversation.turns)
    one, other = spoke[-2 * turns], spoke[-1]
    assert one != other
    both = [one, other] * turns if alternate == "sample" else [one] * turns + [other] * turns
    assert spoke[-2 * turns :] == both
    for start in read_starts(folder):
        assert all(series.ttft_ms for series in start.traffic if series.context == "replied")


def test_steps_go_in_turns_until_all_are_at_their_end():
    went = []

    def taking(name, steps):
        for step in range(steps):
            went.append((name, step))
            yield

    in_turns([taking("a", 3), taking("b", 1)])
    assert went == [("a", 0), ("b", 0), ("a", 1), ("a", 2)]


def test_a_step_that_fails_ends_the_others_at_once():
    ended = []

    def patient():
        try:
            yield
            yield
        finally:
            ended.append("patient")

    def failing():
        yield
        raise InfrastructureError("died")

    with pytest.raises(InfrastructureError):
        in_turns([patient(), failing()])
    assert ended == ["patient"]
