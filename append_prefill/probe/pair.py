"""What disaggregation adds to an append-prefill's TTFT: a P/D pair beside one server alone.

Three servers of one version on one device: one alone, one that prefills, one that decodes and is
sent the KV cache. Both ways prime L tokens and then time L + m, the pair's first token being the
decode server's. All L + m tokens are moved, since the decode server keeps no prefix cache.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from append_prefill.engines.base import Device, Engine, RunningServer
from append_prefill.engines.halves import ROLES, part_of_pair
from append_prefill.engines.ports import free_port, give_back
from append_prefill.engines.waiting import await_ready
from append_prefill.errors import InfrastructureError, ServerDiedError
from append_prefill.probe.client import TimedClient
from append_prefill.probe.guard.watch import Guard
from append_prefill.probe.sample import Times, result_of
from append_prefill.probe.timing import Timing
from append_prefill.records.pd_pair import PairBackend, PairLaunch, PairSeries
from append_prefill.workload.pd_pair import PdPair
from append_prefill.workload.points import Point
from append_prefill.workload.prompts import PromptSource

WARM_ROUNDS = 3
"""Rounds over all points that are not kept: what a shape, or a first transfer, has to set up."""

ROOM_BITS = 62
"""Of a bootstrap room's number, which SGLang holds in 64 bits with a sign."""


@dataclass(frozen=True)
class Bed:
    """What all launches of a pair share: whose version, on what, at which points, logged where."""

    engine: Engine
    device: Device
    guard: Guard
    plan: PdPair
    folder: Path
    vocab_size: int
    seed: int
    output_tokens: int
    tell: Callable[[str], None]


def measure_backend(
    bed: Bed, backend: str, launches: Sequence[PairLaunch] = ()
) -> Iterator[PairBackend]:
    """One transfer backend behind `launches`, anew after each further launch, the last being whole.

    Where a launch comes to nothing no further one is tried; the reason of the first is the
    backend's. What goes wrong is told, not raised.
    """
    measured = list(launches)
    while more_to_measure(measured, bed.plan):
        bed.tell(f"P/D pair over {backend}, launch {len(measured) + 1}: starting three servers")
        measured.append(_measure(bed, backend, len(measured)))
        failure = measured[-1].failure
        if failure is not None:
            bed.tell(f"P/D pair over {backend}: {failure}")
        whole = any(launch.failure is None for launch in measured)
        yield PairBackend(
            backend=backend, launches=measured, reason=None if whole else measured[-1].failure
        )


def more_to_measure(launches: Sequence[PairLaunch], plan: PdPair) -> bool:
    """Whether a backend with these launches is not as the plan has it yet."""
    failed = any(launch.failure is not None for launch in launches)
    return len(launches) < plan.launches and not failed


def _measure(bed: Bed, backend: str, index: int) -> PairLaunch:
    taken = [_Taken(point) for point in bed.plan.as_points]
    failure, began_s = None, time.monotonic()
    try:
        with ExitStack() as stack:
            ways = _bring_up(bed, backend, index, stack)
            _rounds(bed, ways, taken, index)
    except ServerDiedError as error:
        failure = told_by_log(error)
    except InfrastructureError as error:
        failure = str(error)
    return PairLaunch(
        index=index,
        series=[one.series() for one in taken],
        failure=failure,
        took_s=time.monotonic() - began_s,
    )


def told_by_log(error: ServerDiedError) -> str:
    """The line of a server's log that says why it ended; what the suite saw where none does.

    The last that names an error is nearest to the cause: what follows are other processes that end
    because of it.
    """
    lines = [line.strip() for line in error.log_tail.splitlines()]
    telling = [line for line in lines if _names_error(line)]
    return telling[-1] if telling else str(error).splitlines()[0]


def _names_error(line: str) -> bool:
    name = line.partition(":")[0].rpartition(" ")[2]
    return name.endswith(("Error", "Exception")) or "error: argument" in line


class _Ways:
    """Both ways to serve a request: one server, or a prefill and a decode server."""

    def __init__(self, servers: dict[str, RunningServer], bootstrap_port: int) -> None:
        self._clients = {
            role: TimedClient(server.base_url, server.api_key) for role, server in servers.items()
        }
        self.page_tokens = servers["alone"].describe().page_size_tokens
        self._servers = list(servers.values())
        self._bootstrap_port = bootstrap_port
        self._pool = ThreadPoolExecutor(1)
        self._rooms = random.Random(bootstrap_port)  # noqa: S311  # numbers, not secrets

    def close(self) -> None:
        self._pool.shutdown()
        for client in self._clients.values():
            client.close()

    def pids(self) -> set[int]:
        return set().union(*(server.pids() for server in self._servers))

    def flush(self) -> None:
        for client in self._clients.values():
            client.flush_cache()

    def alone(self, ids: Sequence[int], output_tokens: int) -> Timing:
        return self._clients["alone"].generate(ids, max_new_tokens=output_tokens)

    def pair(self, ids: Sequence[int], output_tokens: int) -> Timing:
        """The decode server's timing; the prefill server gets the request at the same time.

        Raises InfrastructureError where that one refuses it: the decode server waits in vain.
        """
        fields = {
            "bootstrap_host": "127.0.0.1",
            "bootstrap_port": self._bootstrap_port,
            "bootstrap_room": self._rooms.getrandbits(ROOM_BITS),
        }

        def send(role: str) -> Timing:
            return self._clients[role].generate(ids, max_new_tokens=output_tokens, fields=fields)

        prefill = self._pool.submit(send, "prefill")
        timing = send("decode")
        error = prefill.result().error
        if error is not None:
            raise InfrastructureError(f"the prefill server: {error}")
        return timing


@dataclass
class _Taken:
    """What was measured at one point."""

    point: Point
    alone_ms: list[float] = field(default_factory=list)
    pair_ms: list[float] = field(default_factory=list)
    void: int = 0

    def add(self, found: dict[str, Times | str], *, counts: bool) -> None:
        """`counts`: whether the device was the run's own meanwhile."""
        alone, pair = found["alone"], found["pair"]
        if counts and isinstance(alone, Times) and isinstance(pair, Times):
            self.alone_ms.append(alone.ttft_ms)
            self.pair_ms.append(pair.ttft_ms)
        else:
            self.void += 1

    def series(self) -> PairSeries:
        return PairSeries(
            context_tokens=self.point.context_tokens,
            append_tokens=self.point.append_tokens,
            alone_ms=self.alone_ms,
            pair_ms=self.pair_ms,
            void=self.void,
        )


def _bring_up(bed: Bed, backend: str, index: int, stack: ExitStack) -> _Ways:
    port = free_port()
    stack.callback(give_back, port)
    servers: dict[str, RunningServer] = {}
    stack.callback(lambda: _end(list(servers.values())))
    for role in ROLES:
        engine = part_of_pair(
            bed.engine,
            role,
            backend=backend,
            bootstrap_port=port,
            server_args=bed.plan.server_args,
        )
        servers[role] = engine.start(bed.device, bed.folder / f"pd-{backend}-{index}-{role}.log")
    await_ready(list(servers.values()))
    ways = _Ways(servers, port)
    stack.callback(ways.close)
    return ways


def _end(servers: Sequence[RunningServer]) -> None:
    """All of them side by side; memory can only be back once every one is gone."""
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.await_memory)
        for server in servers:
            stack.callback(server.stop)
        for server in servers:
            stack.callback(server.begin_stop)


def _rounds(bed: Bed, ways: _Ways, taken: Sequence[_Taken], index: int) -> None:
    """Points in random order, both ways at each one after the other, in random order as well."""
    draw = random.Random(f"{bed.seed} {index}")  # noqa: S311  # an order, not secrets
    prompts = PromptSource((bed.seed, index, 3), bed.vocab_size)
    both = {"alone": ways.alone, "pair": ways.pair}
    for number in range(-WARM_ROUNDS, bed.plan.samples):
        ways.flush()
        round_: list[tuple[_Taken, dict[str, Times | str]]] = []
        with bed.guard.watch(number, "candidate", ways.pids) as watch:
            for one in draw.sample(list(taken), len(taken)):
                found: dict[str, Times | str] = {}
                for name in draw.sample(sorted(both), 2):
                    context, new = prompts.draw(one.point)
                    both[name](context, bed.output_tokens)
                    timing = both[name](context + new, bed.output_tokens)
                    found[name] = result_of(timing, one.point, ways.page_tokens, bed.output_tokens)
                round_.append((one, found))
        for one, found in round_ if number >= 0 else ():
            one.add(found, counts=watch.state.void is None)
