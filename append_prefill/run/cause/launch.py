"""One launch that is profiled: what is sent to it, and what py-spy and torch record of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from append_prefill.analysis.profiles import Profile as StackProfile
from append_prefill.analysis.profiles import Stack
from append_prefill.engines.base import Device, RunningServer
from append_prefill.engines.kernels import traced
from append_prefill.engines.profiler import Recording, recorded
from append_prefill.errors import InfrastructureError
from append_prefill.probe.call import Crowd
from append_prefill.probe.client import TimedClient
from append_prefill.probe.sample import Times
from append_prefill.probe.shooter import Shooter
from append_prefill.records.cause import LaunchProfiled
from append_prefill.records.grounds import Side
from append_prefill.run.cause.sending import Outcome, PointWork, SampleWork, UnitWork, Work
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile
from append_prefill.workload.prompts import PromptSource
from append_prefill.workload.traffic_experiment import Unit

WARM_REQUESTS = 40
"""Before anything is counted: of one condition, as many as 40 rounds of a run's warm-up, which is
stationary after some ten."""

IDLE_S = 3.0
"""How long the idle server is recorded: where its threads stand is where they wait. A loop that
polls shows in every sample; one that wakes up once a second has been through it thrice."""

EXACT_REQUESTS = 400
"""At most, without the profiler, where each is timed and not sampled. Of samples that scatter by
17 %, as on a shared CPU, a median of so many is known to 1 % (1.25 * 0.17 / 20)."""

KERNEL_REQUESTS = 100
"""At most, under torch's profiler. Of batches of 59 requests of one launch the kernels together
scattered by 0.15 and 0.27 %, from launch to launch by up to 0.5 (`python -m
benchmarks.kernel_scatter`), and each batch took six seconds with the profiler's start and stop (the
same): 400 were 40 s of a launch."""

INVALID_SHARE_MAX = 0.1
"""Of the requests of a launch: if more of them are not what was asked for, what is profiled is
something else. A retraction or two changes no ranking."""


@dataclass(frozen=True)
class Bench:
    """What every launch has in common. `work` is a point, or units of other traffic; `with_primes`:
    each request at a point has its own prime before it, which is profiled with it.
    """

    profile: Profile
    device: Device
    folder: Path
    vocab_size: int
    seed: int
    work: Point | Sequence[Unit]
    requests: int
    program: str
    rate_hz: int
    tell: Callable[[str], None]
    with_primes: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """One launch: what its record says, its stacks, its kernels (ms per request, or None)."""

    record: LaunchProfiled
    stacks: StackProfile
    kernels_ms: dict[str, float] | None


class Launch:
    """One server, the requests sent to it, and what was recorded of it."""

    def __init__(self, bench: Bench, server: RunningServer, side: Side, pair: int) -> None:
        self.side = side
        self._bench, self._server, self._pair = bench, server, pair
        self._folder = bench.folder / "stacks" / f"{side}-{pair}"
        self._client = TimedClient(server.base_url, server.api_key)
        self._crowd = Crowd(server.base_url, server.api_key)
        self._work = _work(bench, server, self._client, self._crowd, pair)
        self._pids = server.busy_pids()
        self._plain: list[Outcome] = []
        self._outcomes: list[Outcome] = []
        self._idle: list[Recording] = []
        self._busy: list[Recording] = []
        self._kernels: tuple[dict[str, float] | None, float | None] = None, None

    def close(self) -> None:
        self._crowd.close()
        self._client.close()

    def warm_up(self) -> None:
        """Until it is as warm as it gets; then it is recorded while nothing is asked of it."""
        _sent(self._work, WARM_REQUESTS)
        with self._recorded("idle", idle=True) as idle:
            time.sleep(IDLE_S)
        self._idle = idle

    def take(self, count: int, *, plain: int) -> None:
        """So many requests under the profiler, `plain` without it before."""
        self._plain += _sent(self._work, plain)
        wanted = len(self._outcomes) + count
        while len(self._outcomes) < wanted:
            room = self._work.prepare()
            with self._recorded(f"busy-{len(self._busy)}") as busy:
                self._outcomes += self._work.send(min(room, wanted - len(self._outcomes)))
            self._busy += busy

    def take_kernels(self) -> None:
        self._kernels = _kernels(self._bench, self._server, self._work, self._folder)

    def measured(self) -> Measured:
        self._server.check_alive()
        invalid = _refuse_another(self._outcomes, self.side)
        kernels, kernels_ms = self._kernels
        record = LaunchProfiled(
            side=self.side,
            pair=self._pair,
            requests=len(self._outcomes),
            invalid=invalid,
            plain_ms=_median_ms(self._plain, self.side),
            profiled_ms=_median_ms(self._outcomes, self.side),
            recorded_s=sum(one.seconds for one in self._busy),
            idle_s=self._idle[0].seconds,
            unread=sum(one.errors for one in self._busy),
            kernels_ms=kernels_ms,
        )
        stacks = StackProfile(
            busy_ms=_merged(self._busy),
            requests=len(self._outcomes),
            idle_ms=_merged(self._idle),
        )
        return Measured(record, stacks, kernels)

    def _recorded(
        self, place: str, *, idle: bool = False
    ) -> AbstractContextManager[list[Recording]]:
        bench = self._bench
        folder = self._folder / place
        return recorded(bench.program, self._pids, folder, rate_hz=bench.rate_hz, idle=idle)


def _work(
    bench: Bench, server: RunningServer, client: TimedClient, crowd: Crowd, pair: int
) -> Work:
    description, seed = server.describe(), (bench.seed, pair, 1)
    prompts = PromptSource(seed, bench.vocab_size)
    if isinstance(bench.work, Point):
        plan = bench.profile.plan
        idle_s = plan.idle_ms / 1000
        if bench.with_primes:
            tokens = plan.output_tokens
            return SampleWork(
                client, prompts, description, bench.work, output_tokens=tokens, idle_s=idle_s
            )
        return PointWork(
            client, prompts, description, bench.work, vocab_size=bench.vocab_size, idle_s=idle_s
        )
    shoot = Shooter(client, crowd, prompts, description, bench.profile, seed=seed)
    return UnitWork(shoot, bench.work)


def _sent(work: Work, count: int) -> list[Outcome]:
    """So many requests, in as many batches as they take."""
    sent: list[Outcome] = []
    while len(sent) < count:
        got = work.send(min(work.prepare(), count - len(sent)))
        if not got:
            raise InfrastructureError("the server takes no request of this traffic")
        sent += got
    return sent


def _kernels(
    bench: Bench, server: RunningServer, work: Work, folder: Path
) -> tuple[dict[str, float] | None, float | None]:
    """Ms per request of each kernel, and the median TTFT meanwhile; None, None without a GPU."""
    if bench.device.kind != "cuda":
        return None, None
    total: dict[str, float] = {}
    sent: list[Outcome] = []
    wanted = min(bench.requests, KERNEL_REQUESTS)
    while len(sent) < wanted:
        room = work.prepare()
        with traced(server.base_url, folder / f"kernels-{len(sent)}") as found:
            sent += work.send(min(room, wanted - len(sent)))
        for name, ms in found.items():
            total[name] = total.get(name, 0.0) + ms
    return {name: ms / len(sent) for name, ms in total.items()}, _median_ms(sent, "kernels")


def _refuse_another(outcomes: Sequence[Outcome], side: str) -> int:
    """How many are invalid. Raises InfrastructureError where they are too many."""
    reasons = [one for one in outcomes if isinstance(one, str)]
    if len(reasons) > INVALID_SHARE_MAX * len(outcomes):
        raise InfrastructureError(
            f"{side}: {len(reasons)} of {len(outcomes)} profiled requests are invalid: {reasons[0]}"
        )
    return len(reasons)


def _median_ms(outcomes: Sequence[Outcome], side: str) -> float:
    times = [one.ttft_ms for one in outcomes if isinstance(one, Times)]
    if not times:
        raise InfrastructureError(f"{side}: no request was valid: {outcomes[0]}")
    return median(times)


def _merged(recordings: Sequence[Recording]) -> dict[Stack, float]:
    """Ms by stack, the process's role its first name."""
    found: dict[Stack, float] = {}
    for one in recordings:
        for role, stacks in one.stacks_ms.items():
            for frames, ms in stacks.items():
                found[role, *frames] = found.get((role, *frames), 0.0) + ms
    return found
