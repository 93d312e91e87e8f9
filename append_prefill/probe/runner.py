"""Measure one server start: bring it up, warm it, run its blocks, keep everything."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from append_prefill.engines.base import Device, Engine, RunningServer, ServerDescription
from append_prefill.errors import AppendPrefillError, InfrastructureError
from append_prefill.probe.client import TimedClient
from append_prefill.probe.floor import measure_client_floor
from append_prefill.probe.guard import Guard
from append_prefill.probe.plan import Plan
from append_prefill.probe.sample import Sample, take_sample
from append_prefill.probe.warmup import warm_up
from append_prefill.records.run import BlockState, Series, Side, Start, Void, Warmup
from append_prefill.records.store import write_start
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile
from append_prefill.workload.prompts import PromptSource

# A voided block is repeated, up to half as many times again as were planned: a device that is
# bad for longer than that is not one to measure on tonight.
EXTRA_BLOCKS_SHARE = 0.5


@dataclass
class _Point:
    """What one start has gathered at one point."""

    ttft_ms: list[float] = field(default_factory=list)
    e2e_ms: list[float] = field(default_factory=list)
    itl_ms: list[float | None] = field(default_factory=list)
    output_tokens: list[int] = field(default_factory=list)
    cached_tokens: list[int] = field(default_factory=list)
    block: list[int] = field(default_factory=list)
    void: Counter[str] = field(default_factory=Counter)

    def add(self, sample: Sample, block: int, block_void: str | None) -> None:
        # Which state voided it, with its figures, is in the block's own entry.
        reason = sample.void or ("device state voided the block" if block_void else None)
        if (
            reason is not None
            or sample.ttft_ms is None
            or sample.e2e_ms is None
            or sample.output_tokens is None
            or sample.cached_tokens is None
        ):
            self.void[reason or "no first token"] += 1
            return
        self.ttft_ms.append(sample.ttft_ms)
        self.e2e_ms.append(sample.e2e_ms)
        self.itl_ms.append(sample.itl_ms)
        self.output_tokens.append(sample.output_tokens)
        self.cached_tokens.append(sample.cached_tokens)
        self.block.append(block)

    def series(self, point: Point) -> Series:
        kept = {k: v for k, v in asdict(self).items() if k != "void"}
        return Series(
            context_tokens=point.context_tokens,
            append_tokens=point.append_tokens,
            void=[Void(reason=r, count=n) for r, n in sorted(self.void.items())],
            **kept,
        )


class StartRunner:
    """Runs the starts of one worker on one device and writes each to `folder` as it grows."""

    def __init__(
        self,
        profile: Profile,
        plan: Plan,
        *,
        device: Device,
        guard: Guard,
        folder: Path,
        vocab_size: int,
        tell: Callable[[str], None],
    ) -> None:
        self._profile, self._plan = profile, plan
        self._device, self._guard = device, guard
        self._folder, self._vocab_size, self._tell = folder, vocab_size, tell

    def measure(self, engine: Engine, side: Side, pair: int) -> Start:
        """One start of `engine`, measured whole.

        Raises ServerDiedError or InfrastructureError; what was measured until then is in the
        start's file, with `failure` set.
        """
        start = Start(
            index=pair,
            side=side,
            pair=pair,
            host=platform.node(),
            device=self._device.id,
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
        label = f"{side} {engine.label}, start {pair + 1}"
        self._tell(f"{label}: starting")
        server: RunningServer | None = None
        try:
            server = engine.start(self._device, self._folder / f"{side}-{pair}.log")
            start.ready_s = server.ready_s
            start.server_args = list(server.server_args)
            self._measure_server(server, start, label)
        except (AppendPrefillError, KeyboardInterrupt) as error:
            start.failure = str(error) or type(error).__name__
            raise
        finally:
            write_start(start, self._folder)
            if server is not None:
                server.stop()
        return start

    def _measure_server(self, server: RunningServer, start: Start, label: str) -> None:
        description = server.describe()
        start.subject = subject_of(description)
        check_capacity(self._plan, self._profile, description)
        began = time.monotonic()
        prompts = PromptSource(self._plan.prompt_seed(start.pair), self._vocab_size)
        with TimedClient(server.base_url, server.api_key) as client:
            shoot = _Shooter(client, prompts, description.page_size_tokens, self._profile)
            start.client_floor_ms = median(f.median_ms for f in measure_client_floor())
            self._tell(f"{label}: ready{_seconds(start.ready_s)}, warming up")
            start.warmup = self._warm_up(shoot, start.pair)
            self._blocks(server, shoot, start, label)
        start.measured_s = time.monotonic() - began

    def _warm_up(self, shoot: _Shooter, pair: int) -> Warmup:
        def one_round() -> Mapping[Point, float]:
            samples = [shoot(point) for point in self._plan.order(pair, 0)]
            shoot.client.flush_cache()
            return {s.point: s.ttft_ms for s in samples if s.void is None and s.ttft_ms}

        return warm_up(one_round, rounds_max=self._profile.plan.warmup_rounds_max)

    def _blocks(self, server: RunningServer, shoot: _Shooter, start: Start, label: str) -> None:
        points = {point: _Point() for point in self._plan.all_points}
        wanted = self._plan.samples
        limit = wanted + max(1, int(wanted * EXTRA_BLOCKS_SHARE))
        good = block = 0
        while good < wanted and block < limit:
            server.check_alive()
            state = self._block(server, shoot, points, start, block)
            good += state.void is None
            block += 1
            start.state.append(state)
            start.series = [gathered.series(point) for point, gathered in points.items()]
            write_start(start, self._folder)
            void = f" (void: {state.void})" if state.void else ""
            self._tell(f"{label}: block {block} of {wanted}{void}")

    def _block(
        self,
        server: RunningServer,
        shoot: _Shooter,
        points: dict[Point, _Point],
        start: Start,
        block: int,
    ) -> BlockState:
        # An empty cache, so that no eviction falls into a sample; the flush also empties the
        # allocator's pool, which the first request after it pays for: that one is thrown away.
        shoot.client.flush_cache()
        order = self._plan.order(start.pair, block)
        shoot(order[-1])
        # One block a start asks for as many tokens as the study did, for the share of TTFT in
        # the end-to-end time; the others stop at two, since TTFT is over by then.
        plan = self._profile.plan
        output_tokens = plan.share_output_tokens if block == 0 else plan.output_tokens
        samples: list[Sample] = []
        try:
            with self._guard.watch(block, start.side, server.pids) as watch:
                for point in order:
                    # Past the reply, the scheduler still frees what the request held.
                    time.sleep(plan.idle_ms / 1000)
                    samples.append(shoot(point, output_tokens))
        except InfrastructureError:
            server.check_alive()  # a dead server is the better explanation, with its log
            raise
        state: BlockState = watch.state
        for sample in samples:
            points[sample.point].add(sample, block, state.void)
        return state


class _Shooter:
    """Takes samples from one server."""

    def __init__(
        self, client: TimedClient, prompts: PromptSource, page_tokens: int, profile: Profile
    ) -> None:
        self.client = client
        self._prompts, self._page_tokens = prompts, page_tokens
        self._output_tokens = profile.plan.output_tokens

    def __call__(self, point: Point, output_tokens: int | None = None) -> Sample:
        return take_sample(
            self.client,
            self._prompts,
            point,
            page_tokens=self._page_tokens,
            output_tokens=output_tokens or self._output_tokens,
        )


def subject_of(description: ServerDescription) -> dict[str, object]:
    """What is meant to differ between two sides, flat, as the record keeps it."""
    kept = asdict(description)
    del kept["raw"]
    versions = kept.pop("versions")
    return {**versions, **kept}


def check_capacity(plan: Plan, profile: Profile, description: ServerDescription) -> None:
    """Raise InfrastructureError if the server cannot hold the plan's longest request."""
    need = max(p.total_tokens for p in plan.all_points) + profile.plan.share_output_tokens
    for what, capacity in (
        ("KV pool", description.kv_capacity_tokens),
        ("context length", description.context_length_tokens),
    ):
        if capacity is not None and need > capacity:
            raise InfrastructureError(
                f"the plan's longest request takes {need} tokens, the server's {what} holds "
                f"{capacity}: raise --max-total-tokens / --context-length or use a profile with "
                f"shorter points"
            )


def _seconds(value_s: float | None) -> str:
    return "" if value_s is None else f" after {value_s:.1f} s"
