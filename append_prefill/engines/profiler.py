"""py-spy, attached to the processes of a running server: which stacks were on a core, how long.

py-spy reads the memory of another process and needs nothing in it, so the server's environment
stays as it was measured. It has to be allowed to: as root, with CAP_SYS_PTRACE, or where
/proc/sys/kernel/yama/ptrace_scope is 0.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
import sysconfig
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from append_prefill.errors import InfrastructureError, UsageError

PROGRAM = "py-spy"

RATE_HZ = 100
"""Of each process. At 500 Hz three py-spys took so much of two cores that others used as well that
TTFT rose from 23 to 49 ms (`append-prefill cause RUN --rate 500`, 0.5.23 under cpu-nano). What a
slower clock lacks in samples, more requests make up for, and they disturb nobody: 400 of 10 ms are
400 samples of a process that works all the time, and 2 ms in each are 80, known to a ninth
(Poisson)."""

_BEGUN = "Press Control-C"
_ATTACH_LIMIT_S = 60.0  # of a second: it reads the symbols of every library that is loaded
_STOP_LIMIT_S = 30.0
_POLL_S = 0.01
# `function (path)`; with --nolineno there is no line in it. A function of C++, or of a lambda,
# may have brackets of its own.
_FRAME = re.compile(r"(?P<function>.*) \((?P<path>[^()]*)\)")
_IMPORTED_FROM = ("/site-packages/", "/dist-packages/", "/lib-dynload/")
# Of a checkout that is installed as it lies, and of the standard library.
_CHECKOUT = re.compile(r"/python(?:3\.\d+)?/((?:[A-Za-z_]\w*/)*[A-Za-z_]\w*\.py)$")
_ERRORS = re.compile(r"Samples: \d+ Errors: (\d+)")


@dataclass(frozen=True, slots=True)
class Recording:
    """What was seen in `seconds`: by role, ms in each stack (frames from the outermost on).

    `errors` are samples that could not be read.
    """

    seconds: float
    stacks_ms: dict[str, dict[tuple[str, ...], float]]
    errors: int


def find_program() -> str:
    """Path of py-spy: beside this interpreter, else on PATH. Raises UsageError."""
    beside = shutil.which(PROGRAM, path=sysconfig.get_path("scripts"))
    found = beside or shutil.which(PROGRAM)
    if found is None:
        raise UsageError(
            PROGRAM,
            "(not found)",
            "is neither beside this interpreter nor on PATH, and records the profiles.",
            "Install it: pip install 'append-prefill[profile]'.",
        )
    return found


@contextlib.contextmanager
def recorded(
    program: str, pids: Mapping[str, int], folder: Path, *, rate_hz: int, idle: bool = False
) -> Iterator[list[Recording]]:
    """Inside, the processes (by role) are sampled; afterwards the list has the one Recording.

    Threads count that are on a core, or want one; with `idle` all do, wherever they stand. One
    py-spy for each process. What each wrote stays in `folder`, as `<role>.collapsed` and
    `<role>.log`. Raises InfrastructureError where one cannot attach, or wrote nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    result: list[Recording] = []
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for role, pid in pids.items():
            running[role] = _attach(program, pid, folder, role, rate_hz, idle=idle)
        _await_begun(running, folder)
        began_s = time.monotonic()
        yield result
        seconds = time.monotonic() - began_s
        for process in running.values():
            process.send_signal(signal.SIGINT)
        for role, process in running.items():
            try:
                status = process.wait(_STOP_LIMIT_S)
            except subprocess.TimeoutExpired as error:
                raise _failed(role, folder) from error
            if status != 0:
                raise _failed(role, folder)
    finally:
        for process in running.values():
            if process.poll() is None:
                process.kill()
                process.wait()
    stacks, errors = {}, 0
    for role in running:
        with (folder / f"{role}.collapsed").open(encoding="utf-8", errors="replace") as file:
            samples = read_collapsed(file)
        errors += samples.pop((), 0) + _errors_in(folder / f"{role}.log")
        stacks[role] = {stack: n * 1000 / rate_hz for stack, n in samples.items()}
    result.append(Recording(seconds, stacks, errors))


def _attach(
    program: str, pid: int, folder: Path, role: str, rate_hz: int, *, idle: bool
) -> subprocess.Popen[bytes]:
    with (folder / f"{role}.log").open("wb") as log:
        return subprocess.Popen(
            [
                *(program, "record", "--pid", str(pid), "--rate", str(rate_hz)),
                *("--format", "raw", "--nolineno", "--full-filenames", "--nonblocking"),
                *(("--idle",) if idle else ()),
                *("--output", str(folder / f"{role}.collapsed")),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is the suite's to handle
        )


def _await_begun(running: Mapping[str, subprocess.Popen[bytes]], folder: Path) -> None:
    limit_s = time.monotonic() + _ATTACH_LIMIT_S
    waiting = dict(running)
    while waiting:
        for role, process in list(waiting.items()):
            if _BEGUN in _log(folder / f"{role}.log"):
                del waiting[role]
            elif process.poll() is not None or time.monotonic() > limit_s:
                raise _failed(role, folder)
        time.sleep(_POLL_S)


def _failed(role: str, folder: Path) -> InfrastructureError:
    said = " ".join(_log(folder / f"{role}.log").split())
    return InfrastructureError(
        f"{PROGRAM} did not record the server's {role}: {said or 'it said nothing'}. It needs "
        "root, CAP_SYS_PTRACE, or 0 in /proc/sys/kernel/yama/ptrace_scope."
    )


def _log(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _errors_in(path: Path) -> int:
    found = _ERRORS.search(_log(path))
    return int(found[1]) if found else 0


def read_collapsed(file: TextIO) -> Counter[tuple[str, ...]]:
    """Samples by stack, of py-spy's raw format; () is a stack that was gone before it was read.

    Raises ValueError for a line that is none.
    """
    found: Counter[tuple[str, ...]] = Counter()
    for line in filter(str.strip, file):
        stack, _, count = line.rstrip("\n").rpartition(" ")
        if not count.isdigit():
            raise ValueError(f"not a stack with its samples: {line[:80]!r}")
        frames = filter(None, stack.split(";"))
        found[tuple(function_name(frame) for frame in frames)] += int(count)
    return found


def function_name(frame: str) -> str:
    """`module:function` of py-spy's `function (path)`, the path made a module's name.

    What is outside of any folder that Python imports from is its own module, by its file's name.
    """
    match = _FRAME.fullmatch(frame)
    if match is None:
        return frame
    path = match["path"]
    for folder in _IMPORTED_FROM:
        _, found, inside = path.rpartition(folder)
        if found:
            break
    else:
        package = _CHECKOUT.search(path)
        inside = package[1] if package else path.rpartition("/")[2]
    inside = inside.removesuffix(".py").removesuffix("/__init__")
    return f"{inside.replace('/', '.')}:{match['function']}"
