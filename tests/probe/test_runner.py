"""Pairs on planted servers: what is measured, what is only rehearsed, what a failure leaves."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from append_prefill.engines.base import Device
from append_prefill.engines.local import PlantedEngine
from append_prefill.errors import ServerDiedError
from append_prefill.probe.guard.watch import Guard
from append_prefill.probe.launch import Bench
from append_prefill.probe.plan import make_plan
from append_prefill.probe.runner import PairRunner
from append_prefill.records.store import read_starts
from append_prefill.workload.profile import load_profile

PROFILE = load_profile(str(Path(__file__).parents[1] / "tiny.toml"))
DEVICE = Device("cpu", "cpu", "test", 2**30)


@dataclass(frozen=True)
class Compiling(PlantedEngine):
    """A planted server whose first start on a host is said to compile."""

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

    def make(*, interleave=False):
        changed = PROFILE.plan.model_copy(update={"interleave": interleave})
        profile = PROFILE.model_copy(update={"plan": changed})
        plan = make_plan(profile, seed=1, sides=("candidate", "reference"))
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        told = []
        bench = Bench(profile, plan, DEVICE, Guard([]), folder, 32000, told.append)
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
    # Another runner, as of the next night, knows of it.
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
