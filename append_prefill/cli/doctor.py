"""`append-prefill doctor`: what is missing on this machine, one line each. Starts no server."""

from __future__ import annotations

import argparse
import importlib.util
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import psutil

from append_prefill.cli.output import Commands, add_json, print_json, say
from append_prefill.engines.base import Device
from append_prefill.engines.devices import DeviceLock, list_devices, memory_used_bytes
from append_prefill.engines.environments import version_environments
from append_prefill.engines.versions import NEWEST
from append_prefill.errors import EXIT_INFRASTRUCTURE, InfrastructureError
from append_prefill.places import checkout_of, make_environment

_GB = 10**9
# A server takes 2.5 GB of main memory with a model of no size, and its launch some more for a
# moment; two of them and the client fit into this.
_MEMORY_BYTES = 8 * _GB
# One SGLang environment takes 2.3 GB on a CPU and about four times that with CUDA's libraries;
# then there are compiled kernels, logs and records.
_DISK_BYTES = 12 * _GB
# A GPU nobody uses holds some hundred MB of driver state.
_IDLE_GPU_BYTES = 1 * _GB
# The client stamps arrivals on one core while the server's scheduler spins on another.
_CORES = 2

Status = Literal["ok", "warning", "missing"]
_SIGNS: dict[Status, str] = {"ok": "✓", "warning": "!", "missing": "✕"}


@dataclass(frozen=True, slots=True)
class Line:
    """One thing looked at. `missing` means that nothing can be measured until it is fixed."""

    what: str
    status: Status
    found: str
    remedy: str | None = None


def register(commands: Commands) -> None:
    parser = commands.add_parser(
        "doctor",
        help="what is missing on this machine",
        description="Look at what a run needs on this machine, one line each. Starts no server.",
        epilog=f"Exit status: 0 a run can start · {EXIT_INFRASTRUCTURE} something is missing.",
    )
    parser.add_argument(
        "--root",
        type=Path,
        metavar="DIR",
        help="the repository, where .tox is (default: the one the current folder is in)",
    )
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    root = args.root or checkout_of(Path.cwd()) or Path.cwd()
    lines = list(examine(root))
    if args.json:
        print_json([asdict(line) for line in lines])
    else:
        for line in lines:
            remedy = "" if line.remedy is None else f" {line.remedy}"
            say(f"{_SIGNS[line.status]} {line.what}: {line.found}.{remedy}")
    return EXIT_INFRASTRUCTURE if any(line.status == "missing" for line in lines) else 0


def examine(root: Path) -> Iterator[Line]:
    """Every check, in the order a user would fix them."""
    yield Line("python", "ok", f"{platform.python_version()} ({sys.executable})")
    yield environments_line(root)
    devices = list_devices()
    yield device_line(devices)
    for device in devices:
        if device.kind == "cuda":
            yield device_memory_line(device)
        yield lock_line(device)
    yield cores_line(len(psutil.Process().cpu_affinity() or ()))
    yield memory_line(psutil.virtual_memory().available)
    yield disk_line(shutil.disk_usage(root).free)


def environments_line(root: Path) -> Line:
    """Where an SGLang can be taken from: the version environments, or this interpreter."""
    names = list(version_environments(root))
    if importlib.util.find_spec("sglang") is not None:
        names.append("this interpreter")
    if names:
        return Line("SGLang", "ok", ", ".join(names))
    return Line(
        "SGLang",
        "missing",
        "no environment holds a version, nor does this interpreter",
        f"Make one: {make_environment(root, NEWEST)}. Until then only --sglang simulated, an "
        "interpreter's path or --sglang-url can be measured.",
    )


def device_line(devices: list[Device]) -> Line:
    """Which device kind, and so which shipped profile, can be measured."""
    if devices[0].kind == "cpu":
        return Line(
            "GPU",
            "warning",
            "NVML shows none, so the profile cpu-nano is what this machine can measure",
            "If there is a GPU: nvidia-smi must work here, CUDA_VISIBLE_DEVICES must not hide it.",
        )
    names = ", ".join(f"{d.name} ({d.memory_bytes / _GB:.0f} GB)" for d in devices)
    return Line("GPU", "ok", names)


def device_memory_line(device: Device) -> Line:
    """Whether someone else is on the GPU."""
    used = memory_used_bytes(device)
    what = f"memory of {device.name}"
    if used is None:
        return Line(what, "warning", "cannot be read")
    found = f"{(device.memory_bytes - used) / _GB:.1f} GB free"
    if used <= _IDLE_GPU_BYTES:
        return Line(what, "ok", found)
    return Line(
        what,
        "warning",
        f"{found}, {used / _GB:.1f} GB in use",
        "Another process on the device invalidates the blocks it runs beside: see nvidia-smi.",
    )


def lock_line(device: Device) -> Line:
    """Whether a run holds the device right now; the lock is held for no
    longer than the check.
    """
    try:
        with DeviceLock(device):
            return Line(f"lock of {device.id}", "ok", "free")
    except InfrastructureError as error:
        return Line(
            f"lock of {device.id}",
            "warning",
            str(error).rstrip("."),
            "A run started now waits for it.",
        )


def cores_line(cores: int) -> Line:
    """Whether client and server get a core each."""
    remedy = f"Client and server want one each: with fewer than {_CORES} they measure each other."
    return _enough("cores", cores >= _CORES, str(cores), remedy)


def memory_line(available_bytes: int) -> Line:
    """Main memory that a run could take."""
    return _enough(
        "main memory",
        available_bytes >= _MEMORY_BYTES,
        f"{available_bytes / _GB:.1f} GB available",
        f"Two servers and the client are sure of room from {_MEMORY_BYTES // _GB} GB.",
    )


def disk_line(free_bytes: int) -> Line:
    """Room for an environment, compiled kernels and records."""
    return _enough(
        "disk",
        free_bytes >= _DISK_BYTES,
        f"{free_bytes / _GB:.1f} GB free",
        f"An SGLang environment with CUDA, its kernels and the records take {_DISK_BYTES // _GB} "
        "GB.",
    )


def _enough(what: str, enough: bool, found: str, remedy: str) -> Line:
    return Line(what, "ok", found) if enough else Line(what, "warning", found, remedy)
