"""Moves threads to the cores drawn for them, and puts them back.

`sched_setaffinity` on one's own threads needs no privilege. A mask ends with its thread, so a run
that is killed leaves none behind.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from append_prefill.probe.placement.draw import draw, refusal
from append_prefill.probe.placement.topology import Topology
from append_prefill.records.grounds import Side
from append_prefill.workload.profile import PlacementPolicy

SetAffinity = Callable[[int, Collection[int]], None]


class PlacementError(Exception):
    """A thread could not be put where it was to run; the text says which and why."""


class Placer:
    """Places the client and the servers of one pair. `seed` decides every draw.

    `busy` gives by side the busy threads of each server by role. The calling thread is the client.
    """

    def __init__(
        self,
        policy: PlacementPolicy,
        topology: Topology,
        seed: Sequence[int],
        *,
        set_affinity: SetAffinity = os.sched_setaffinity,
    ) -> None:
        self._policy, self._topology, self._seed = policy, topology, tuple(seed)
        self._set = set_affinity
        self._measuring = False
        # By process: the masks that its threads had when it was first seen.
        self._before: dict[int, dict[int, set[int]]] = {}
        self._masks: dict[int, frozenset[int]] = {}

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Around the blocks of a pair: afterwards every thread may run where it might before."""
        self._measuring = True
        try:
            yield
        finally:
            self._measuring = False
            self._restore()

    def place(
        self, turn: int, busy: Mapping[Side, Mapping[str, int]], pids: Collection[int]
    ) -> dict[str, Any] | str:
        """Put every thread in its place for round `turn`; the placement, for the record.

        `pids`: every process of the servers; their threads that are not busy ones, and this
        process's own, share the rest. Returns a sentence instead where nothing was placed. Raises
        PlacementError for a core that was taken from us meanwhile.
        """
        threads = max((len(roles) for roles in busy.values()), default=0)
        if self._policy != "off" and threads == 0:
            return "the servers' threads cannot be seen from here"
        if (why := refusal(self._policy, self._topology, threads)) is not None:
            return why
        if not self._measuring:
            raise RuntimeError("place() outside measuring()")
        placement = draw(self._topology, threads=threads, seed=self._seed, turn=turn)
        client = threading.get_native_id()
        wanted = {client: frozenset({placement.client})}
        record: dict[str, Any] = {"policy": self._policy, "client": placement.client}
        for side, roles in busy.items():
            named = dict(zip(sorted(roles), placement.server, strict=False))
            wanted |= {roles[role]: frozenset({core}) for role, core in named.items()}
            record[side] = named
        rest = frozenset(placement.rest)
        for pid in {os.getpid(), *pids}:
            threads_there = threads_of(pid)
            self._before.setdefault(pid, _masks_of(threads_there))
            for thread in threads_there:
                wanted.setdefault(thread, rest)
        for thread, mask in wanted.items():
            self._move(thread, mask)
        return record | {"rest": sorted(rest)}

    def try_to_place(
        self,
        turn: int,
        busy: Mapping[Side, Mapping[str, int]],
        pids: Callable[[], Collection[int]],
    ) -> tuple[dict[str, Any] | str, str | None]:
        """As `place`, for a block: the placement, and why the block is invalid, or None.

        A block whose threads were not where the others' were is another kind of sample.
        """
        try:
            return self.place(turn, busy, pids()), None
        except PlacementError as error:
            return str(error), str(error)

    def _restore(self) -> None:
        """Every thread's own mask; one that came later inherited ours and gets its process's."""
        for pid, masks in self._before.items():
            for thread in threads_of(pid):
                mask = masks.get(thread, masks.get(pid))
                if mask is not None:
                    with contextlib.suppress(ProcessLookupError):
                        self._set(thread, mask)
        self._before, self._masks = {}, {}

    def _move(self, thread: int, mask: frozenset[int]) -> None:
        if self._masks.get(thread) == mask:
            return
        try:
            self._set(thread, mask)
        except ProcessLookupError:
            return  # ended meanwhile
        except OSError as error:
            raise PlacementError(
                f"thread {thread} cannot be put on core {sorted(mask)}: {error.strerror}"
            ) from error
        self._masks[thread] = mask


def threads_of(pid: int) -> set[int]:
    """Ids of a process's threads; empty once it is gone."""
    try:
        return {int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()}
    except (FileNotFoundError, ProcessLookupError):
        return set()


def _masks_of(threads: Collection[int]) -> dict[int, set[int]]:
    masks = {}
    for thread in threads:
        with contextlib.suppress(ProcessLookupError):
            masks[thread] = os.sched_getaffinity(thread)
    return masks
