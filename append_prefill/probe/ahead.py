"""The servers of the next pair, launched while this one comes up, and held until their turn.

An SGLang server imports itself twice, one process after the other, before it touches its device,
and on a GPU that is most of a launch. Here the next servers do it while those at hand load and warm
up, which is no time that is measured, and then wait without device, port or CPU time
(`engines.gate`). Every launch stays a set of fresh processes, so the replicates are what they were.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from append_prefill.engines.base import Engine, HeldServer
from append_prefill.engines.waiting import await_held, await_reached
from append_prefill.errors import ServerDiedError
from append_prefill.probe.bench import Bench
from append_prefill.probe.launch import Launch
from append_prefill.records.grounds import Side

IMPORTING_CORES = 4
"""Two servers import at a time, of each the scheduler and the detokenizer side by side."""

LAUNCHING_CORES = 2
"""What the servers at hand need meanwhile: a core for each scheduler that loads, then about two for
the requests of the warm-up, which come one at a time."""

SideEngine = tuple[Side, Engine]


def refusal(bench: Bench) -> str | None:
    """Why no servers are launched ahead, or None."""
    if not bench.profile.launch.ahead:
        return "off in the profile"
    need = IMPORTING_CORES + LAUNCHING_CORES
    if bench.topology.usable >= need:
        return None
    # The imports would take the cores that the launch at hand needs, and end no sooner.
    return f"too few cores: {bench.topology.usable} for this device, {need} are needed"


@dataclass(frozen=True, slots=True)
class _Held:
    side: Side
    engine: Engine
    server: HeldServer
    log_path: Path


class Ahead:
    """What is launched ahead on one device; a context manager that ends what is left of it.

    Held servers are only there to save time: whatever goes wrong with them, they are ended, and
    pairs are launched as without from then on.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._held: list[_Held] = []
        # Whose servers were seen at their gate: another one will stop there.
        self._proven: list[Engine] = []
        self._off = refusal(bench)
        if self._off is not None and bench.profile.launch.ahead:
            bench.tell(f"no servers are launched ahead: {self._off}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def pids(self) -> set[int]:
        """Every process of the servers that are held."""
        return set().union(*(held.server.pids() for held in self._held))

    def bring_up(
        self, launches: Sequence[Launch], following: Callable[[], Sequence[SideEngine]]
    ) -> None:
        """Start the servers of `launches`, from those held if they are, then launch the next.

        `following`: whose servers come next, empty if that is not known. It is asked when those of
        `launches` are past their gate, so that no more than one pair imports at a time. Raises
        ServerDiedError for a server of `launches` that ended.
        """
        if self._off is not None:
            for launch in launches:
                launch.bring_up()
            return
        taken = self._take(launches)
        gated = []
        with ExitStack() as on_failure:
            for server in taken.values():
                on_failure.callback(server.stop)
            for launch in launches:
                held = taken.get(launch.start.side) or launch.hold()
                if held is not None:
                    on_failure.callback(held.stop)
                    gated.append(held)
                launch.bring_up(held)
            on_failure.pop_all()
        if self._off is None and len(gated) == len(launches):
            self._launch_next(launches, gated, following)

    def settle(self) -> float | None:
        """Return once nothing that is held works any more: before anything is measured.

        Seconds that this took; None where nothing is held.
        """
        if not self._held:
            return None
        began_s = time.monotonic()
        try:
            await_held([held.server for held in self._held])
        except ServerDiedError as error:
            self._give_up(error)
        return time.monotonic() - began_s

    def _take(self, launches: Sequence[Launch]) -> dict[Side, HeldServer]:
        """The servers held for exactly these launches, by side, else none.

        So both sides of a pair are launched the same way.
        """
        if {held.side: held.engine for held in self._held} != {
            launch.start.side: launch.engine for launch in launches
        }:
            self._end()
        try:
            for held in self._held:
                held.server.poll_held()
        except ServerDiedError as error:
            self._give_up(error)
        taken = {held.side: held.server for held in self._held}
        self._held = []
        return taken

    def _launch_next(
        self,
        launches: Sequence[Launch],
        gated: Sequence[HeldServer],
        following: Callable[[], Sequence[SideEngine]],
    ) -> None:
        if not await_reached(gated, [launch.server for launch in launches]):
            # Such a server would not wait, and come up on the device beside those at hand.
            self._off = "this version's servers do not come by the gate"
            self._bench.tell(f"no servers are launched ahead: {self._off}")
            return
        self._proven += [launch.engine for launch in launches]
        engines = following()
        if not all(engine in self._proven for _, engine in engines):
            return
        for side, engine in engines:
            # Other workers may share the folder. Its lasting name the log gets at its turn.
            log_path = self._bench.folder / f"held-{os.getpid()}-{side}.log"
            server = engine.hold(self._bench.device, log_path)
            if server is not None:
                self._held.append(_Held(side, engine, server, log_path))

    def _give_up(self, error: ServerDiedError) -> None:
        self._off = str(error).partition("\n")[0]
        self._bench.tell(f"no servers are launched ahead any more: {self._off}")
        self._end()

    def _end(self) -> None:
        with ExitStack() as stack:
            for held in self._held:
                held.server.begin_stop()
                stack.callback(held.log_path.unlink, missing_ok=True)
                stack.callback(held.server.stop)
            self._held = []
