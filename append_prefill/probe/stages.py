"""The way of a launch's server into a state that is not fresh, with a few samples at each stage.

All servers that are up together reach a stage before any goes on, and then take turns sample by
sample, so that what the machine does meanwhile falls on all of them alike. The first stage is the
one before anything was done: what the state costs is told within the launch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from append_prefill.errors import InfrastructureError
from append_prefill.probe.aging import Ager, resident_bytes
from append_prefill.probe.bench import Bench
from append_prefill.probe.launch import Launch
from append_prefill.probe.overload import overload
from append_prefill.probe.sample import Times
from append_prefill.probe.soak import soak
from append_prefill.records.states import Stage
from append_prefill.workload.points import Point
from append_prefill.workload.traffic import State

PROBES = 5
"""Samples of a stage, beside one that is thrown away. A stage's median of five scatters by half of
a sample; the line through four stages, and the launches, even out the rest."""

SHARES = (0.25, 0.5, 1.0)
"""Of the leaves that are there at the stages after the full pool's first."""

SOAKS = 3
"""Stages of equal minutes: the fewest that show whether a line is one."""


class Way:
    """One launch on its way."""

    def __init__(self, launch: Launch, state: State, point: Point) -> None:
        self.launch, self.state, self.point = launch, state, point
        self.requests = 0
        self.ager: Ager | None = None
        self.first_bytes: int | None = None
        self._began_s = time.monotonic()
        self._times: list[float] = []
        self._leaves = 0

    def open(self) -> None:
        """Flush, but where the cache is what was filled; throw a first sample away."""
        if self.ager is None:
            self.launch.flush()
        self._sample()
        self._times = []
        self._leaves = self._leaves_now

    def sample(self) -> None:
        """One of the stage's."""
        times = self._sample()
        if times is not None:
            self._times.append(times.ttft_ms)

    def close(self, void: str | None) -> None:
        """Keep the stage."""
        memory = resident_bytes(self.launch.pids())
        stages = self.launch.start.stages
        if all(stage.state != self.state for stage in stages):
            self.first_bytes = memory
        stages.append(
            Stage(
                state=self.state,
                context_tokens=self.point.context_tokens,
                append_tokens=self.point.append_tokens,
                after_s=time.monotonic() - self._began_s,
                requests=self.requests,
                # Samples push leaves out: what there was in the middle of them.
                leaves=None if self.ager is None else (self._leaves + self._leaves_now) // 2,
                ttft_ms=[] if void else self._times,
                void=void,
                resident_bytes=memory,
            )
        )

    @property
    def _leaves_now(self) -> int:
        return 0 if self.ager is None else self.ager.leaves

    def _sample(self) -> Times | None:
        sample = self.launch.sample(self.point)
        self.requests += 2  # what primes is one, too
        if self.ager is not None:
            self.ager.add(self.point.total_tokens)
        return sample.result if isinstance(sample.result, Times) else None


Step = Callable[[Bench, Sequence[Way]], None]


def come_into(
    state: State, bench: Bench, group: Sequence[Launch], own_pids: Callable[[], set[int]]
) -> None:
    """Bring the servers of a group into a state; their blocks from here on are of it.

    `own_pids`: the run's processes. Raises InfrastructureError where a server cannot be brought
    there.
    """
    point = bench.plan.probed(state)
    ways = [Way(launch, state, point) for launch in group]
    _probe(bench, ways, own_pids)
    for step in _STEPS[state]:
        step(bench, ways)
        _probe(bench, ways, own_pids)
    for way in ways:
        if way.ager is not None:
            full = way.launch.start.stages[-1].resident_bytes
            way.launch.start.aged = way.ager.record(way.first_bytes, full)
        way.launch.enter(state)


def _probe(bench: Bench, ways: Sequence[Way], own_pids: Callable[[], set[int]]) -> None:
    for way in ways:
        way.open()
    first = ways[0].launch
    with bench.guard.watch(first.blocks, first.start.side, own_pids) as watch:
        for number in range(PROBES):
            for way in ways if number % 2 == 0 else reversed(ways):
                way.sample()
    for way in ways:
        way.close(watch.state.void)


def _fill(bench: Bench, ways: Sequence[Way]) -> None:
    for way in ways:
        launch, described = way.launch, way.launch.description
        if described.kv_capacity_tokens is None:
            raise InfrastructureError(
                f"{launch.label} cannot be aged: its server does not tell how large its KV pool is"
            )
        bench.tell(f"{launch.label}: filling the KV pool until it evicts")
        way.ager = Ager(
            launch.crowd,
            launch.prompts,
            bench.profile.aging,
            capacity_tokens=described.kv_capacity_tokens,
            page_tokens=described.page_size_tokens,
            filler_tokens=way.point.append_tokens,
        )
        with launch.explained():
            launch.flush()
            way.requests += way.ager.fill()


def _grow(share: float, bench: Bench, ways: Sequence[Way]) -> None:
    for way in ways:
        assert way.ager is not None  # `_fill` comes before
        with way.launch.explained():
            way.requests += way.ager.grow(share)
        bench.tell(f"{way.launch.label}: {way.ager.leaves} leaves")


def _overload(bench: Bench, ways: Sequence[Way]) -> None:
    for way in ways:
        launch = way.launch
        bench.tell(f"{launch.label}: {bench.profile.overload.requests} requests at once")
        with launch.explained():
            burst = overload(launch.crowd, launch.prompts, bench.profile.overload)
        launch.start.burst = burst
        way.requests += burst.requests
        bench.tell(
            f"{launch.label}: drained after {burst.drained_s:.1f} s, {burst.retracted} retracted, "
            f"{burst.failed} failed"
        )


def _soak(bench: Bench, ways: Sequence[Way]) -> None:
    plan = bench.profile.soak
    names = " and ".join(way.launch.label for way in ways)
    bench.tell(f"{names}: {plan.minutes / SOAKS:g} minutes of {plan.per_s:g} requests a second")
    with ways[0].launch.explained():
        sent = soak(
            [(way.launch.crowd, way.launch.prompts) for way in ways],
            ways[0].point,
            per_s=plan.per_s,
            seconds_s=60 * plan.minutes / SOAKS,
            output_tokens=bench.profile.plan.output_tokens,
        )
    for way in ways:
        way.requests += sent


_STEPS: Mapping[State, Sequence[Step]] = {
    "aged": (_fill, *(partial(_grow, share) for share in SHARES)),
    "overloaded": (_overload,),
    "soaked": (_soak,) * SOAKS,
}
