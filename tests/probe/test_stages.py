"""A server's way into a state: what is planted there is measured at its stages, and recovered."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from append_prefill.analysis.states import growth
from append_prefill.engines.base import Device, ServerDescription
from append_prefill.errors import InfrastructureError
from append_prefill.planted.cost import Cost
from append_prefill.planted.faults import Faults
from append_prefill.planted.protocol import Settings
from append_prefill.planted.server import PlantedServer
from append_prefill.probe.bench import Bench
from append_prefill.probe.guard.watch import Guard
from append_prefill.probe.launch import Launch
from append_prefill.probe.placement.topology import Topology
from append_prefill.probe.planning import make_plan
from append_prefill.probe.stages import PROBES, come_into
from append_prefill.workload.loading import load_profile
from append_prefill.workload.states import Aging, Overload, Soak
from append_prefill.workload.traffic_experiment import TrafficExperiment

WHY = "An argument of at least twenty letters."
SLOW = Cost(floor_ms=10, new_token_us=0, cached_token_us=0, decode_ms=0.1)
CAPACITY = 3_000


class Served:
    """A simulated server of this process, as a launch sees one."""

    api_key, ready_s, held_s, server_args = None, 1.0, None, ()

    def __init__(self, planted, told_tokens=CAPACITY):
        self.base_url, self._told_tokens = planted.base_url, told_tokens

    def describe(self):
        return ServerDescription(
            versions={"sglang": "0.5.23"},
            page_size_tokens=1,
            chunked_prefill_tokens=None,
            kv_capacity_tokens=self._told_tokens,
            context_length_tokens=None,
            attention_backend=None,
            prefill_graph=None,
            radix_cache=True,
            raw={},
        )

    def check_alive(self):
        pass

    def pids(self):
        return set()

    def begin_stop(self):
        pass

    def stop(self):
        pass


def experiment(state):
    return TrafficExperiment(
        id=state, title="t", state=state, points=((32, 64), (128, 64)), argument=WHY
    )


def bench_of(folder, state):
    profile = load_profile(str(Path(__file__).parents[1] / "tiny.toml"))
    profile = profile.model_copy(
        update={
            "traffic": (experiment(state),),
            "aging": Aging(leaves=200, argument=WHY),
            "overload": Overload(requests=12, prompt_tokens=32, output_tokens=2, argument=WHY),
            "soak": Soak(minutes=0.02, per_s=60, argument=WHY),
        }
    )
    plan = make_plan(profile, seed=1, sides=("candidate", "reference"), experiments=[state])
    device, nowhere = Device("cpu", "cpu", "x", 1), Topology(())
    return Bench(profile, plan, device, Guard([]), folder, 32000, lambda _: None, nowhere)


def come(tmp_path, state, costs=(SLOW,), faults=None, told_tokens=CAPACITY):
    """The records of launches, one a cost, that came into the state together."""
    bench = bench_of(tmp_path, state)
    with ExitStack() as stack:
        group = []
        for side, cost in zip(("candidate", "reference"), costs, strict=False):
            settings = Settings(kv_capacity_tokens=CAPACITY)
            planted = PlantedServer(cost, faults or Faults(), settings, start_seed=1)
            server = Served(stack.enter_context(planted), told_tokens)
            engine = SimpleNamespace(label="x", build=dict, start=lambda *_, up=server: up)
            launch = Launch(bench, side, engine, 0)
            launch.bring_up()
            launch.connect()
            stack.callback(launch.begin_close)
            group.append(launch)
        come_into(state, bench, group, set)
        return [launch.start for launch in group]


def recovered(measure, holds):
    """Measured again, at most four times, where a machine that is busy with other tests moved it:
    what is planted is fixed, so a probe that recovers something else does so every time."""
    for _ in range(5):
        told = measure()
        if holds(told):
            return told
    return told


def test_a_slope_over_leaves_is_recovered(tmp_path):
    """0.1 ms a leaf, from when the pool is full of some fifty fillers of 64 tokens."""
    cost = replace(SLOW, floor_ms=2, evict_us_per_leaf=100)
    slope, full = pytest.approx(100, rel=0.15), pytest.approx(0.1 * 45, rel=0.5)
    starts = []

    def measure():
        starts[:] = come(tmp_path, "aged", (cost,))
        return growth(starts, "aged")

    told = recovered(
        measure, lambda told: (told.ttft_ms.value, told.full_ms.value) == (slope, full)
    )
    assert told.ttft_ms.value == slope
    assert told.full_ms.value == full
    (start,) = starts
    leaves = [stage.leaves for stage in start.stages]
    assert leaves[0] is None
    assert sorted(leaves[1:]) == leaves[1:]
    assert leaves[1] < 50
    assert leaves[-1] > 150
    assert {(s.context_tokens, s.append_tokens) for s in start.stages} == {(32, 64)}
    assert {len(stage.ttft_ms) for stage in start.stages} == {PROBES}
    assert (start.aged.leaves, start.aged.leaf_tokens) == (200, 13)


def test_a_server_that_stays_slow_after_a_burst_is_told_from_one_that_recovers(tmp_path):
    slow = Faults(slow_after_running=((4, 3.0),))
    near = pytest.approx(20, rel=0.2)
    told = recovered(
        lambda: growth(come(tmp_path, "overloaded", faults=slow), "overloaded"),
        lambda told: told.ttft_ms.value == near,
    )
    assert told.ttft_ms.value == near
    well = recovered(
        lambda: growth(come(tmp_path, "overloaded"), "overloaded"),
        lambda told: abs(told.ttft_ms.value) < 3,
    )
    assert abs(well.ttft_ms.value) < 3


def test_a_growth_with_the_requests_is_recovered_on_both_sides_alike(tmp_path):
    """0.3 ms more with each request on one side, nothing on the other."""
    piles_up = replace(SLOW, served_us=300)

    def planted(start):
        """The line through what the requests that there were make of each stage, ms a minute."""
        minutes = [stage.after_s / 60 for stage in start.stages]
        return np.polyfit(minutes, [0.3 * stage.requests for stage in start.stages], 1)[0]

    def measure():
        return come(tmp_path, "soaked", (piles_up, SLOW))

    def holds(starts):
        growing, steady = (growth([start], "soaked").ttft_ms.value for start in starts)
        truth = planted(starts[0])
        return growing == pytest.approx(truth, rel=0.15) and abs(steady) < 0.1 * truth

    starts = recovered(measure, holds)
    assert holds(starts)
    assert [len(start.stages) for start in starts] == [4, 4]
    # Both were soaked at the same time.
    assert starts[0].stages[-1].after_s == pytest.approx(starts[1].stages[-1].after_s, abs=0.5)
    assert starts[0].stages[-1].requests >= 72


def test_the_burst_is_kept(tmp_path):
    (start,) = come(tmp_path, "overloaded")
    assert (start.burst.requests, start.burst.failed) == (12, 0)
    assert [stage.leaves for stage in start.stages] == [None, None]


def test_a_server_that_hides_its_pool_is_not_aged(tmp_path):
    with pytest.raises(InfrastructureError, match="cannot be aged"):
        come(tmp_path, "aged", told_tokens=None)
