"""The servers of a search: one launch that is looked over, and fresh ones that confirm."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from append_prefill.analysis.cliffs.expected import GRID
from append_prefill.analysis.steps import Sizes, sizes_of
from append_prefill.analysis.summary import FloatArray, log_matrix
from append_prefill.engines.base import Device
from append_prefill.probe.bench import Bench
from append_prefill.probe.launch import Launch
from append_prefill.probe.placement.topology import topology_of
from append_prefill.probe.plan import Plan, Task
from append_prefill.probe.planning import make_plan
from append_prefill.probe.runner import PairRunner, up
from append_prefill.probe.sample import Times
from append_prefill.records.launch import Start
from append_prefill.records.store import read_starts
from append_prefill.run.cliffs.prober import Take
from append_prefill.run.progress import ProgressLog
from append_prefill.run.settings import Settings
from append_prefill.workload.any_point import experiment_at
from append_prefill.workload.points import Point
from append_prefill.workload.traffic_experiment import TrafficExperiment, Unit

POOL_SHARE = 0.5
"""Of the KV pool that samples may fill before the cache is flushed: nothing is evicted at half."""

WARM_EVERY = GRID + 1
"""Of the design's points in other traffic: one a row of the grid, and each of another column, so
over all of both axes. The first sample of a new shape may still be an outlier, and no point is
judged by fewer than three."""

UNITS_MIN = 8
"""Of a point and launch, where requests come several at once: eight units of eight err 1.2 times as
far as 40 lone samples where a fifth of the variance is a unit's own (sqrt(40 x 2.4 / 64))."""

UNTOLD_POOL_TOKENS = 20_000
"""For a server that does not tell its pool: a few samples of any shipped profile."""


class LocalServers:
    """Launches the candidate of `settings` on a device that the caller has locked.

    A point is measured in the traffic of `experiment`, alone without one. `launch_s`: what the
    first launch took until it was warm, None before. The fresh launches' records are in `folder`,
    as a run's are, and so is the log of all.
    """

    def __init__(
        self,
        settings: Settings,
        device: Device,
        folder: Path,
        experiment: TrafficExperiment | None = None,
    ) -> None:
        self._settings, self._device, self._folder = settings, device, folder
        self._experiment = experiment
        self._tell = ProgressLog(folder / "progress.log", "")
        self.launch_s: float | None = None
        self.version: str | None = None

    def explore(self, design: Sequence[Point], then: Callable[[Take, Sizes], None]) -> None:
        began_s = time.monotonic()
        # A round over all of the design takes a minute where requests come several at once.
        warmed = design if self._experiment is None else design[::WARM_EVERY]
        launch = Launch(
            self._bench(self._plan(warmed, samples=1, starts=1)),
            "candidate",
            self._settings.candidate,
            0,
        )
        with up([launch]):
            launch.warm_up()
            self.launch_s = time.monotonic() - began_s
            self.version = launch.start.version
            output_tokens = self._settings.profile.plan.output_tokens
            then(_Taking(launch, self._task, output_tokens), self._sizes(launch.start))

    def fresh(self, points: Sequence[Point], samples: int, launches: int) -> FloatArray:
        task = self._task(points[0])
        if isinstance(task, Unit) and task.samples > 1:
            samples = max(UNITS_MIN, samples // task.samples)
        plan = self._plan(points, samples=samples, starts=launches)
        with PairRunner(self._bench(plan)) as runner:
            # The first launch was the search's own.
            for index in range(1, launches + 1):
                runner.measure(index, [("candidate", self._settings.candidate)])
        starts = [start for start in read_starts(self._folder) if start.pair > 0]
        if self._experiment is not None:
            own = experiment_at(self._experiment, points).conditions
            starts = [start.within(own) for start in starts]
        return log_matrix(starts, points)

    def _task(self, point: Point) -> Task:
        if self._experiment is None:
            return point
        (unit,) = experiment_at(self._experiment, [point]).units
        return unit

    def _sizes(self, start: Start) -> Sizes:
        # Of a chunk, or a graph, those that are there at once share; which, no server tells.
        alone = self._experiment is None or self._experiment.company == "alone"
        return sizes_of([start]) if alone else Sizes()

    def _plan(self, points: Sequence[Point], *, samples: int, starts: int) -> Plan:
        empty = make_plan(
            self._settings.profile,
            seed=self._settings.options.seed,
            sides=("candidate",),
            experiments=(),
            starts=starts,
            samples=samples,
        )
        if self._experiment is None:
            return empty.with_points(points)
        return replace(empty, traffic=(experiment_at(self._experiment, points),))

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

    def __init__(
        self, launch: Launch, task_of: Callable[[Point], Task], output_tokens: int
    ) -> None:
        self._launch, self._task_of, self._output_tokens = launch, task_of, output_tokens
        self._pool_tokens: int | None = launch.start.subject["kv_capacity_tokens"]
        known = self._pool_tokens
        self._room = UNTOLD_POOL_TOKENS if known is None else int(POOL_SHARE * known)
        self._held = self._room

    def __call__(self, point: Point) -> float | None:
        """TTFT in ms, of those in company the median; None where half of them prove nothing."""
        task = self._task_of(point)
        if isinstance(task, Unit) and task.traffic.company != "alone":
            held = task.held_tokens(self._output_tokens)
            if self._pool_tokens is not None and held > self._pool_tokens:
                return None  # more than there can be at once
        else:  # those in company find the cache emptied
            if self._held + point.total_tokens > self._room:
                self._launch.open_block()
                self._held = 0
            self._held += task.total_tokens
        samples = self._launch.samples(task)
        valid = [one.result.ttft_ms for one in samples if isinstance(one.result, Times)]
        return median(valid) if 2 * len(valid) > len(samples) else None
