import subprocess
import sys
from types import SimpleNamespace

import pytest

from append_prefill.engines import devices as module
from append_prefill.engines.devices import (
    DeviceLock,
    gpu_addresses,
    list_devices,
    memory_used_bytes,
)
from append_prefill.errors import InfrastructureError, UsageError

nvml = module.pynvml


@pytest.fixture
def gpus(monkeypatch):
    """Three GPUs; the last is split into two MIG slices, in slots 0 and 2."""

    def mig_mode(handle):
        if handle == 0:
            raise nvml.NVMLError_NotSupported
        return (int(handle == 2), int(handle == 2))

    def mig_slice(handle, index):
        if index == 1:
            raise nvml.NVMLError_NotFound
        return f"slice{index}"

    names = {0: "GPU-aa", 1: "GPU-ab", 2: "GPU-cc", "slice0": "MIG-x", "slice2": "MIG-y"}
    fakes = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 3,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetHandleByUUID": lambda uuid: uuid,
        "nvmlDeviceGetMigMode": mig_mode,
        "nvmlDeviceGetMaxMigDeviceCount": lambda handle: 3,
        "nvmlDeviceGetMigDeviceHandleByIndex": mig_slice,
        "nvmlDeviceGetUUID": names.__getitem__,
        "nvmlDeviceGetName": lambda handle: "H200",
        "nvmlDeviceGetPciInfo": lambda handle: SimpleNamespace(busId=f"0000000{handle}:3B:00.0"),
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(total=100, used=7),
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(nvml, name, fake)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def ids():
    return [device.id for device in list_devices()]


def test_gpus_and_slices(gpus):
    assert ids() == ["GPU-aa", "GPU-ab", "MIG-x", "MIG-y"]
    assert memory_used_bytes(list_devices()[0]) == 7


def test_addresses_as_linux_writes_them(gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")  # neighbours count, visible or not
    assert gpu_addresses() == {
        "GPU-aa": "0000:3b:00.0",
        "GPU-ab": "0001:3b:00.0",
        "GPU-cc": "0002:3b:00.0",
        "MIG-x": "0002:3b:00.0",
        "MIG-y": "0002:3b:00.0",
    }


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("1,0", ["GPU-ab", "GPU-aa"]),
        ("GPU-ab", ["GPU-ab"]),
        ("MIG-y", ["MIG-y"]),
        ("0,-1,1", ["GPU-aa"]),
        ("", ["cpu"]),
        ("-1", ["cpu"]),
    ],
)
def test_cuda_visible_devices(gpus, monkeypatch, visible, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert ids() == expected


@pytest.mark.parametrize("visible", ["7", "GPU-zz", "GPU-a"])
def test_an_entry_that_names_no_one_device(gpus, monkeypatch, visible):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(UsageError, match="GPU-aa, GPU-ab"):
        list_devices()


def test_without_a_driver_it_is_the_cpu(monkeypatch):
    def absent():
        raise nvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(nvml, "nvmlInit", absent)
    (device,) = list_devices()
    assert (device.kind, device.id) == ("cpu", "cpu")
    assert device.memory_bytes > 0
    assert memory_used_bytes(device) is None


HOLD = """
import sys
from pathlib import Path
from append_prefill.engines.base import Device
from append_prefill.engines.devices import DeviceLock
lock = DeviceLock(Device("cpu", "cpu", "test", 1), folder=Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_device_is_one_runs_and_the_holder_is_named(cpu, tmp_path):
    folder = tmp_path / "locks"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InfrastructureError, match=f"process {holder.pid}"):
            DeviceLock(cpu, folder=folder).acquire()
    finally:
        holder.kill()
        holder.communicate()
    with DeviceLock(cpu, folder=folder):
        pass
