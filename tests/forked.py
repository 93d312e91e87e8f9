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
from pathlib import Path

import pytest

from append_prefill.probe import floor

IMPORTED = [
    "append_prefill.report.write",
    "append_prefill.run.folders",
    "append_prefill.run.hosts",
    "append_prefill.run.outcome",
    "append_prefill.run.outlook",
    "append_prefill.run.session",
]
"""All that is heavy. Not the plugin itself, which pytest imports."""

FLOOR_REPEATS = 4
"""Every launch measures the client's floor, of which no test of a run reads more than that it is
there; forty pairs at two lengths would take as long as all samples of its launch."""

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(IMPORTED)


def run_pytest(folder: Path, *arguments: str) -> pytest.RunResult:
    """As `pytester.runpytest_subprocess`, in that folder, which is its home, too.

    And has its temporary files: the locks on devices lie there, and a test that takes the machine's
    CPU for one would wait for every other that does.
    """
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
    try:
        runpy.run_module("pytest", run_name="__main__", alter_sys=True)
    finally:
        # A process of multiprocessing leaves without, and the suite stops its servers there.
        atexit._run_exitfuncs()
