"""The GPU around a block, read through NVML: clocks, throttling, co-tenants, ECC.

While a block is measured a thread reads three numbers every 200 ms. That disturbs less than a
median can see: the reads take some 0.1-1 ms of another core and release the GIL while they run;
kernel launches go to the device without the driver lock they take. Of the 20-ms samples one in ten
has a read in it, and the stamp of such a sample can wait for at most the Python code between two
reads, tens of µs, 0.2 % of it. Process lists are dearer and are read once a second. What the
numbers mean for the block is in `nvml_rules`.
"""

from __future__ import annotations

import threading
from typing import Any

import psutil
import pynvml

from append_prefill.engines.base import Device
from append_prefill.probe.guard.gauge import OwnPids, Reading
from append_prefill.probe.guard.nvml_rules import Edge, Moment, Tenants, reading_of

TICK_S = 0.2
TICKS_PER_PROCESS_LIST = 5


class NvmlGauge:
    """See `gauge.Gauge`. Without a usable NVML the record says so, and nothing fails."""

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
        self._ticks: list[Moment] = []
        self._tenants = Tenants()
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
        return reading_of(self._ticks, self._tick_s, self._tenants, self._before, after)

    def _sample(self, own_pids: OwnPids) -> None:
        """The thread: until stopped, one light tick, and every fifth time who is on the device."""
        nvml, count = self._nvml, 0
        try:
            while not self._stop.wait(self._tick_s):
                count += 1
                self._ticks.append(
                    Moment(
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

    def _edge(self) -> Edge:
        nvml, card = self._nvml, self._card
        violation = self._ask(
            nvml.nvmlDeviceGetViolationStatus, card, nvml.NVML_PERF_POLICY_THERMAL
        )
        ecc = nvml.nvmlDeviceGetTotalEccErrors
        return Edge(
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
        """The value, or None where this card, slice or driver has none of the kind.

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


def _process_name(pid: int) -> str | None:
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return None


def _text(value: str | bytes | None) -> str | None:
    return value.decode() if isinstance(value, bytes) else value
