"""The gate at which the workers of a server wait before they touch the device."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

_HOOK = Path(__file__).parent / "hook"
# A process that imports keeps a core busy, ten times as much as this; one that waits takes nothing.
# Over half a second it is five of the ticks of 10 ms that CPU times are counted in.
_QUIET_S = 0.5
_QUIET_CORES = 0.1


class Gate:
    """One server's gate, closed at first; its files are in `folder`.

    `at` is the function (`module:function`) that waits there, in whichever process of the server it
    is called: see `hook/sitecustomize.py`.
    """

    def __init__(self, folder: Path, at: str) -> None:
        self._pipe, self._at = folder / "gate", at
        self._opened: int | None = None
        os.mkfifo(self._pipe, 0o600)

    def env(self, env: Mapping[str, str]) -> dict[str, str]:
        """The environment of a server that has this gate."""
        path = os.pathsep.join(filter(None, [str(_HOOK), env.get("PYTHONPATH")]))
        gate = {"APPEND_PREFILL_GATE": str(self._pipe), "APPEND_PREFILL_GATE_AT": self._at}
        return {**env, **gate, "PYTHONPATH": path}

    @property
    def reached(self) -> bool:
        """Whether a process has come to the gate, be it closed or open."""
        return self._pipe.with_name(f"{self._pipe.name}.reached").exists()

    def open(self) -> None:
        """Let everybody through, those who wait and those who come later.

        Raises FileNotFoundError if the gate is gone, as it is with its server.
        """
        if self._opened is None:
            # For reading too: to open a pipe for writing alone takes a reader.
            self._opened = os.open(self._pipe, os.O_RDWR)

    def close(self) -> None:
        """Forget it; for a server that is gone."""
        if self._opened is not None:
            os.close(self._opened)
            self._opened = None


class Quiet:
    """Whether processes have stopped working, seen by the CPU time they take."""

    def __init__(self) -> None:
        self._seen: tuple[float, float] | None = None

    def poll(self, pids: Iterable[int]) -> bool:
        """Whether they took next to none since a call that was at least half a second ago."""
        at, cpu_s = time.monotonic(), _cpu_s(pids)
        if self._seen is None:
            self._seen = at, cpu_s
            return False
        over_s = at - self._seen[0]
        if over_s < _QUIET_S:
            return False
        quiet = cpu_s - self._seen[1] < _QUIET_CORES * over_s
        self._seen = at, cpu_s
        return quiet


def _cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds that processes have taken; of those that are gone none."""
    total = 0.0
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            times = psutil.Process(pid).cpu_times()
            total += times.user + times.system
    return total
