"""The GPU around a block, read through NVML: clocks, throttling, co-tenants, ECC.

While a block is measured a thread reads three figures every 200 ms. That disturbs less than a
median can see: the reads take some 0.1-1 ms of another core and release the GIL while they run;
kernel launches go to the device without the driver lock they take. Of the 20-ms samples one in ten
has a read in it, and the stamp of such a sample can wait for at most the Python code between two
reads, tens of µs, 0.2 % of it. Process lists are dearer and are read once a second.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pynvml

from append_prefill.probe.guard import OwnPids, Reading

if TYPE_CHECKING:
    from append_prefill.engines.base import Device

TICK_S = 0.2
TICKS_PER_PROCESS_LIST = 5

REASONS: dict[int, tuple[str, bool]] = {
    # bit: (name, voids)
    # Nothing was running at that moment: the idle time between two requests.
    0x001: ("idle", False),
    # An administrator's clock limit. It does not move within a block, and locked clocks measure
    # better than free ones.
    0x002: ("applications-clocks", False),
    # The power cap at work. On large appends that is how the card runs as specified; the cap is
    # in the identity, so both sides meet the same one, and a version that draws more power is
    # really slower. Voiding it would hide that.
    0x004: ("sw-power-cap", False),
    # The hardware halves the clock or worse (heat, power brake, current spikes): not the software.
    0x008: ("hw-slowdown", True),
    # The clock follows another GPU of a sync group, whose load is not ours.
    0x010: ("sync-boost", True),
    # Heat depends on the room and on the neighbours, and is different tomorrow.
    0x020: ("sw-thermal-slowdown", True),
    0x040: ("hw-thermal-slowdown", True),
    # The power supply asked the card to slow down.
    0x080: ("hw-power-brake", True),
    # Steady settings and limits of the board that always hold at the top clock (old drivers).
    0x100: ("display-clock", False),
    0x200: ("board-limit", False),
    0x400: ("voltage-reliability", False),
}

CLOCK_SPREAD_MAX = 0.05
"""(90th - 10th percentile) / median of the SM clock over the ticks in which the GPU was busy.

A compute-bound prefill takes time as 1 / clock. At 5 % between those percentiles the clock's
standard deviation is 2 % (5 / 2.56), about what samples scatter by anyway; above, the clock is the
largest noise there is. A clock held by its governor moves in 15-MHz steps, 1-2 % in all. Spread
under an active power cap does not void (see `sw-power-cap`).
"""

CLOCK_TICKS_MIN = 5
"""Busy ticks it takes for two percentiles to be more than two readings; one second."""

FOREIGN_MEMORY_MAX_BYTES = 300 * 2**20
"""Memory that no visible process explains. A CUDA context alone takes 400-550 MiB on the cards
this suite is for, so a hidden co-tenant is above; the driver's own use beyond its reserve, and our
allocator's rounding between two reads, stay in the tens of MiB."""

HIDDEN_GROWTH_MAX_BYTES = 512 * 2**20
"""Where processes are hidden, the change of memory in use over a block. The server's pool is
allocated at its start and its activations by the warm-up; the largest activation that a point can
still add (8192 tokens x 14336 x 2 bytes) is 224 MiB, twice that leaves room for the allocator."""

THERMAL_SHARE_MAX = 0.01
"""Share of a block that the driver's own counter gives as thermally slowed. It sees what falls
between two ticks; a hundredth of the samples cannot move a median."""


@dataclass(frozen=True, slots=True)
class _Tick:
    sm_mhz: int | None
    power_w: float | None
    reasons: int | None


@dataclass(frozen=True, slots=True)
class _Edge:
    """Figures read before and after a block only."""

    temperature_c: int | None
    power_cap_w: float | None
    ecc_uncorrected: int | None
    ecc_corrected: int | None
    thermal_ns: int | None
    used_bytes: int | None


@dataclass(slots=True)
class _Tenants:
    """Processes seen on the device over a block."""

    own: set[int] = field(default_factory=set)
    foreign: dict[int, str] = field(default_factory=dict)
    own_seen: bool = False
    unexplained_bytes: int | None = None


class NvmlGauge:
    """See `guard.Gauge`. Without a usable NVML the record says so, and nothing fails."""

    name = "nvml"

    def __init__(self, device: Device, nvml: Any = pynvml, tick_s: float = TICK_S) -> None:
        self._device, self._nvml, self._tick_s = device, nvml, tick_s
        self._absent: str | None = None
        try:
            nvml.nvmlInit()
            self._handle = nvml.nvmlDeviceGetHandleByUUID(device.id)
            # Clocks, power and heat belong to the whole card, also when a slice of it is measured.
            self._card = (
                nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self._handle)
                if device.id.startswith("MIG-")
                else self._handle
            )
        except nvml.NVMLError as error:
            self._absent = f"not available: {error}"

    def identity(self) -> dict[str, Any]:
        """Device, memory, driver, power cap and MIG profile ("off", "1g.10gb"); None if unread."""
        nvml = self._nvml
        values: dict[str, Any] = {
            "device_kind": "cuda",
            "device": self._device.name,
            "memory_bytes": self._device.memory_bytes,
            "compute_capability": None,
            "driver": None,
            "power_cap_w": None,
            "mig": None,
        }
        if self._absent:
            return values
        name = _text(self._ask(nvml.nvmlDeviceGetName, self._handle)) or self._device.name
        capability = self._ask(nvml.nvmlDeviceGetCudaComputeCapability, self._card)
        memory = self._ask(nvml.nvmlDeviceGetMemoryInfo, self._handle)
        device, _, profile = name.partition(" MIG ")
        return values | {
            "device": device,
            "memory_bytes": memory.total if memory else self._device.memory_bytes,
            "compute_capability": ".".join(map(str, capability)) if capability else None,
            "driver": _text(self._ask(nvml.nvmlSystemGetDriverVersion)),
            "power_cap_w": self._watts(nvml.nvmlDeviceGetEnforcedPowerLimit),
            "mig": profile or "off",
        }

    def begin(self, own_pids: OwnPids) -> None:
        if self._absent:
            return
        self._ticks: list[_Tick] = []
        self._tenants = _Tenants()
        self._failure: Exception | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        try:
            self._before = self._edge()
            self._look(own_pids)
        except self._nvml.NVMLError as error:
            self._failure = error
            return
        self._thread = threading.Thread(
            target=self._sample, args=(own_pids,), name="nvml-guard", daemon=True
        )
        self._thread.start()

    def end(self, own_pids: OwnPids) -> Reading:
        if self._absent:
            return Reading(self._absent)
        after = None
        self._stop.set()
        if self._thread:
            self._thread.join()
        if self._failure is None:
            try:
                after = self._edge()
                self._look(own_pids)
            except self._nvml.NVMLError as error:
                self._failure = error
        if isinstance(self._failure, self._nvml.NVMLError):
            failure = f"NVML failed around the block: {self._failure}"
            return Reading(failure, failure)
        if self._failure is not None:
            raise self._failure
        assert after is not None
        return self._judge(after)

    def _sample(self, own_pids: OwnPids) -> None:
        """The thread: until stopped, one light tick, and every fifth time who is on the device."""
        nvml, count = self._nvml, 0
        try:
            while not self._stop.wait(self._tick_s):
                count += 1
                self._ticks.append(
                    _Tick(
                        self._ask(nvml.nvmlDeviceGetClockInfo, self._card, nvml.NVML_CLOCK_SM),
                        self._watts(nvml.nvmlDeviceGetPowerUsage),
                        self._reasons(),
                    )
                )
                if count % TICKS_PER_PROCESS_LIST == 0:
                    self._look(own_pids)
        except Exception as error:  # noqa: BLE001 - judged or raised again by end()
            self._failure = error

    def _look(self, own_pids: OwnPids) -> None:
        """Who is on the device. Graphics-only processes (a display) are left out: a frame every
        16 ms at most is rare on a node that serves, and never new within a block.
        """
        nvml, found, tenants = self._nvml, {}, self._tenants
        for listing in (
            nvml.nvmlDeviceGetComputeRunningProcesses_v3,
            nvml.nvmlDeviceGetMPSComputeRunningProcesses_v3,
        ):
            for process in self._ask(listing, self._handle) or []:
                found[process.pid] = process.usedGpuMemory
        # Walking the process table holds the GIL for milliseconds: only if there is somebody new.
        if found.keys() - tenants.own - tenants.foreign.keys():
            tenants.own |= own_pids()
        tenants.own_seen |= bool(found.keys() & tenants.own)
        for pid in found.keys() - tenants.own - tenants.foreign.keys():
            name = _process_name(pid)
            # The MPS daemon is no tenant: its clients are listed beside it.
            if name != "nvidia-cuda-mps-server":
                tenants.foreign[pid] = name or "name not visible from here"
        used = self._memory()
        if used is not None and found and None not in found.values():
            unexplained = used - sum(found.values())
            worst = tenants.unexplained_bytes
            tenants.unexplained_bytes = unexplained if worst is None else max(worst, unexplained)

    def _judge(self, after: _Edge) -> Reading:
        before, tenants = self._before, self._tenants
        seen: Counter[str] = Counter()
        for tick in self._ticks:
            seen.update(_names(tick.reasons))
        busy = [t.sm_mhz for t in self._ticks if t.sm_mhz and not (t.reasons or 0) & 0x001]
        spread = _spread(busy)
        powers = [t.power_w for t in self._ticks if t.power_w is not None]
        values: dict[str, Any] = {
            "ticks": len(self._ticks),
            "busy_ticks": len(busy),
            "sm_mhz": [min(busy), float(np.median(busy)), max(busy)] if busy else None,
            "sm_spread": spread,
            "clock_reasons": dict(seen),
            "power_w_max": max(powers, default=None),
            "power_cap_w": after.power_cap_w,
            "temperature_c": [before.temperature_c, after.temperature_c],
            "memory_used_bytes": [before.used_bytes, after.used_bytes],
            "memory_unexplained_bytes": tenants.unexplained_bytes,
            "own_processes_visible": tenants.own_seen,
            "other_pids": sorted(tenants.foreign),
            "ecc_corrected": _grown(before.ecc_corrected, after.ecc_corrected),
            "ecc_uncorrected": _grown(before.ecc_uncorrected, after.ecc_uncorrected),
        }
        voids = [
            f"clocks held down by {name} in {seen[name]} of {len(self._ticks)} readings"
            for name, bad in REASONS.values()
            if bad and seen[name]
        ]
        thermal_ns = _grown(before.thermal_ns, after.thermal_ns)
        if thermal_ns is not None and self._ticks:
            share = thermal_ns / 1e9 / (len(self._ticks) * self._tick_s)
            values["thermal_share"] = round(share, 4)
            if share > THERMAL_SHARE_MAX:
                voids.append(
                    f"thermally slowed for {share:.1%} of the block (limit {THERMAL_SHARE_MAX:.0%})"
                )
        if spread is not None and spread > CLOCK_SPREAD_MAX and not seen["sw-power-cap"]:
            voids.append(
                f"the SM clock spread {spread:.1%} ({min(busy)} to {max(busy)} MHz, limit "
                f"{CLOCK_SPREAD_MAX:.0%})"
            )
        if before.power_cap_w != after.power_cap_w:
            # The cap is part of the identity: a block across a change belongs to neither.
            voids.append(f"the power cap moved from {before.power_cap_w} to {after.power_cap_w} W")
        if values["ecc_uncorrected"]:
            # Corrected errors cost one access each and are only recorded; an uncorrected one ends
            # a process or remaps memory.
            voids.append(f"{values['ecc_uncorrected']} uncorrected ECC errors")
        voids += self._cotenants(before, after)
        return Reading(values, "; ".join(voids) or None)

    def _cotenants(self, before: _Edge, after: _Edge) -> list[str]:
        """Processes that are not ours, or where a container hides them, what their memory shows."""
        tenants = self._tenants
        # If ours are listed under their own ids, so are all others, and an unknown id is foreign.
        # If they are not (a container's namespace, a server we only attached to), the ids cannot
        # be told apart.
        if tenants.own_seen and tenants.foreign:
            listed = ", ".join(
                f"{name} (pid {pid})" for pid, name in sorted(tenants.foreign.items())
            )
            return [f"the device is shared with {listed}"]
        if tenants.own_seen:
            unexplained = tenants.unexplained_bytes
            if unexplained is not None and unexplained > FOREIGN_MEMORY_MAX_BYTES:
                return [
                    f"{unexplained / 2**20:.0f} MiB of device memory belong to no visible process "
                    f"(limit {FOREIGN_MEMORY_MAX_BYTES / 2**20:.0f})"
                ]
            return []
        if before.used_bytes is None or after.used_bytes is None:
            return []
        moved = abs(after.used_bytes - before.used_bytes)
        if moved > HIDDEN_GROWTH_MAX_BYTES:
            return [
                f"processes are hidden here and device memory in use moved by {moved / 2**20:.0f} "
                f"MiB in the block (limit {HIDDEN_GROWTH_MAX_BYTES / 2**20:.0f})"
            ]
        return []

    def _edge(self) -> _Edge:
        nvml, card = self._nvml, self._card
        violation = self._ask(
            nvml.nvmlDeviceGetViolationStatus, card, nvml.NVML_PERF_POLICY_THERMAL
        )
        ecc = nvml.nvmlDeviceGetTotalEccErrors
        return _Edge(
            temperature_c=self._ask(nvml.nvmlDeviceGetTemperature, card, nvml.NVML_TEMPERATURE_GPU),
            power_cap_w=self._watts(nvml.nvmlDeviceGetEnforcedPowerLimit),
            ecc_uncorrected=self._ask(
                ecc, card, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
            ),
            ecc_corrected=self._ask(
                ecc, card, nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, nvml.NVML_VOLATILE_ECC
            ),
            thermal_ns=violation.violationTime if violation else None,
            used_bytes=self._memory(),
        )

    def _ask(self, function: Any, *args: Any) -> Any:
        """The figure, or None where this card, slice or driver has none of the kind.

        Any other NVMLError (the GPU is lost, say) goes through.
        """
        nvml = self._nvml
        try:
            return function(*args)
        except nvml.NVMLError as error:
            if error.value in {
                nvml.NVML_ERROR_NOT_SUPPORTED,
                nvml.NVML_ERROR_FUNCTION_NOT_FOUND,
                nvml.NVML_ERROR_NO_PERMISSION,
            }:
                return None
            raise

    def _watts(self, function: Any) -> float | None:
        milliwatts = self._ask(function, self._card)
        return None if milliwatts is None else milliwatts / 1000

    def _memory(self) -> int | None:
        """Bytes in use without the driver's reserve, which only the second version leaves out."""
        nvml = self._nvml
        info = self._ask(nvml.nvmlDeviceGetMemoryInfo, self._handle, nvml.nvmlMemory_v2)
        return info.used if info else None

    def _reasons(self) -> int | None:
        """Bits of `REASONS`. Drivers before 535 know the call under its older name only."""
        nvml = self._nvml
        bits: int | None = self._ask(nvml.nvmlDeviceGetCurrentClocksEventReasons, self._card)
        if bits is None:
            bits = self._ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons, self._card)
        return bits


def _names(bits: int | None) -> list[str]:
    """Names of the bits set; one this suite does not know is recorded and does not void."""
    if bits is None:
        return []
    set_bits = [1 << n for n in range(bits.bit_length()) if bits >> n & 1]
    return [REASONS[bit][0] if bit in REASONS else f"unknown-{bit:#x}" for bit in set_bits]


def _spread(clocks: list[int]) -> float | None:
    if len(clocks) < CLOCK_TICKS_MIN:
        return None
    low, middle, high = np.percentile(clocks, [10, 50, 90])
    return round(float((high - low) / middle), 4)


def _grown(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before


def _process_name(pid: int) -> str | None:
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return None


def _text(value: str | bytes | None) -> str | None:
    return value.decode() if isinstance(value, bytes) else value
