"""One server launch while it is measured: bring it up, warm it, run its blocks, keep everything."""

from __future__ import annotations

import platform
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import chain, repeat
from statistics import median
from typing import Any

from append_prefill.engines.base import (
    Engine,
    HeldServer,
    RunningServer,
    ServerDescription,
)
from append_prefill.engines.describe import resolved_in
from append_prefill.errors import ConnectionLostError, InfrastructureError, ServerDiedError
from append_prefill.probe.aging import resident_bytes
from append_prefill.probe.bench import Bench
from append_prefill.probe.call import Crowd
from append_prefill.probe.capacity import Room, check_capacity, left_out_of, left_out_words
from append_prefill.probe.client import TimedClient
from append_prefill.probe.client_load import measure_client_load
from append_prefill.probe.floor import measure_client_floor
from append_prefill.probe.gathered import Gathered
from append_prefill.probe.plan import Task
from append_prefill.probe.sample import Sample, Times
from append_prefill.probe.shooter import Shooter
from append_prefill.probe.warmup import (
    HEAVY_WARMUP_ROUNDS,
    is_heavy,
    refuse_nothing_valid,
    warm_up,
)
from append_prefill.records.grounds import Side
from append_prefill.records.launch import BlockState, Start, TrafficSeries
from append_prefill.records.store import write_start
from append_prefill.workload.points import Point
from append_prefill.workload.prompts import PromptSource
from append_prefill.workload.traffic import DEFAULT, Condition, State

# An invalid block is repeated, up to half as many times again as were planned: a device that is
# bad for longer than that is not one to measure on tonight.
EXTRA_BLOCKS_SHARE = 0.5

INTERRUPTED = "interrupted"
"""What a launch failed of that the user interrupted (Ctrl-C)."""


class Launch:
    """One launch while it is measured: its server, its client and what it has gathered."""

    def __init__(self, bench: Bench, side: Side, engine: Engine, pair: int) -> None:
        self._bench, self.engine = bench, engine
        self.label = f"{side} {engine.label}, launch {pair + 1}"
        self._log_path = bench.folder / f"{side}-{pair}.log"
        self._server: RunningServer | None = None
        self._client: TimedClient | None = None
        self._crowd: Crowd | None = None
        self._state: State = "fresh"
        self._gathered = {condition: Gathered() for condition in bench.plan.conditions}
        self._taken: list[Sample] = []
        self._voids: list[str] = []
        self._build: dict[str, Any] = {}
        # Good blocks and all, of the state at hand; `_blocks` numbers those of the whole launch.
        self._good = self._of_state = self._blocks = 0
        self._began_s = 0.0
        self.start = Start(
            index=pair,
            side=side,
            pair=pair,
            host=platform.node(),
            device=bench.device.id,
            started_at=datetime.now(UTC),
            ready_s=None,
            measured_s=None,
            server_args=[],
            subject={},
            warmup=None,
            state=[],
            client_floor_ms=None,
            series=[],
        )

    def hold(self) -> HeldServer | None:
        """Launch the server so that others of its engine can be held; None where none can."""
        return self.engine.hold(self._bench.device, self._log_path)

    def bring_up(self, held: HeldServer | None = None) -> None:
        """Start the server, or let go one that was held; it is not up yet."""
        bench, start = self._bench, self.start
        bench.tell(f"{self.label}: starting")
        start.started_at = datetime.now(UTC)
        self._build = self.engine.build()
        self._server = (
            self.engine.start(bench.device, self._log_path)
            if held is None
            else held.let_go(self._log_path)
        )
        start.held_s = self._server.held_s
        start.server_args = list(self._server.server_args)

    def connect(self) -> None:
        """Ask the server, now up, what it resolved, and connect."""
        bench, start, server = self._bench, self.start, self.server
        start.ready_s = server.ready_s
        with self.explained():
            description = server.describe()
        start.subject = subject_of(description) | self._build
        start.resolved = resolved_in(description.raw)
        start.prefill_graph_tokens = description.prefill_graph_tokens
        check_capacity(bench.plan, bench.profile, description)
        start.left_out = left_out_of(bench.plan, bench.profile, description)
        if start.left_out:
            bench.tell(f"{self.label}: {left_out_words(start.left_out)}")
        for one in start.left_out:
            self._gathered.pop(Condition(DEFAULT, one.point))
        self._room = Room(description, bench.profile)
        self.description = description
        self._began_s = time.monotonic()
        self._client = TimedClient(server.base_url, server.api_key)
        self._crowd = Crowd(server.base_url, server.api_key)
        seed = bench.plan.prompt_seed(start.pair)
        self.prompts = PromptSource(seed, bench.vocab_size)
        self._shoot = Shooter(
            self._client, self._crowd, self.prompts, description, bench.profile, seed=seed
        )
        start.client_floor_ms = median(f.median_ms for f in measure_client_floor())
        start.client_under_load = measure_client_load(bench.plan.units, seed)

    def _measures(self, task: Task) -> bool:
        return not isinstance(task, Point) or Condition(DEFAULT, task) in self._gathered

    def warm_up(self) -> None:
        """Rounds over all conditions until their times are stationary, or the profile's bound."""
        plan, start = self._bench.plan, self.start
        self._bench.tell(f"{self.label}: ready{_seconds(start.ready_s)}, warming up")

        order = [task for task in plan.order(start.pair, 0) if self._measures(task)]
        light = [task for task in order if not is_heavy(task)]
        orders = chain([order] * HEAVY_WARMUP_ROUNDS, repeat(light or order))

        def one_round() -> Mapping[Condition, float]:
            with self.explained():
                samples = [s for task in next(orders) for s in self._shoot(task)]
                refuse_nothing_valid(samples, self.label)
                self._shoot.client.flush_cache()
            return {s.condition: s.result.ttft_ms for s in samples if isinstance(s.result, Times)}

        start.warmup = warm_up(one_round, rounds_max=self._bench.profile.plan.warmup_rounds_max)

    def sample(self, point: Point) -> Sample:
        """One sample outside of any block, of a stage."""
        (sample,) = self.samples(point)
        return sample

    def samples(self, task: Task) -> list[Sample]:
        """Those of a task outside of any block, of a search that looks around."""
        time.sleep(self._bench.profile.plan.idle_ms / 1000)
        with self.explained():
            return self._shoot(task)

    @property
    def done(self) -> bool:
        """Whether enough blocks are good, or too many were invalid."""
        wanted = self._bench.plan.samples
        limit = wanted + max(1, int(wanted * EXTRA_BLOCKS_SHARE))
        return self._good >= wanted or self._of_state >= limit

    def enter(self, state: State) -> None:
        """The blocks from here on are of a server in that state."""
        self._leave()
        self._state, self._good, self._of_state = state, 0, 0

    def _leave(self) -> None:
        if self._state == "aged" and self.start.aged is not None:
            self.start.aged.resident_after_bytes = resident_bytes(self.pids())

    def flush(self) -> None:
        """Empty the prefix cache."""
        with self.explained():
            self._shoot.client.flush_cache()

    def open_block(self) -> None:
        """Make ready for a pass over all points, after whatever moved the server's threads."""
        self.server.check_alive()
        # An empty cache, so that no eviction falls into a sample; the flush also empties the
        # allocator's pool, which the first request after it pays for, as it pays for cold caches on
        # new cores: that one is thrown away.
        with self.explained():
            if self._state != "aged":
                self._shoot.client.flush_cache()
            first = self._thrown_away()
            self._shoot(first)
        self._room.empty(first)
        self._taken, self._voids = [], []

    def order(self) -> list[Task]:
        """What the block that is next, or open, takes, in its order."""
        return self._bench.plan.order(self.start.pair, self._blocks, self._state)

    def _thrown_away(self) -> Task:
        """A point where there is one: a unit takes longer, and warms no more."""
        order = [task for task in self.order() if self._measures(task)]
        return next((task for task in reversed(order) if isinstance(task, Point)), order[-1])

    @property
    def blocks(self) -> int:
        """Blocks that are closed."""
        return self._blocks

    def take(self, task: Task) -> Generator[None, None, None]:
        """A sample of the open block, or a unit step by step (`Shooter.steps`)."""
        if not self._measures(task):
            return
        # One block a launch asks for as many tokens as the study did, for the share of TTFT in
        # the end-to-end time; the others stop at two, since TTFT is over by then.
        plan = self._bench.profile.plan
        output_tokens = plan.share_output_tokens if self._good == 0 else plan.output_tokens
        # Past the reply, the scheduler still frees what the request held.
        time.sleep(plan.idle_ms / 1000)
        if isinstance(task, Point) and self._state == "fresh" and not self._room.takes(task):
            with self.explained():
                self._shoot.client.flush_cache()  # what the sample's own prime pays for
            self._room.empty(task)
        with self.explained(), closing(self._shoot.steps(task, output_tokens)) as steps:
            for samples in steps:
                self._taken += samples
                yield

    def close_leg(self, state: BlockState, *, again: bool) -> None:
        """Keep what was taken since the last leg; a bad device state makes it invalid.

        `again`: the same tasks come once more, so that the block can still be valid.
        """
        for sample in self._taken:
            self._gathered[sample.condition].add(sample, self._blocks, state.void)
        self._taken = []
        self.start.state.append(state)
        if again:
            self._bench.tell(
                f"{self.label}: a part of block {self._blocks + 1} is taken again: {state.void}"
            )
        else:
            self._voids += filter(None, [state.void])

    def close_block(self) -> None:
        """Keep the open block at once; it is valid if its legs are, at their last."""
        start, voids = self.start, list(dict.fromkeys(self._voids))
        self._good += not voids
        self._blocks += 1
        self._of_state += 1
        series = [gathered.series(c) for c, gathered in self._gathered.items()]
        start.series = [one for one in series if not isinstance(one, TrafficSeries)]
        start.traffic = [one for one in series if isinstance(one, TrafficSeries)]
        write_start(start, self._bench.folder)
        of = self._bench.plan.samples
        words = f"{self.label}: block {self._blocks} ({self._good} of {of} valid)"
        if voids:
            words += f", invalid: {'; '.join(voids)}"
        if self.done and self._good < of:
            words += "; too many were invalid, so this launch ends here"
        self._bench.tell(words)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """A dead server is a better explanation than a broken connection, with its log."""
        try:
            yield
        except InfrastructureError as error:
            self.server.check_alive(suspected=isinstance(error, ConnectionLostError))
            raise

    def finish(self) -> None:
        """Keep the launch as measured to its end."""
        self._leave()
        self.start.measured_s = time.monotonic() - self._began_s
        write_start(self.start, self._bench.folder)

    def fail(self, error: BaseException) -> None:
        """Keep what there is, and what went wrong."""
        self.start.failure = str(error) or type(error).__name__
        if isinstance(error, KeyboardInterrupt):
            self.start.failure = INTERRUPTED
        elif isinstance(error, ServerDiedError):
            self.start.failure = error.account
        write_start(self.start, self._bench.folder)

    def begin_close(self) -> None:
        """Tell the server to end, without waiting: those of a pair then do it side by side."""
        for client in (self._client, self._crowd):
            if client is not None:
                client.close()
        if self._server is not None:
            self._server.begin_stop()

    def close(self) -> None:
        """Wait until the server has ended."""
        self.begin_close()
        if self._server is not None:
            self._server.stop()

    def await_memory(self) -> None:
        """Once every server is stopped: wait until the device has its memory back."""
        if self._server is not None:
            self._server.await_memory()

    def pids(self) -> set[int]:
        return self.server.pids()

    def busy_pids(self) -> dict[str, int]:
        return self.server.busy_pids()

    @property
    def crowd(self) -> Crowd:
        """Connections for what comes in company. Raises InfrastructureError before `connect`."""
        if self._crowd is None:
            raise InfrastructureError(f"{self.label} is not connected")
        return self._crowd

    @property
    def server(self) -> RunningServer:
        """The server. Raises InfrastructureError before the launch."""
        if self._server is None:
            raise InfrastructureError(f"{self.label} is not running")
        return self._server


def subject_of(description: ServerDescription) -> dict[str, object]:
    """What is meant to differ between two sides, flat, as the record keeps it."""
    kept = asdict(description)
    del kept["raw"], kept["prefill_graph_tokens"]
    versions = kept.pop("versions")
    return {**versions, **kept}


def _seconds(value_s: float | None) -> str:
    return "" if value_s is None else f" after {value_s:.1f} s"
