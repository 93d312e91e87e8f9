"""Which core each busy thread gets: a pure choice from a topology, by seed.

A core is not as fast as the next one, and not as fast as a second ago, where another tenant's work
shares its hardware: on two hosts of an H100 half of the cores took 1.8 times as long for the same
loop, another half every few seconds. Both servers of a pair therefore use the same cores in turn,
and which cores these are is drawn anew every other round, so that none stays with a launch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from append_prefill.probe.placement.topology import Topology
from append_prefill.workload.profile import PlacementPolicy

SERVER_THREADS = 3
"""Busy threads of one server: HTTP and tokenizer, scheduler, detokenizer."""

REST_CORES = 1
"""Cores kept for every other thread (sockets, the driver, the state guard): they work in bursts of
microseconds, so one core serves them, and what is left over beyond the busy ones is theirs too."""

# Keeps this stream of random numbers apart from those of the points' order and the prompts.
_STREAM = 2


@dataclass(frozen=True, slots=True)
class Placement:
    """Cores, as numbers of hardware threads; `server` has one for each busy thread of a server."""

    client: int
    server: tuple[int, ...]
    rest: tuple[int, ...]


def cores_needed(threads: int = SERVER_THREADS) -> int:
    """Physical cores that placing takes, with `threads` busy ones per server."""
    return 1 + threads + REST_CORES


def refusal(
    policy: PlacementPolicy, topology: Topology, threads: int = SERVER_THREADS
) -> str | None:
    """Why threads cannot be placed, or None."""
    if policy == "off":
        return "off in the profile"
    need = cores_needed(threads)
    if topology.usable >= need:
        return None
    quota = topology.quota_cores
    limit = "" if quota is None else f" and a CPU quota of {quota:g}"
    return (
        f"too few cores: {len(topology.cores)} for this device{limit}, {need} are needed to keep "
        f"{threads} busy threads and the client apart"
    )


def draw(topology: Topology, *, threads: int, seed: Sequence[int], turn: int) -> Placement:
    """The placement of one round of blocks, `turn` counting the rounds of a pair from 0.

    Two rounds share a draw: in the second one the sides are measured in the other order. Only the
    first hardware thread of a core is used; the others stay empty. Raises ValueError for too few
    cores.
    """
    if (why := refusal("turns", topology, threads)) is not None:
        raise ValueError(why)
    order = np.random.default_rng([*seed, turn // 2, _STREAM]).permutation(len(topology.cores))
    cores = [topology.cores[i] for i in order]
    first = [core[0] for core in cores[: 1 + threads]]
    rest = tuple(sorted(cpu for core in cores[1 + threads :] for cpu in core))
    return Placement(first[0], tuple(first[1:]), rest)
