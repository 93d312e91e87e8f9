"""A pytest of its own for a test, forked from a process that has imported what it will need.

As a user's it is a process: what it patches, kills or interrupts is its own. But a user's takes
longer to import the suite than the tests' short runs take to measure, and there are a hundred.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from typing import NoReturn

import pytest
from execnet import gateway_base, gateway_io
from execnet.gateway_base import ExecModel

from append_prefill.probe import floor

FLOOR_REPEATS = 4
"""Every launch measures the client's floor, of which no test of a run reads more than that it is
there; forty pairs at two lengths would take as long as all samples of its launch."""

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.preloaded"])


@cache
def _begin() -> None:
    """Start the process that is forked, where it finds what it imports beforehand."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
        forkserver.ensure_running()


def run_pytest(folder: Path, *arguments: str) -> pytest.RunResult:
    """As `pytester.runpytest_subprocess`, in that folder, which is its home, too.

    And has its temporary files: the locks on devices lie there, and a test that takes the machine's
    CPU for one would wait for every other that does.
    """
    _begin()
    (folder / "tmp").mkdir(exist_ok=True)
    out, err = folder / "stdout", folder / "stderr"
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {
        "HOME": str(folder),
        "PYTHONPATH": path,
        "TMPDIR": str(folder / "tmp"),
    }
    process = _CONTEXT.Process(
        target=_become_pytest, args=(folder, arguments, environment, out, err), daemon=True
    )
    began = time.perf_counter()
    process.start()
    process.join()
    took_s = time.perf_counter() - began
    lines = [path.read_text(encoding="utf-8").splitlines() for path in (out, err)]
    for stream, of_stream in zip((sys.stdout, sys.stderr), lines, strict=True):
        print(*of_stream, sep="\n", file=stream)
    assert process.exitcode is not None
    return pytest.RunResult(process.exitcode, *lines, took_s)


def _become_pytest(
    folder: Path, arguments: tuple[str, ...], environment: dict[str, str], out: Path, err: Path
) -> None:
    assert "tests.preloaded" in sys.modules  # multiprocessing does not say where it could not be
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # asked for anew
    # A job that a shell put into the background ignores it, and so would what it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path.insert(0, str(folder))
    for path, descriptor in ((out, 1), (err, 2)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    # Both belong to the process that this one was forked from, and write where it wrote.
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    floor.REPEATS = FLOOR_REPEATS
    sys.argv = ["pytest", *arguments]
    _fork_workers(arguments)
    try:
        runpy.run_module("pytest", run_name="__main__", alter_sys=True)
    finally:
        # A process of multiprocessing leaves without, and the suite stops its servers there.
        atexit._run_exitfuncs()


class _Worker:
    """In place of the `subprocess.Popen` of xdist's next worker: forked before pytest begins.

    As execnet starts one, it is a process of its own with a pipe at either end, and runs what comes
    down the first. All but the imports is done by then: those take longer than what it measures.
    """

    def __init__(self, others: Sequence[_Worker]) -> None:
        (to_it, self._to_it), (self._from_it, from_it) = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            # Of a pipe that others hold open, no one sees the end.
            for end in (self._to_it, self._from_it, *(e for o in others for e in o.ends)):
                os.close(end)
            for end, standard in ((to_it, 0), (from_it, 1)):
                os.dup2(end, standard)
                os.close(end)
            _become_worker()
        os.close(to_it)
        os.close(from_it)
        self.ends = (self._to_it, self._from_it)

    def opened(self) -> _Worker:
        self.stdin, self.stdout = os.fdopen(self._to_it, "wb"), os.fdopen(self._from_it, "rb")
        return self

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def _become_worker() -> NoReturn:
    sys.argv = ["-c"]
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    status = 1
    try:
        if line := sys.stdin.readline():
            exec(eval(line), {"__name__": "__main__"})
        status = 0
    finally:
        atexit._run_exitfuncs()
        sys.stderr.flush()
        os._exit(status)


def _fork_workers(arguments: Sequence[str]) -> None:
    """As many as `-n` asks for; what else is started (another Python, one more) is as ever."""
    workers: list[_Worker] = []
    for _ in range(int(arguments[arguments.index("-n") + 1]) if "-n" in arguments else 0):
        workers.append(_Worker(workers))
    if not workers:
        return
    as_ever = gateway_io.Popen2IOMaster.__init__

    def begin(self: gateway_io.Popen2IOMaster, args: list[str], execmodel: ExecModel) -> None:
        if workers and (args[0], args[-1]) == (sys.executable, gateway_io.popen_bootstrapline):
            self.popen = worker = workers.pop(0).opened()
            gateway_base.Popen2IO.__init__(self, worker.stdin, worker.stdout, execmodel=execmodel)
        else:
            as_ever(self, args, execmodel)

    gateway_io.Popen2IOMaster.__init__ = begin
