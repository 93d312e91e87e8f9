"""The servers of a search: one launch that is looked over, and fresh ones that confirm."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from append_prefill.analysis.steps import Sizes, sizes_of
from append_prefill.analysis.summary import FloatArray, log_matrix
from append_prefill.engines.base import Device
from append_prefill.probe.bench import Bench
from append_prefill.probe.launch import Launch
from append_prefill.probe.placement.topology import topology_of
from append_prefill.probe.plan import Plan, make_plan
from append_prefill.probe.runner import PairRunner, up
from append_prefill.probe.sample import Times
from append_prefill.records.store import read_starts
from append_prefill.run.cliffs.prober import Take
from append_prefill.run.progress import ProgressLog
from append_prefill.run.settings import Settings
from append_prefill.workload.points import Point

POOL_SHARE = 0.5
"""Of the KV pool that samples may fill before the cache is flushed: nothing is evicted at half."""

UNTOLD_POOL_TOKENS = 20_000
"""For a server that does not tell its pool: a few samples of any shipped profile."""


class LocalServers:
    """Launches the candidate of `settings` on a device that the caller has locked.

    `launch_s`: what the first launch took until it was warm, None before. The fresh launches'
    records are in `folder`, as a run's are, and so is the log of all.
    """

    def __init__(self, settings: Settings, device: Device, folder: Path) -> None:
        self._settings, self._device, self._folder = settings, device, folder
        self._tell = ProgressLog(folder / "progress.log", "")
        self.launch_s: float | None = None
        self.version: str | None = None

    def explore(self, design: Sequence[Point], then: Callable[[Take, Sizes], None]) -> None:
        began_s = time.monotonic()
        launch = Launch(
            self._bench(self._plan(design, samples=1, starts=1)),
            "candidate",
            self._settings.candidate,
            0,
        )
        with up([launch]):
            launch.warm_up()
            self.launch_s = time.monotonic() - began_s
            self.version = launch.start.version
            pool_tokens = launch.start.subject["kv_capacity_tokens"]
            then(_Taking(launch, pool_tokens), sizes_of([launch.start]))

    def fresh(self, points: Sequence[Point], samples: int, launches: int) -> FloatArray:
        plan = self._plan(points, samples=samples, starts=launches)
        with PairRunner(self._bench(plan)) as runner:
            # The first launch was the search's own.
            for index in range(1, launches + 1):
                runner.measure(index, [("candidate", self._settings.candidate)])
        starts = [start for start in read_starts(self._folder) if start.pair > 0]
        return log_matrix(starts, points)

    def _plan(self, points: Sequence[Point], *, samples: int, starts: int) -> Plan:
        empty = make_plan(
            self._settings.profile,
            seed=self._settings.options.seed,
            sides=("candidate",),
            experiments=(),
            starts=starts,
            samples=samples,
        )
        return empty.with_points(points)

    def _bench(self, plan: Plan) -> Bench:
        settings = self._settings
        return Bench(
            settings.profile,
            plan,
            self._device,
            settings.guard(self._device),
            self._folder,
            settings.vocab_size,
            self._tell,
            topology_of(self._device),
        )


class _Taking:
    """Takes samples of a launch, and flushes its cache before it evicts."""

    def __init__(self, launch: Launch, pool_tokens: int | None) -> None:
        self._launch = launch
        self._room = UNTOLD_POOL_TOKENS if pool_tokens is None else int(POOL_SHARE * pool_tokens)
        self._held = self._room

    def __call__(self, point: Point) -> float | None:
        if self._held + point.total_tokens > self._room:
            self._launch.open_block()
            self._held = 0
        self._held += point.total_tokens
        result = self._launch.sample(point).result
        return result.ttft_ms if isinstance(result, Times) else None
