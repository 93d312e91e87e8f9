"""The cores a run may use: what the kernel allows, near the device, its share of them.

Everything is read from `/sys` and `/proc` below a root that tests replace. Linux, as SGLang is.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from append_prefill.engines.base import Device
from append_prefill.engines.devices import gpu_addresses

_ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class Topology:
    """Physical cores, each as the hardware threads of it that may be used; at least one each.

    `quota_cores`: how many of them the container may keep busy at once, None without a limit.
    """

    cores: tuple[tuple[int, ...], ...]
    quota_cores: float | None = None

    @property
    def usable(self) -> int:
        """Cores that can work at the same time."""
        count = len(self.cores)
        return count if self.quota_cores is None else min(count, math.floor(self.quota_cores))


def topology_of(
    device: Device, *, root: Path = _ROOT, allowed: Iterable[int] | None = None
) -> Topology:
    """The cores for a run on `device`.

    `allowed` (default: this thread's affinity, which a cgroup's cpuset narrows) is cut to the NUMA
    node the GPU hangs on, and of that to one part for each GPU there, so that runs on neighbouring
    GPUs stay off each other's cores without having to talk. A machine that does not tell where a
    GPU hangs is taken as one node.
    """
    usable = set(os.sched_getaffinity(0) if allowed is None else allowed)
    index, count = 0, 1
    addresses = gpu_addresses() if device.kind == "cuda" else {}
    if device.id in addresses:
        near = _cores_near(root, addresses[device.id])
        if usable & near:
            usable &= near
            beside = sorted({a for a in addresses.values() if _cores_near(root, a) == near})
        else:
            beside = sorted(set(addresses.values()))
        index, count = beside.index(addresses[device.id]), len(beside)
    cores = physical_cores(usable, root)
    return Topology(part(cores, index, count), quota_cores(root))


def physical_cores(allowed: Iterable[int], root: Path = _ROOT) -> tuple[tuple[int, ...], ...]:
    """The hardware threads of each physical core that are allowed, in order.

    Where the kernel does not say who shares a core, every thread counts as one of its own.
    """
    usable = set(allowed)
    found: dict[tuple[int, ...], None] = {}
    for cpu in sorted(usable):
        path = root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        siblings = cpu_list(_read(path) or str(cpu))
        found[tuple(sorted((siblings & usable) | {cpu}))] = None
    return tuple(found)


def part(cores: Sequence[tuple[int, ...]], index: int, count: int) -> tuple[tuple[int, ...], ...]:
    """The index-th of `count` parts, equal to a core."""
    first, last = (len(cores) * i // count for i in (index, index + 1))
    return tuple(cores[first:last])


def cpu_list(text: str) -> set[int]:
    """The numbers of a kernel list such as `0-3,8`. Raises ValueError for anything else."""
    found: set[int] = set()
    for entry in filter(None, text.strip().split(",")):
        first, dash, last = entry.partition("-")
        found |= set(range(int(first), int(last if dash else first) + 1))
    return found


def quota_cores(root: Path = _ROOT) -> float | None:
    """CPU time a second that our cgroup and its parents leave us, in cores; None if unlimited."""
    limits = []
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / controllers
        folder = mount / path.lstrip("/")
        for place in (folder, *folder.parents):
            if controllers:
                quota = _read(place / "cpu.cfs_quota_us")
                period = _read(place / "cpu.cfs_period_us")
            else:
                quota, _, period = (_read(place / "cpu.max") or "max ").partition(" ")
            # "max" and -1 say that there is no limit.
            if quota and period and quota.isdigit():
                limits.append(int(quota) / int(period))
            if place == mount:
                break
    return min(limits, default=None)


def _cores_near(root: Path, address: str) -> set[int]:
    return cpu_list(_read(root / f"sys/bus/pci/devices/{address}/local_cpulist") or "")


def _read(path: Path) -> str | None:
    """A kernel file's text, None where this system has none or does not let us read it."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
