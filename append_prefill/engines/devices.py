"""Which devices there are, who may use one, and how much of its memory is taken."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import pynvml
from filelock import FileLock, Timeout

from append_prefill.engines.base import Device
from append_prefill.errors import InfrastructureError, UsageError

_VISIBLE = "CUDA_VISIBLE_DEVICES"
# Machine-wide: every user's runs must meet here, so the folder is shared and open to all.
_LOCKS = "append-prefill-locks"


@contextmanager
def _nvml() -> Iterator[bool]:
    """Whether the NVIDIA driver answers; True only inside a working session with it."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield False
        return
    try:
        yield True
    finally:
        pynvml.nvmlShutdown()


def list_devices() -> list[Device]:
    """The GPUs (or MIG slices) this process may use, in CUDA's order; the CPU if there is none.

    `CUDA_VISIBLE_DEVICES` is respected: indices, `GPU-` and `MIG-` ids or unique beginnings of
    them; empty or -1 means no GPU. Raises UsageError for an entry that names no device.
    """
    with _nvml() as answers:
        devices = _cuda_devices() if answers else []
    visible = os.environ.get(_VISIBLE)
    if devices and visible is not None:
        devices = _visible(devices, visible)
    return devices or [cpu_device()]


def cpu_device() -> Device:
    """The machine's processor and main memory as a device."""
    return Device("cpu", "cpu", _cpu_name(), psutil.virtual_memory().total)


def gpu_addresses() -> dict[str, str]:
    """PCI address, as Linux writes it, of every GPU and MIG slice by its id; {} without a driver.

    All of the machine's, whether visible to this process or not.
    """
    with _nvml() as answers:
        found: dict[str, str] = {}
        for index in range(pynvml.nvmlDeviceGetCount() if answers else 0):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            # NVML writes the domain with eight digits and capitals: 00000000:3B:00.0.
            address = _text(pynvml.nvmlDeviceGetPciInfo(handle).busId).lower()[-12:]
            slices = [device.id for device in _mig_slices(handle)]
            found |= dict.fromkeys([_text(pynvml.nvmlDeviceGetUUID(handle)), *slices], address)
        return found


def memory_used_bytes(device: Device) -> int | None:
    """Memory in use on a GPU by anybody; None for the CPU."""
    if device.kind == "cpu":
        return None
    with _nvml() as answers:
        if not answers:
            raise InfrastructureError(f"the NVIDIA driver stopped answering ({device.name})")
        handle = pynvml.nvmlDeviceGetHandleByUUID(device.id)
        return int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)


class DeviceLock:
    """Keeps one device for one run, machine-wide; a context manager.

    Waits up to `timeout_s`, then raises InfrastructureError that names the holder. The lock is
    the operating system's: it goes with its process, however that ends.
    """

    def __init__(self, device: Device, timeout_s: float = 0.0, folder: Path | None = None) -> None:
        self.device, self.timeout_s = device, timeout_s
        self._folder = folder or Path(tempfile.gettempdir()) / _LOCKS
        name = re.sub(r"[^A-Za-z0-9-]", "_", device.id)
        self._holder = self._folder / f"{name}.holder"
        self._lock = FileLock(self._folder / f"{name}.lock", mode=0o666)

    def acquire(self) -> None:
        """Take the device. Raises InfrastructureError if another process keeps it."""
        _shared_folder(self._folder)
        try:
            self._lock.acquire(timeout=self.timeout_s)
        except Timeout as error:
            waited = f"; waited {self.timeout_s:g} s" if self.timeout_s > 0 else ""
            raise InfrastructureError(
                f"{self.device.name} ({self.device.id}) is in use by another run: {self._who()}. "
                f"Two runs on one device would measure each other{waited}."
            ) from error
        # The note only says who to ask; one left by another user's killed run cannot be replaced.
        with contextlib.suppress(OSError):
            self._holder.unlink(missing_ok=True)
            self._holder.write_text(
                json.dumps({"pid": os.getpid(), "command": psutil.Process().name()}),
                encoding="utf-8",
            )

    def release(self) -> None:
        """Give the device back; does nothing if it was not taken."""
        if self._lock.is_locked:
            with contextlib.suppress(OSError):
                self._holder.unlink(missing_ok=True)
            self._lock.release()

    def __enter__(self) -> DeviceLock:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.release()

    def _who(self) -> str:
        try:
            holder = json.loads(self._holder.read_text(encoding="utf-8"))
            return f"process {holder['pid']} ({holder['command']})"
        except (OSError, ValueError, KeyError):
            # Between the holder's lock and its note, or a holder that died in between.
            return f"a process that holds {self._lock.lock_file}"


def _shared_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return
    folder.chmod(0o1777)  # as the system's own temporary folder is; mkdir's mode is masked


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return "CPU"


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _cuda_devices() -> list[Device]:
    """Every GPU; in place of one that is split into MIG slices, its slices."""
    found = []
    for index in range(pynvml.nvmlDeviceGetCount()):
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        found.extend(_mig_slices(handle) or [_device(handle)])
    return found


def _mig_slices(handle: Any) -> list[Device]:
    try:
        current, _pending = pynvml.nvmlDeviceGetMigMode(handle)
    except pynvml.NVMLError_NotSupported:
        return []
    if current != pynvml.NVML_DEVICE_MIG_ENABLE:
        return []
    slices = []
    for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            slices.append(_device(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)))
        except pynvml.NVMLError_NotFound:
            continue  # slots need not be filled, or filled in order
    return slices


def _device(handle: Any) -> Device:
    return Device(
        kind="cuda",
        id=_text(pynvml.nvmlDeviceGetUUID(handle)),
        name=_text(pynvml.nvmlDeviceGetName(handle)),
        memory_bytes=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
    )


def _visible(devices: list[Device], visible: str) -> list[Device]:
    chosen = []
    for entry in (part.strip() for part in visible.split(",")):
        if entry in {"", "-1"}:
            break  # as CUDA does: what follows is not looked at
        if entry.isdigit():
            matches = devices[int(entry) : int(entry) + 1]
        else:
            matches = [device for device in devices if device.id.startswith(entry)]
        if len(matches) != 1:
            there = ", ".join(device.id for device in devices)
            problem = "names no device of this machine." if not matches else "names several."
            raise UsageError(_VISIBLE, visible, f"{entry} {problem}", f"There are {there}.")
        chosen.append(matches[0])
    return chosen
