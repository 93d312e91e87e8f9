"""The host around a block: foreign CPU load, stolen time, CPU quota.

The measured server and client may use every core; what makes a block invalid is somebody else's
work.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from append_prefill.probe.guard.gauge import OwnPids, Reading

FOREIGN_SHARE_MAX = 0.10
"""Share of the cores that foreign processes may take.

A load that is always there meets both sides of an interleaved pair and cancels in the ratio. What
does not cancel is a burst in one block. A request runs on about two cores (server, client), so a
foreign share s touches some 2 s of the samples; at 10 % that is a fifth, and the block's median is
then the 62nd percentile (0.5 / 0.8) of the undisturbed samples: 0.3 standard deviations up, some
0.5 % where samples scatter by 1.5 %, under the 1.5 % that is worth a name. At 25 % half of the
samples are touched and the median means nothing. Daemons of an idle machine take 1-3 %.
"""

IDLE_SHARE_ENOUGH = 0.50
"""Foreign load is no contention while this share of the cores idles.

With half of the cores idle the kernel's wake-up path finds an idle core for a waking thread, so
the other workers of an eight-GPU node (2-4 cores each of 100) disturb nobody. On two cores the
exemption ends as soon as a single core is busy.
"""

STEAL_SHARE_MAX = 0.03
"""Share of the wanted CPU time (busy + stolen) that a hypervisor may give to others.

Stolen time spread evenly lengthens every sample by its share. 3 % is `must_catch`: beyond it a
run compared with a stored baseline would report the hypervisor as a regression of SGLang's.
"""

THROTTLED_SHARE_MAX = 0.05
"""Share of the CPU quota's periods (100 ms each) in which the container was stopped.

A throttled period halts every thread until it ends, so that share of the samples, and those that
straddle it, are touched: at 5 % the median is about the 53rd percentile of the others, 0.07
standard deviations up. Above it the quota, not the software, sets the time.
"""

JUDGED_AFTER_S = 0.3
"""Blocks shorter than this are not judged by CPU shares.

Each process's user and system time is cut to ticks of 10 ms on its own: a dozen of them busy makes
an error of some 15 ms (12 x 2 readings of sd 2.9 ms), 2.5 % of 0.3 s on two cores, a quarter of
the limit on foreign load. Over 0.1 s it would be most of it.
"""

STEAL_MIN_S = 0.03
"""Three ticks: less stolen time than that, over all cores, may be rounding."""


@dataclass(frozen=True, slots=True)
class _Process:
    name: str
    parent: int | None
    cpu_s: float


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """Counters at one moment, seconds of CPU since boot over `cores` cores."""

    at_s: float
    cores: int
    all_s: float
    idle_s: float
    steal_s: float
    processes: dict[int, _Process]
    quota: dict[Path, tuple[int, int]]
    mhz: float | None


class HostGauge:
    """See `gauge.Gauge`. `measured`: the CPU is the device, not just what feeds it."""

    name = "host"

    def __init__(
        self,
        *,
        measured: bool,
        ps: Any = psutil,
        root: Path = Path("/"),
        clock: Callable[[], float] = time.monotonic,
        affinity: Callable[[], set[int]] | None = None,
        pid: int | None = None,
    ) -> None:
        self._measured, self._ps, self._root, self._clock = measured, ps, root, clock
        # Read once: while a block is measured the calling thread is kept to a core of its own.
        self._allowed = (affinity or _affinity)()
        self._pid = os.getpid() if pid is None else pid
        self._before: _Snapshot | None = None
        self._own_before: set[int] = set()

    def identity(self) -> dict[str, Any]:
        """CPU model, cores and governor decide a CPU's speed, and nothing else of the host does.

        Not in it: the kernel's patch level and the memory's size (which moves by megabytes with
        it); neither sets the speed of a server whose pool is pinned. For a GPU's host only model
        and governor count: launching kernels takes one fast core, not many.
        """
        model, family = _cpu_model(self._root)
        governor = _read(self._root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
        if not self._measured:
            return {"host_cpu": model, "host_governor": governor}
        return {
            "device_kind": "cpu",
            "device": model,
            # Hypervisors shorten names ("AMD EPYC"): family and model tell the generations apart.
            "cpu_family": family,
            "logical_cores": len(self._allowed),
            "physical_cores": self._ps.cpu_count(logical=False),
            "governor": governor,
        }

    def begin(self, own_pids: OwnPids) -> None:
        self._before = self._snapshot()
        self._own_before = own_pids()

    def end(self, own_pids: OwnPids) -> Reading:
        before, after = self._before, self._snapshot()
        if before is None:
            raise RuntimeError("end() without begin()")
        self._before = None
        # A process that is one of ours at either end is ours: a worker may join or leave.
        roots = {self._pid} | own_pids() | self._own_before
        return _judge(before, after, roots)

    def _snapshot(self) -> _Snapshot:
        times = self._ps.cpu_times(percpu=True)
        # Only the cores we may run on: a pod's share of a big host, not the host.
        allowed = self._allowed
        if max(allowed, default=0) < len(times):
            times = [times[core] for core in sorted(allowed)]
        idle = sum(t.idle + getattr(t, "iowait", 0.0) for t in times)
        steal = sum(getattr(t, "steal", 0.0) for t in times)
        freq = self._ps.cpu_freq()
        return _Snapshot(
            at_s=self._clock(),
            cores=len(times),
            all_s=sum(sum(t) for t in times),
            idle_s=idle,
            steal_s=steal,
            processes=_processes(self._ps),
            quota=_quota(self._root),
            mhz=freq.current if freq else None,
        )


def _judge(before: _Snapshot, after: _Snapshot, roots: set[int]) -> Reading:
    """Compare two snapshots. The CPU frequency is recorded and not judged: virtual machines
    report a nominal value, and an idle core's low clock says nothing of the busy one.
    """
    wall_s = after.at_s - before.at_s
    idle_s = after.idle_s - before.idle_s
    steal_s = after.steal_s - before.steal_s
    # Busy time is what is left of the clock: many kernels only sample it, once a tick, and count
    # idle time exactly.
    capacity_s = wall_s * after.cores
    busy_s = max(0.0, capacity_s - idle_s - steal_s)
    values: dict[str, Any] = {
        "wall_s": round(wall_s, 3),
        "cores": after.cores,
        "cpu_mhz": [before.mhz, after.mhz],
        "foreign_share": None,
        "own_share": None,
        "idle_share": None,
        "steal_share": None,
        "quota": None,
    }
    voids = []
    grown = [
        (after.quota[group][0] - periods, after.quota[group][1] - throttled)
        for group, (periods, throttled) in before.quota.items()
        if group in after.quota
    ]
    if grown:
        periods, throttled = max(grown, key=lambda pair: pair[1])
        values["quota"] = {"periods": periods, "throttled": throttled}
        # Fewer than ten periods are no second of running: one throttle would be 10 %.
        if periods >= 10 and throttled / periods > THROTTLED_SHARE_MAX:
            voids.append(
                f"the CPU quota stopped this container in {throttled} of {periods} periods "
                f"({throttled / periods:.0%}, limit {THROTTLED_SHARE_MAX:.0%})"
            )
    if wall_s < JUDGED_AFTER_S:
        values["not_judged"] = f"a block of {wall_s:.2f} s is shorter than {JUDGED_AFTER_S:g} s"
        return Reading(values, "; ".join(voids) or None)
    if after.all_s <= before.all_s:
        values["not_judged"] = "this system's CPU counters do not move"
        return Reading(values, "; ".join(voids) or None)
    own = _tree(roots, before.processes) | _tree(roots, after.processes)
    spent = _spent(before.processes, after.processes)
    own_s = sum(seconds for pid, seconds in spent.items() if pid in own)
    # Ticks are sampled and a process's time is exact, so the difference can fall just below 0.
    foreign_s = max(0.0, busy_s - own_s)
    idle_share = idle_s / capacity_s
    values |= {
        "foreign_share": round(foreign_s / capacity_s, 4),
        "own_share": round(own_s / capacity_s, 4),
        "idle_share": round(idle_share, 4),
        "steal_share": round(steal_s / (busy_s + steal_s), 4) if busy_s + steal_s > 0 else None,
    }
    if foreign_s / capacity_s > FOREIGN_SHARE_MAX and idle_share < IDLE_SHARE_ENOUGH:
        culprits = _culprits(spent, own, before.processes | after.processes, wall_s)
        values["foreign"] = culprits
        voids.append(
            f"foreign processes took {foreign_s / wall_s:.2f} of {after.cores} cores "
            f"({foreign_s / capacity_s:.0%}, limit {FOREIGN_SHARE_MAX:.0%}) while "
            f"{idle_share:.0%} idled: " + (", ".join(culprits) or "none visible from here")
        )
    if steal_s > max(STEAL_MIN_S, STEAL_SHARE_MAX * (busy_s + steal_s)):
        voids.append(
            f"the hypervisor gave {values['steal_share']:.1%} of the CPU time asked for to others "
            f"(limit {STEAL_SHARE_MAX:.0%})"
        )
    return Reading(values, "; ".join(voids) or None)


def _processes(ps: Any) -> dict[int, _Process]:
    found = {}
    for process in ps.process_iter(["pid", "ppid", "name", "cpu_times"]):
        info = process.info
        times = info["cpu_times"]
        if times is None:  # another user's process under hidepid: foreign, and not nameable
            continue
        # With the time of children that ended and were waited for: none is lost between snapshots.
        cpu_s = times.user + times.system
        cpu_s += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
        found[info["pid"]] = _Process(info["name"] or "?", info["ppid"], cpu_s)
    return found


def _tree(roots: set[int], processes: dict[int, _Process]) -> set[int]:
    """The roots and all their descendants."""
    own = set(roots)
    while True:
        grown = own | {pid for pid, process in processes.items() if process.parent in own}
        if grown == own:
            return own
        own = grown


def _spent(before: dict[int, _Process], after: dict[int, _Process]) -> dict[int, float]:
    """CPU seconds between the snapshots of every process alive at the later one.

    A process that is new spent all it has; one that ended shows in its parent, which counts the
    whole life of it, so what it had spent by the first snapshot is taken off again.
    """
    spent = {
        pid: process.cpu_s - (before[pid].cpu_s if pid in before else 0.0)
        for pid, process in after.items()
    }
    for pid, process in before.items():
        ancestor = process.parent
        while ancestor in before and ancestor not in after:
            ancestor = before[ancestor].parent
        if pid not in after and ancestor in spent:
            spent[ancestor] = max(0.0, spent[ancestor] - process.cpu_s)
    return spent


def _culprits(
    spent: dict[int, float], own: set[int], names: dict[int, _Process], wall_s: float
) -> list[str]:
    """The three busiest foreign processes by name, never their arguments (those hold secrets)."""
    foreign = sorted(
        ((s, pid) for pid, s in spent.items() if pid not in own and s / wall_s >= 0.01),
        reverse=True,
    )
    return [f"{names[pid].name} (pid {pid}) {s / wall_s:.2f} cores" for s, pid in foreign[:3]]


def _affinity() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _quota(root: Path) -> dict[Path, tuple[int, int]]:
    """(periods, throttled periods) of each cgroup with a CPU quota, from ours up to the root.

    Both cgroup versions; an ancestor's quota stops us as well as ours. Empty without a quota.
    """
    found = {}
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mount = root / "sys/fs/cgroup"
        elif "cpu" in controllers.split(","):
            mount = root / "sys/fs/cgroup" / controllers
        else:
            continue
        folder = mount / path.lstrip("/")
        for place in (folder, *folder.parents):
            text = _read(place / "cpu.stat")
            stat = dict(pair.split(" ", 1) for pair in text.splitlines()) if text else {}
            if int(stat.get("nr_periods", 0)) > 0:
                found[place] = (int(stat["nr_periods"]), int(stat["nr_throttled"]))
            if place == mount:
                break
    return found


def _cpu_model(root: Path) -> tuple[str | None, str | None]:
    """Model name, and "vendor family/model"; each None where the system does not tell."""
    fields: dict[str, str] = {}
    family: str | None
    for line in (_read(root / "proc/cpuinfo") or "").splitlines():
        key, colon, value = line.partition(":")
        if not colon:
            break  # the first core's paragraph is enough
        fields[key.strip()] = value.strip()
    if "vendor_id" in fields:
        family = f"{fields['vendor_id']} {fields.get('cpu family')}/{fields.get('model')}"
    else:
        family = fields.get("CPU part")
    return fields.get("model name") or platform.processor() or None, family


def _read(path: Path) -> str | None:
    """A kernel file's text, None where this system has none or does not let us read it."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
