"""How one launch takes its blocks: what goes before a sample, what is kept, when it ends."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from append_prefill.engines.base import Device, ServerDescription
from append_prefill.errors import ConnectionLostError, InfrastructureError, ServerDiedError
from append_prefill.probe import launch, runner, shooter
from append_prefill.probe.guard.watch import Guard
from append_prefill.probe.placement.topology import Topology
from append_prefill.probe.planning import make_plan
from append_prefill.probe.runner import measure_round
from append_prefill.probe.sample import Sample, Times
from append_prefill.records.launch import Warmup
from append_prefill.records.states import Aged
from append_prefill.records.store import read_starts
from append_prefill.workload.loading import load_profile
from append_prefill.workload.points import Point
from append_prefill.workload.traffic_experiment import TrafficExperiment

PROFILE = load_profile(str(Path(__file__).parents[1] / "tiny.toml"))
BUILD = {"commit": "a" * 40, "environment": {"SGLANG_X": "1"}}
NOWHERE = Topology(())
TIMES = {"idle_ms": 3.0, "output_tokens": 2, "share_output_tokens": 32, "warmup_rounds_max": 1}


class FakeServer:
    base_url, api_key, ready_s, held_s = "http://127.0.0.1:1", None, 1.0, None
    server_args: tuple[str, ...] = ("--seed", "1")
    capacity_tokens: int | None = 10_000
    died = False

    def describe(self):
        return ServerDescription(
            versions={"sglang": "0.5.23"},
            page_size_tokens=16,
            chunked_prefill_tokens=None,
            kv_capacity_tokens=self.capacity_tokens,
            context_length_tokens=None,
            attention_backend=None,
            prefill_graph=None,
            radix_cache=True,
            raw={"schedule_policy": "lpm", "page_size": 16, "port": 1},
        )

    def check_alive(self, *, suspected=False):
        self.suspected = suspected
        if self.died:
            raise ServerDiedError("gone", "last words", "x.log")

    def pids(self):
        return set()

    def stop(self):
        pass


class Gauge:
    """Says of the blocks in `bad` that the device was not ours."""

    name = "fake"

    def __init__(self, told):
        self.told, self.bad, self.block = told, set(), -1

    def identity(self):
        return {}

    def begin(self, own_pids):
        self.block += 1
        self.told.append("watch")

    def end(self, own_pids):
        self.told.append("watched")
        void = "hot" if self.block in self.bad else None
        return SimpleNamespace(void=void, values={})


AGED = TrafficExperiment(
    id="aged", title="t", state="aged", points=((64, 64), (256, 64)), argument="x" * 20
)
AFTER = TrafficExperiment(
    id="after", title="t", state="overloaded", points=((64, 64),), argument="x" * 20
)
AGED_SO = Aged(
    leaves=9,
    leaf_tokens=1,
    tokens=1020,
    capacity_tokens=1000,
    seconds_s=1.0,
    resident_before_bytes=10,
    resident_full_bytes=None,
)
HEAVY = TrafficExperiment(
    id="heavy", title="t", form="text", points=((64, 64),), heavy=True, argument="x" * 20
)


def traffic_of(request):
    return getattr(request, "param", ())


@pytest.fixture
def live(request, tmp_path, monkeypatch):
    """A launch on a server that answers at once; `told` has all it did, in order."""
    told = []
    client = SimpleNamespace(flush_cache=lambda: told.append("flush"), close=lambda: None)

    def take_sample(_, prompts, point, *, page_tokens, output_tokens):
        assert page_tokens == 16
        told.append((point, output_tokens))
        return Sample(point, Times(5.0, 9.0, None, output_tokens, point.context_tokens))

    monkeypatch.setattr(launch, "TimedClient", lambda url, key: client)
    monkeypatch.setattr(shooter, "take_sample", take_sample)
    monkeypatch.setattr(launch, "measure_client_floor", lambda: [SimpleNamespace(median_ms=0.1)])
    clock = SimpleNamespace(sleep=lambda s: told.append(f"sleep {s}"), monotonic=lambda: 7.0)
    monkeypatch.setattr(launch, "time", clock)
    profile = PROFILE.model_copy(
        update={"plan": PROFILE.plan.model_copy(update=TIMES), "traffic": traffic_of(request)}
    )
    plan = make_plan(profile, seed=1, sides=("candidate",), samples=4)
    server, gauge = FakeServer(), Gauge(told)
    engine = SimpleNamespace(label="fake", build=lambda: BUILD, start=lambda device, log: server)
    device, guard = Device("cpu", "cpu", "x", 1), Guard([gauge])
    said = []
    bench = launch.Bench(profile, plan, device, guard, tmp_path, 32000, said.append, NOWHERE)
    made = launch.Launch(bench, "candidate", engine, 0)
    made.bring_up()
    return SimpleNamespace(
        bench=bench,
        launch=made,
        told=told,
        said=said,
        server=server,
        gauge=gauge,
        plan=plan,
        folder=tmp_path,
    )


def one_block(live):
    def place():
        return "nothing is placed here", None

    measure_round(live.bench, [live.launch], "block", place, set)


def blocks(live, count, bad=()):
    live.launch.connect()
    live.gauge.bad = set(bad)
    told = []
    for _ in range(count):
        live.told.clear()
        one_block(live)
        told.append(list(live.told))
    return told


def test_a_block_is_a_flush_a_discarded_request_and_each_point_after_a_pause(live):
    _, second = blocks(live, 2)
    order = live.plan.order(0, 1)
    samples = [step for point in order for step in ("sleep 0.003", (point, 2))]
    assert second == ["flush", (order[-1], 2), "watch", *samples, "watched"]


@pytest.fixture
def in_legs(live, monkeypatch):
    """Every task is a leg of its own."""
    monkeypatch.setattr(runner, "LEG_S", 0.0)
    return live


def test_a_block_that_takes_long_is_watched_in_legs(in_legs):
    (told,) = blocks(in_legs, 1)
    points = len(in_legs.plan.order(0, 0))
    assert told.count("watch") == told.count("watched") == points > 2
    state = in_legs.launch.start.state
    assert [(leg.block, leg.void) for leg in state] == [(0, None)] * points


def test_an_invalid_leg_is_taken_again_and_the_block_counts(in_legs):
    blocks(in_legs, 1, bad={1})
    order, start = in_legs.plan.order(0, 0), in_legs.launch.start
    assert read_starts(in_legs.folder) == [start]  # as whoever judges it reads it
    assert [leg.void for leg in start.state] == [None, "hot"] + [None] * (len(order) - 1)
    assert all(len(series.ttft_ms) == 1 for series in start.series)
    voids = {series.point: [(v.reason, v.count) for v in series.void] for series in start.series}
    assert [point for point in voids if voids[point]] == [order[1]]
    assert in_legs.said[-2:] == [
        "candidate fake, launch 1: a part of block 1 is taken again: hot",
        "candidate fake, launch 1: block 1 (1 of 4 valid)",
    ]


def test_a_host_that_is_never_quiet_is_not_waited_for(in_legs):
    blocks(in_legs, 1, bad=range(100))
    start = in_legs.launch.start
    assert len(start.state) == len(in_legs.plan.order(0, 0)) + 1
    assert in_legs.said[-1] == "candidate fake, launch 1: block 1 (0 of 4 valid), invalid: hot"
    assert not any(series.ttft_ms for series in start.series)


def test_what_was_valid_of_an_invalid_block_is_kept(in_legs):
    blocks(in_legs, 1, bad={0, 1})
    order, start = in_legs.plan.order(0, 0), in_legs.launch.start
    assert read_starts(in_legs.folder) == [start]
    kept = {series.point: len(series.ttft_ms) for series in start.series}
    assert kept == {point: int(point != order[0]) for point in order}


def test_a_launch_knows_what_it_is_of(live):
    """Asked when it is launched, since a checkout can move from one launch to the next."""
    blocks(live, 1)
    start = live.launch.start
    assert {key: start.subject[key] for key in BUILD} == BUILD
    assert start.subject["sglang"] == "0.5.23"
    assert start.resolved == {"schedule_policy": "lpm"}


def test_the_discarded_request_is_in_no_series(live):
    told = blocks(live, 3)
    sent = Counter(step[0] for block in told for step in block if isinstance(step, tuple))
    kept = {series.point: len(series.ttft_ms) for series in live.launch.start.series}
    assert kept == dict.fromkeys(live.plan.all_points, 3)
    assert sum(sent.values()) == sum(kept.values()) + 3


@pytest.mark.parametrize(
    ("bad", "tokens"),
    [((), [32, 2, 2]), ({0}, [32, 32, 2]), ({1}, [32, 2, 2]), ({0, 1}, [32, 32, 32])],
)
def test_one_good_block_asks_for_the_tokens_of_the_share(live, bad, tokens):
    told = blocks(live, 3, bad)
    asked = [{step[1] for step in block[2:] if isinstance(step, tuple)} for block in told]
    assert asked == [{n} for n in tokens]
    assert [block[1][1] for block in told] == [2, 2, 2]


def test_a_bad_device_state_voids_its_block_and_no_other(live):
    blocks(live, 3, bad={1})
    (start,) = read_starts(live.folder)
    assert [state.void for state in start.state] == [None, "hot", None]
    for series in start.series:
        assert series.block == [0, 2]
        assert [(v.reason, v.count) for v in series.void] == [
            ("device state made the block invalid", 1)
        ]


@pytest.mark.parametrize(
    ("bad", "taken"),
    [(set(), 4), ({0}, 5), ({0, 1}, 6), ({0, 1, 2}, 6)],
    ids=["none", "one", "as many as are repeated", "one more"],
)
def test_bad_blocks_are_repeated_up_to_half_as_many_as_were_planned(live, bad, taken):
    live.launch.connect()
    live.gauge.bad = bad
    count = 0
    while not live.launch.done:
        one_block(live)
        count += 1
    assert count == taken


def test_progress_counts_what_is_valid_and_says_why_a_launch_ends_early(live):
    live.launch.connect()
    live.gauge.bad = {0, 2, 3}
    while not live.launch.done:
        one_block(live)
    blocks_said = [line.partition(", launch 1: ")[2] for line in live.said if "block" in line]
    assert blocks_said == [
        "block 1 (0 of 4 valid), invalid: hot",
        "block 2 (1 of 4 valid)",
        "block 3 (1 of 4 valid), invalid: hot",
        "block 4 (1 of 4 valid), invalid: hot",
        "block 5 (2 of 4 valid)",
        "block 6 (3 of 4 valid); too many were invalid, so this launch ends here",
    ]


def test_what_the_user_interrupted_is_not_taken_for_a_fault_of_the_servers(live):
    live.launch.fail(KeyboardInterrupt())
    (start,) = read_starts(live.folder)
    assert start.failure == launch.INTERRUPTED
    live.launch.fail(InfrastructureError("gone"))
    assert live.launch.start.failure == "gone"


def test_each_round_of_the_warm_up_ends_with_an_empty_cache(live):
    live.launch.connect()
    live.told.clear()
    live.launch.warm_up()
    assert live.told == [*((point, 2) for point in live.plan.order(0, 0)), "flush"]
    warmup = live.launch.start.warmup
    assert isinstance(warmup, Warmup)
    assert (warmup.rounds, warmup.stationary) == (1, False)


def test_a_dead_server_explains_a_failed_block(live, monkeypatch):
    live.launch.connect()

    def broken(*_, **__):
        live.server.died = True
        raise InfrastructureError("no connection")

    monkeypatch.setattr(shooter, "take_sample", broken)
    with pytest.raises(ServerDiedError):
        one_block(live)


@pytest.mark.parametrize(
    ("error", "suspected"),
    [(ConnectionLostError("reset"), True), (InfrastructureError("400"), False)],
)
def test_a_server_whose_connection_broke_is_given_the_time_to_end(
    live, monkeypatch, error, suspected
):
    """The system tells of its end a moment after its sockets do; what it refuses, it lives to."""
    live.launch.connect()

    def broken(*_, **__):
        raise error

    monkeypatch.setattr(shooter, "take_sample", broken)
    with pytest.raises(type(error)):
        one_block(live)
    assert live.server.suspected is suspected


@pytest.mark.parametrize(("capacity", "left"), [(None, 0), (544, 0), (543, 1)])
def test_a_point_that_does_not_fit_is_left_out_and_said(live, capacity, left):
    """Points of 256 + 256 tokens with 32 of output are the longest."""
    live.server.capacity_tokens = capacity
    blocks(live, 1)
    start = live.launch.start
    longest = Point(256, 256)
    assert [one.point for one in start.left_out] == [longest] * left
    assert (longest in {s.point for s in start.series}) is not bool(left)
    assert ((longest, 32) in live.told) is not bool(left)
    assert sum("L256-m256" in line for line in live.said) == left
    assert len(start.series) == len(live.plan.all_points) - left


def test_a_server_too_small_for_any_point_is_refused(live):
    live.server.capacity_tokens = 40
    with pytest.raises(InfrastructureError, match="KV pool holds 40"):
        live.launch.connect()


def test_the_cache_is_emptied_before_a_point_that_would_not_fit_beside_the_others(live):
    live.server.capacity_tokens = 1000
    _, second = blocks(live, 2)
    order = live.plan.order(0, 1)
    steps, cached = [], order[-1].total_tokens + 32
    for point in order:
        need = point.total_tokens + 32
        steps += ["sleep 0.003", *(["flush"] if cached + need > 1000 else []), (point, 2)]
        cached = need if cached + need > 1000 else cached + need
    assert "flush" in steps
    assert second == ["flush", (order[-1], 2), "watch", *steps, "watched"]


def kinds(steps):
    """The points of the samples among what was done, and all that else was, pauses left out."""
    return [step[0] if isinstance(step, tuple) else step for step in steps if "sleep" not in step]


@pytest.mark.parametrize("live", [(AGED,)], indirect=True)
def test_aged_blocks_come_after_all_others_and_nothing_empties_the_cache(live, monkeypatch):
    monkeypatch.setattr(launch, "resident_bytes", lambda pids: 30)
    live.launch.connect()
    fresh = set(live.plan.all_points)
    for _ in range(4):
        one_block(live)
    assert live.launch.done
    live.launch.start.aged = AGED_SO
    live.launch.enter("aged")
    assert not live.launch.done
    for _ in range(4):
        live.told.clear()
        one_block(live)
        first, watch, *samples, watched = kinds(live.told)
        assert (watch, watched) == ("watch", "watched")
        assert {first} < set(samples) == set(AGED.as_points)
    assert live.launch.done
    live.launch.finish()
    (start,) = read_starts(live.folder)
    assert {series.point for series in start.series} == fresh
    assert {series.block[-1] for series in start.series} == {3}
    assert [series.state for series in start.traffic] == ["aged", "aged"]
    assert [series.block for series in start.traffic] == [[4, 5, 6, 7]] * 2
    assert [state.block for state in start.state] == list(range(8))
    assert start.aged.resident_after_bytes == 30


@pytest.mark.parametrize("live", [(AGED, AFTER)], indirect=True)
def test_a_server_that_goes_on_from_its_age_is_flushed_again(live, monkeypatch):
    monkeypatch.setattr(launch, "resident_bytes", lambda pids: 30)
    live.launch.connect()
    live.launch.start.aged = AGED_SO
    live.launch.enter("aged")
    live.launch.enter("overloaded")
    assert live.launch.start.aged.resident_after_bytes == 30
    live.told.clear()
    one_block(live)
    assert kinds(live.told)[0] == "flush"


@pytest.mark.parametrize("live", [(HEAVY,)], indirect=True)
def test_what_is_heavy_is_warmed_up_and_not_waited_for(live, monkeypatch):
    taken = []

    def take_text(client, prompts, point, traffic, **_):
        taken.append(point)
        return Sample(point, Times(5.0, 9.0, None, 2, point.context_tokens), traffic)

    monkeypatch.setattr(shooter, "take_text", take_text)
    profile = live.bench.profile
    repeats = profile.plan.model_copy(update={"warmup_rounds_max": 6})
    bench = replace(live.bench, profile=profile.model_copy(update={"plan": repeats}))
    live.launch._bench = replace(
        bench, plan=make_plan(bench.profile, seed=1, sides=("candidate",), experiments=["heavy"])
    )
    live.launch.connect()
    live.told.clear()
    live.launch.warm_up()
    assert live.launch.start.warmup.rounds == 6
    assert len(taken) == launch.HEAVY_WARMUP_ROUNDS
    assert live.told.count("flush") == 6
