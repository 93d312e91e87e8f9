# ruff: noqa: N802, N815
"""Clocks, throttling, co-tenants and ECC, on a fake pynvml."""

import threading
import time
from types import SimpleNamespace

import pytest

from append_prefill.probe.guard.nvml import NvmlGauge
from append_prefill.probe.guard.nvml_rules import REASONS

GIB = 2**30
OWN = 4_100_001  # above the kernel's largest process id: never a live process's
FOREIGN = 4_100_002
POWER_CAP, HW_THERMAL, IDLE = 0x004, 0x040, 0x001


class NVMLError(Exception):
    def __init__(self, value: int, text: str = "") -> None:
        self.value = value
        super().__init__(text or f"error {value}")


class FakeNvml:
    """The part of pynvml that the guard calls; a test sets the numbers.

    `missing` names functions that answer "not supported". `sm_mhz` and `reasons` are cycled.
    """

    NVMLError = NVMLError
    NVML_ERROR_NOT_SUPPORTED, NVML_ERROR_NO_PERMISSION = 3, 4
    NVML_ERROR_FUNCTION_NOT_FOUND, NVML_ERROR_GPU_IS_LOST = 13, 15
    NVML_CLOCK_SM, NVML_TEMPERATURE_GPU, NVML_PERF_POLICY_THERMAL = 1, 0, 1
    NVML_MEMORY_ERROR_TYPE_CORRECTED, NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 0, 1
    NVML_VOLATILE_ECC, nvmlMemory_v2 = 0, 0x02000028

    def __init__(self) -> None:
        self.missing: set[str] = set()
        self.sm_mhz, self.reasons = [1980, 1965], [0]
        self.cap_mw, self.temperature = 700_000, 55
        self.ecc = {0: 0, 1: 0}
        self.thermal_ns = 0
        self.processes = {OWN: 100 * GIB}
        self.used = 100 * GIB
        self.name = b"NVIDIA H200"
        self.lost = False
        self.ticks = 0

    def __getattribute__(self, name: str):
        if name.startswith("nvml") and name in object.__getattribute__(self, "missing"):

            def refuse(*_):
                raise NVMLError(self.NVML_ERROR_NOT_SUPPORTED)

            return refuse
        return object.__getattribute__(self, name)

    def nvmlInit(self):
        pass

    def nvmlDeviceGetHandleByUUID(self, uuid):
        return f"handle of {uuid}"

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle):
        return "card"

    def nvmlSystemGetDriverVersion(self):
        return "580.159.04"

    def nvmlDeviceGetName(self, handle):
        return self.name

    def nvmlDeviceGetCudaComputeCapability(self, handle):
        return (9, 0)

    def nvmlDeviceGetEnforcedPowerLimit(self, handle):
        return self.cap_mw

    def nvmlDeviceGetPowerUsage(self, handle):
        return 412_500

    def nvmlDeviceGetClockInfo(self, handle, kind):
        if self.lost:
            raise NVMLError(self.NVML_ERROR_GPU_IS_LOST, "GPU is lost")
        self.ticks += 1
        return self.sm_mhz[self.ticks % len(self.sm_mhz)]

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle):
        return self.reasons[self.ticks % len(self.reasons)]

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle):
        return self.reasons[0]

    def nvmlDeviceGetTemperature(self, handle, sensor):
        return self.temperature

    def nvmlDeviceGetTotalEccErrors(self, handle, kind, counter):
        return self.ecc[kind]

    def nvmlDeviceGetViolationStatus(self, handle, policy):
        return SimpleNamespace(violationTime=self.thermal_ns)

    def nvmlDeviceGetMemoryInfo(self, handle, version=None):
        return SimpleNamespace(total=141 * GIB, used=self.used)

    def nvmlDeviceGetComputeRunningProcesses_v3(self, handle):
        return [SimpleNamespace(pid=p, usedGpuMemory=m) for p, m in self.processes.items()]

    def nvmlDeviceGetMPSComputeRunningProcesses_v3(self, handle):
        return []


DEVICE = SimpleNamespace(kind="cuda", id="GPU-1", name="NVIDIA H200", memory_bytes=141 * GIB)


def block(nvml: FakeNvml, change=lambda: None, own=frozenset({OWN}), ticks: int = 12):
    """One watched block, at least `ticks` readings of the sampling thread long."""
    gauge = NvmlGauge(DEVICE, nvml=nvml, tick_s=0.001)
    gauge.begin(lambda: set(own))
    change()
    until, give_up = nvml.ticks + ticks, time.monotonic() + 5
    while nvml.ticks < until and not nvml.lost and time.monotonic() < give_up:
        time.sleep(0.001)
    if nvml.lost:
        time.sleep(0.01)
    reading = gauge.end(lambda: set(own))
    assert not any(thread.name == "nvml-guard" for thread in threading.enumerate())
    return reading


@pytest.fixture
def nvml():
    return FakeNvml()


def test_a_steady_device_is_not_void(nvml):
    reading = block(nvml)
    assert reading.void is None
    assert reading.values["sm_mhz"] == [1965, pytest.approx(1972.5, abs=7.5), 1980]
    assert reading.values["sm_spread"] < 0.01
    assert reading.values["power_w_max"] == 412.5
    assert reading.values["ecc_uncorrected"] == 0
    assert reading.values["own_processes_visible"] is True
    assert reading.values["memory_unexplained_bytes"] == 0


@pytest.mark.parametrize(("bit", "bad"), [(bit, bad) for bit, (_, bad) in REASONS.items()])
def test_each_clock_reason_voids_or_not(nvml, bit, bad):
    nvml.reasons = [0, 0, 0, bit]
    reading = block(nvml)
    name = REASONS[bit][0]
    assert reading.values["clock_reasons"][name] >= 1
    assert (reading.void is not None) == bad
    if bad:
        assert f"held down by {name} in" in reading.void


def test_an_unknown_clock_reason_is_recorded(nvml):
    nvml.reasons = [0x2000]
    reading = block(nvml)
    assert reading.void is None
    assert "unknown-0x2000" in reading.values["clock_reasons"]


def test_an_old_driver_answers_under_the_older_name(nvml):
    nvml.missing.add("nvmlDeviceGetCurrentClocksEventReasons")
    nvml.reasons = [HW_THERMAL]
    assert "hw-thermal-slowdown" in block(nvml).void


def test_a_clock_that_wanders_voids_unless_the_power_cap_explains_it(nvml):
    nvml.sm_mhz = [1980, 1980, 1650, 1650]
    reading = block(nvml)
    assert reading.void.startswith("the SM clock spread")
    assert "(1650 to 1980 MHz, limit 5%)" in reading.void
    nvml.reasons = [POWER_CAP]
    assert block(nvml).void is None


def test_idle_clocks_between_requests_do_not_count(nvml):
    nvml.sm_mhz, nvml.reasons = [345, 1980], [IDLE, 0]
    reading = block(nvml, ticks=24)
    assert reading.void is None
    assert reading.values["sm_mhz"] == [1980, 1980, 1980]


def test_a_power_cap_that_moves_voids(nvml):
    reading = block(nvml, lambda: setattr(nvml, "cap_mw", 500_000))
    assert "the power cap moved from 700.0 to 500.0 W" in reading.void


def test_uncorrected_ecc_errors_void_and_corrected_ones_do_not(nvml):
    assert block(nvml, lambda: nvml.ecc.update({0: 1})).void is None
    assert "2 uncorrected ECC errors" in block(nvml, lambda: nvml.ecc.update({1: 2})).void


def test_the_thermal_counter_sees_what_falls_between_readings(nvml):
    reading = block(nvml, lambda: setattr(nvml, "thermal_ns", 10**9))
    assert "thermally slowed for" in reading.void


def test_a_co_tenant_voids_by_pid(nvml):
    nvml.processes[FOREIGN] = 2 * GIB
    reading = block(nvml)
    assert f"shared with name not visible from here (pid {FOREIGN})" in reading.void
    assert reading.values["other_pids"] == [FOREIGN]


def test_a_co_tenant_that_comes_and_goes_within_the_block_voids(nvml):
    def visit():
        nvml.processes = {OWN: 1, FOREIGN: 1}
        until = nvml.ticks + 12
        while nvml.ticks < until:
            time.sleep(0.001)
        nvml.processes = {OWN: 1}

    assert f"pid {FOREIGN}" in block(nvml, visit).void


def test_memory_of_no_visible_process_voids(nvml):
    nvml.used += GIB
    assert "1024 MiB of device memory belong to no visible process" in block(nvml).void


def test_hidden_processes_show_in_moving_memory_only(nvml):
    nvml.processes = {}
    reading = block(nvml)
    assert reading.void is None
    assert reading.values["own_processes_visible"] is False
    assert reading.values["memory_unexplained_bytes"] is None
    moved = block(nvml, lambda: setattr(nvml, "used", nvml.used + GIB))
    assert "processes are hidden here and device memory in use moved by 1024 MiB" in moved.void


def test_ids_of_another_namespace_do_not_void(nvml):
    nvml.processes = {FOREIGN: 100 * GIB}
    assert block(nvml).void is None


def test_figures_a_card_lacks_are_none(nvml):
    nvml.missing |= {
        "nvmlDeviceGetTotalEccErrors",
        "nvmlDeviceGetViolationStatus",
        "nvmlDeviceGetClockInfo",
        "nvmlDeviceGetMPSComputeRunningProcesses_v3",
        "nvmlDeviceGetEnforcedPowerLimit",
    }
    gauge = NvmlGauge(DEVICE, nvml=nvml, tick_s=0.001)
    gauge.begin(lambda: {OWN})
    time.sleep(0.02)
    reading = gauge.end(lambda: {OWN})
    assert reading.void is None
    assert reading.values["sm_mhz"] is None
    assert reading.values["ecc_uncorrected"] is None
    assert reading.values["power_cap_w"] is None


def test_a_lost_gpu_voids(nvml):
    reading = block(nvml, lambda: setattr(nvml, "lost", True))
    assert reading.void == reading.values == "NVML failed around the block: GPU is lost"


def test_a_bug_in_the_thread_is_not_swallowed(nvml):
    nvml.nvmlDeviceGetPowerUsage = lambda handle: "not a number"
    with pytest.raises(TypeError):
        block(nvml, ticks=1)


def test_without_nvml_the_record_says_so():
    nvml = FakeNvml()

    def fail():
        raise NVMLError(12, "NVML Shared Library Not Found")

    nvml.nvmlInit = fail
    gauge = NvmlGauge(DEVICE, nvml=nvml)
    gauge.begin(set)
    reading = gauge.end(set)
    assert reading.values == "not available: NVML Shared Library Not Found"
    assert reading.void is None
    assert gauge.identity()["device"] == "NVIDIA H200"
    assert gauge.identity()["driver"] is None


def test_identity_of_a_card(nvml):
    assert NvmlGauge(DEVICE, nvml=nvml).identity() == {
        "device_kind": "cuda",
        "device": "NVIDIA H200",
        "memory_bytes": 141 * GIB,
        "compute_capability": "9.0",
        "driver": "580.159.04",
        "power_cap_w": 700.0,
        "mig": "off",
    }


def test_identity_of_a_slice(nvml):
    nvml.name = "NVIDIA H200 MIG 1g.18gb"
    mig = SimpleNamespace(kind="cuda", id="MIG-1", name=nvml.name, memory_bytes=18 * GIB)
    identity = NvmlGauge(mig, nvml=nvml).identity()
    assert (identity["device"], identity["mig"]) == ("NVIDIA H200", "1g.18gb")
