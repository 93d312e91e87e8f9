"""Runs one server and outlives whoever asked for it by just long enough to end the server.

Started by `process.py` as `python -I _supervisor.py GRACE_S SCRATCH ARGV...`, with a pipe on
standard input that only the suite holds open. Its end closes when the suite stops the server
and when the suite dies, however it dies (SIGKILL, a crashed test worker): both end the same
way. Everything the server leaves running becomes a child of this process (subreaper), so a
descendant that moved to a group of its own is found as well.

Exits with the server's status (128 + signal if it was killed), 0 when told to stop. Standard
library only, Linux only, as SGLang is.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_POLL_S = 0.05
# After the workers are gone the server's first process has nothing left to save; SGLang's then
# sleeps five seconds before a crash report nobody reads.
_LEADER_S = 0.3
_KILL_LIMIT_S = 20.0
_SHARED_MEMORY = "/dev/shm/"  # noqa: S108 - where Linux has it
# Names that SGLang, Python's multiprocessing, NCCL and torch give; a map of any other program's
# is not the server's to remove.
_SHARED_PREFIXES = ("sglang_", "sem.mp-", "psm_", "nccl-", "torch_")


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}, {value})")


def _parents() -> dict[int, int]:
    """Parent of every live process that can be seen; zombies are left out."""
    parents = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names are all that is needed
        if entry.isdigit():
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{entry}/stat").read_text(encoding="utf-8", errors="replace")
                # The name, in brackets, may hold anything; state and parent come after it.
                state, parent = stat.rpartition(")")[2].split()[:2]
                if state not in "ZX":
                    parents[int(entry)] = int(parent)
    return parents


def descendants(root: int) -> set[int]:
    """Every live process below `root`, whichever group it is in."""
    parents = _parents()
    found: set[int] = set()
    level = {root}
    while level:
        level = {pid for pid, parent in parents.items() if parent in level} - found
        found |= level
    return found


def children(root: int) -> list[int]:
    """The live processes started or adopted by `root`, the oldest first."""
    found = [pid for pid, parent in _parents().items() if parent == root]
    return sorted(found, key=_started)


def _started(pid: int) -> int:
    """Ticks from boot to a process's start; 0 once it is gone."""
    with contextlib.suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return int(stat.rpartition(")")[2].split()[19])
    return 0


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _signal(pids: set[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _shared_memory(pids: set[int]) -> set[Path]:
    """Shared memory these processes have mapped by name: to be removed once they are gone."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines():
                _, found_it, name = line.partition(_SHARED_MEMORY)
                if found_it and name.startswith(_SHARED_PREFIXES) and "(deleted)" not in name:
                    found.add(Path(_SHARED_MEMORY) / name)
    return found


def _left_behind(since: float) -> set[Path]:
    """SGLang's shared memory made since then (Unix time) that no process maps any more.

    A scheduler that crashes is gone before its maps can be read.
    """
    made = set()
    for path in Path(_SHARED_MEMORY).glob("sglang_*"):
        with contextlib.suppress(OSError):
            status = path.stat()
            if status.st_uid == os.getuid() and status.st_ctime >= since:
                made.add(path)
    return made - _shared_memory(set(_parents())) if made else made


def _is_resource_tracker(pid: int) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True  # gone
    return b"resource_tracker" in command


def end(leader: int, grace_s: float, since: float) -> None:
    """SIGTERM to all, bounded wait, SIGKILL to what is left, wait until nothing is.

    `since`: when the server was started (Unix time).
    """
    me = os.getpid()
    alive = descendants(me)
    shared = _shared_memory(alive)
    workers = {pid for pid in alive if pid != leader and not _is_resource_tracker(pid)}
    _signal(alive, signal.SIGTERM)
    limit = time.monotonic() + grace_s
    workers_gone_at: float | None = None
    while time.monotonic() < limit:
        _reap()
        alive = descendants(me)
        if not alive:
            break
        if workers and not workers & alive:
            workers_gone_at = workers_gone_at or time.monotonic()
            if time.monotonic() - workers_gone_at > _LEADER_S:
                break
        time.sleep(_POLL_S)
    # The first process before the rest: Python's resource tracker outlives it and unlinks the
    # semaphores it left.
    if leader in alive:
        _signal({leader}, signal.SIGKILL)
        time.sleep(_LEADER_S)
    limit = time.monotonic() + _KILL_LIMIT_S
    while time.monotonic() < limit:
        _reap()
        alive = descendants(me)
        if not alive:
            break
        _signal(alive, signal.SIGKILL)
        time.sleep(_POLL_S)
    _reap()
    for path in shared | _left_behind(since):
        path.unlink(missing_ok=True)


def main(arguments: list[str]) -> int:
    grace_s, scratch, argv = float(arguments[0]), Path(arguments[1]), arguments[2:]
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    since = time.time()
    server = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        # Should this process be killed outright, the server's first process goes with it.
        preexec_fn=lambda: _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509
    )
    status = 0
    while True:
        ready, _, _ = select.select([sys.stdin.fileno(), told], [], [])
        if sys.stdin.fileno() in ready:  # closed, or a word to stop: all the same
            break
        numbers = os.read(told, 512)
        if any(number != signal.SIGCHLD for number in numbers):
            break
        code = server.poll()
        if code is not None:
            status = code if code >= 0 else 128 - code
            # A server that ends unasked has failed even if it says it has not.
            status = status or 1
            break
    end(server.pid, grace_s, since)
    shutil.rmtree(scratch, ignore_errors=True)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
