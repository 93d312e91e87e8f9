"""Both sides profiled at one condition: launches in pairs, py-spy on all processes that work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager

from append_prefill.engines.base import Engine, RunningServer
from append_prefill.engines.waiting import await_ready
from append_prefill.probe.plan import abba
from append_prefill.records.cause import LaunchProfiled
from append_prefill.records.grounds import Side
from append_prefill.run.cause.launch import EXACT_REQUESTS, Bench, Launch, Measured

LEGS = 8
"""Of a launch's requests. Two servers that are up together take turns at them, since what a host
does for some seconds has to fall on both: over four pairs of one version TTFT under the profiler
differed by 11, 15, -1 and -4 % where one was taken wholly before the other, and by 2, 2, 2 and 4 %
where they took turns (`python -m benchmarks.function_scatter`). A profiler attaches
in a second, and of 1,600 requests a leg of eight is recorded for some three."""


def measure_pairs(
    bench: Bench, candidate: Engine, reference: Engine, pairs: int
) -> Iterator[tuple[Measured, Measured]]:
    """(candidate, reference) of each pair as soon as it is whole; the order turns (ABBA).

    Both servers of a pair are up together where the profile measures side by side, and take turns
    then. Raises ServerDiedError or InfrastructureError.
    """
    engines: dict[Side, Engine] = {"candidate": candidate, "reference": reference}
    named = dict(zip(engines, told_apart(candidate.label, reference.label), strict=True))
    both: tuple[Side, ...] = ("candidate", "reference")
    for pair in range(pairs):
        sides = abba(both, pair)
        together = [sides] if bench.profile.plan.interleave else [(side,) for side in sides]
        made: dict[Side, Measured] = {}
        for group in together:
            names = " and ".join(named[side] for side in group)
            bench.tell(f"pair {pair + 1} of {pairs}: {names} …")
            with up(bench, {side: engines[side] for side in group}, pair) as servers:
                made |= profiled(bench, servers, pair)
            for side in group:
                bench.tell(_told(made[side].record, named[side]))
        yield made["candidate"], made["reference"]


def told_apart(candidate: str, reference: str) -> tuple[str, str]:
    """Names of both sides that differ, also where a setting is all that does."""
    return candidate, f"{reference} (reference)" if candidate == reference else reference


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


def profiled(
    bench: Bench, servers: Mapping[Side, RunningServer], pair: int
) -> dict[Side, Measured]:
    """Launches that are up: warmed, recorded idle, then in turns timed without the profiler and
    recorded at work.

    Raises InfrastructureError.
    """
    with ExitStack() as stack:
        launches = tuple(
            stack.enter_context(closing(Launch(bench, server, side, pair)))
            for side, server in servers.items()
        )
        for launch in launches:
            launch.warm_up()
        for leg in range(LEGS):
            count = _share(bench.requests, leg)
            plain = _share(min(bench.requests, EXACT_REQUESTS), leg)
            for launch in abba(launches, leg):
                launch.take(count, plain=plain)
        for launch in launches:
            launch.take_kernels()
        return {launch.side: launch.measured() for launch in launches}


def _share(count: int, leg: int) -> int:
    """How many of `count` requests the leg has; all of them together have them all."""
    return count * (leg + 1) // LEGS - count * leg // LEGS


def _told(record: LaunchProfiled, label: str) -> str:
    return (
        f"{label}: TTFT {record.plain_ms:.2f} ms, {record.profiled_ms:.2f} ms while profiled; "
        f"{record.requests} requests in {record.recorded_s:.1f} s"
    )
