"""Both sides profiled at one condition: launches in pairs, py-spy on all processes that work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from append_prefill.analysis.profiles import Profile as StackProfile
from append_prefill.analysis.profiles import Stack
from append_prefill.engines.base import Device, Engine, RunningServer
from append_prefill.engines.kernels import traced
from append_prefill.engines.profiler import Recording, recorded
from append_prefill.engines.waiting import await_ready
from append_prefill.errors import InfrastructureError
from append_prefill.probe.call import Crowd
from append_prefill.probe.client import TimedClient
from append_prefill.probe.plan import abba
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


def measure_pairs(
    bench: Bench, candidate: Engine, reference: Engine, pairs: int
) -> list[tuple[Measured, Measured]]:
    """(candidate, reference) of each pair, whose order turns (ABBA).

    Both servers of a pair are up together where the profile measures side by side. Raises
    ServerDiedError or InfrastructureError.
    """
    engines: dict[Side, Engine] = {"candidate": candidate, "reference": reference}
    found = []
    for pair in range(pairs):
        sides = abba(("candidate", "reference"), pair)
        together = [sides] if bench.profile.plan.interleave else [(side,) for side in sides]
        made: dict[Side, Measured] = {}
        for group in together:
            names = " and ".join(engines[side].label for side in group)
            bench.tell(f"pair {pair + 1} of {pairs}: {names} …")
            with up(bench, {side: engines[side] for side in group}, pair) as servers:
                for side, server in servers.items():
                    made[side] = profiled(bench, server, side, pair)
                    bench.tell(_told(made[side].record, engines[side].label))
        found.append((made["candidate"], made["reference"]))
    return found


@contextmanager
def up(bench: Bench, engines: dict[Side, Engine], pair: int) -> Iterator[dict[Side, RunningServer]]:
    """Inside, the servers are up; afterwards they and their memory are gone."""
    with ExitStack() as stack:
        servers: dict[Side, RunningServer] = {}
        for side, engine in engines.items():
            server = engine.start(bench.device, bench.folder / f"{side}-{pair}.log")
            # Last in, first out: memory can only be back once every server is gone.
            stack.callback(server.await_memory)
            servers[side] = server
        for server in servers.values():
            stack.callback(server.stop)
        for server in servers.values():
            stack.callback(server.begin_stop)
        await_ready(list(servers.values()))
        yield servers


def profiled(bench: Bench, server: RunningServer, side: Side, pair: int) -> Measured:
    """One launch that is up: warmed, timed without the profiler, recorded idle and at work.

    Half of the requests without it come before those with it and half after. Raises
    InfrastructureError.
    """
    folder = bench.folder / "stacks" / f"{side}-{pair}"
    with (
        TimedClient(server.base_url, server.api_key) as client,
        closing(Crowd(server.base_url, server.api_key)) as crowd,
    ):
        work = _work(bench, server, client, crowd, pair)
        pids = server.busy_pids()
        _sent(work, WARM_REQUESTS)
        half = max(1, bench.requests // 2)
        plain = _sent(work, half)
        place = folder / "idle"
        with recorded(bench.program, pids, place, rate_hz=bench.rate_hz, idle=True) as idle:
            time.sleep(IDLE_S)
        recordings: list[Recording] = []
        outcomes: list[Outcome] = []
        while len(outcomes) < bench.requests:
            room = work.prepare()
            place = folder / f"busy-{len(recordings)}"
            with recorded(bench.program, pids, place, rate_hz=bench.rate_hz) as busy:
                outcomes += work.send(min(room, bench.requests - len(outcomes)))
            recordings += busy
        plain += _sent(work, half)
        kernels, kernels_ms = _kernels(bench, server, work, folder)
    server.check_alive()
    invalid = _refuse_another(outcomes, side)
    record = LaunchProfiled(
        side=side,
        pair=pair,
        requests=len(outcomes),
        invalid=invalid,
        plain_ms=_median_ms(plain, side),
        profiled_ms=_median_ms(outcomes, side),
        recorded_s=sum(one.seconds for one in recordings),
        idle_s=idle[0].seconds,
        unread=sum(one.errors for one in recordings),
        kernels_ms=kernels_ms,
    )
    stacks = StackProfile(
        busy_ms=_merged(recordings),
        requests=len(outcomes),
        idle_ms=_merged(idle),
    )
    return Measured(record, stacks, kernels)


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
    while len(sent) < bench.requests:
        room = work.prepare()
        with traced(server.base_url, folder / f"kernels-{len(sent)}") as found:
            sent += work.send(min(room, bench.requests - len(sent)))
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


def _told(record: LaunchProfiled, label: str) -> str:
    return (
        f"{label}: TTFT {record.plain_ms:.2f} ms, {record.profiled_ms:.2f} ms while profiled; "
        f"{record.requests} requests in {record.recorded_s:.1f} s"
    )
