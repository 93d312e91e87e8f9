"""Put one fault into a run of simulated servers in an empty folder, and see what comes of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.faults.rows import SERVER, Row

ROOT = Path(__file__).parent.parent.parent
PROFILE = ROOT / "tests" / "tiny.toml"
SECRETS = ("hunter2",)
LEFT_S = 5.0
"""How long servers may take to end once pytest has."""

_POLL_S = 0.02
_DEADLINE_S = 400.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of a fault. `first` is the line that was looked for, None if none was printed."""

    first: str | None
    status: int
    seconds: float
    whole: int
    verdict: str | None
    broken: int
    left: int
    secrets: int
    obeyed: int
    traceback: bool

    def faults(self, row: Row, patience: float = 1.0) -> list[str]:
        """What is not as the row says it has to be; its time may be `patience` times as long."""
        wrong = {
            f"no line has {row.first!r}": self.first is None,
            f"exit status {self.status}, not {row.status}": self.status != row.status,
            f"took {self.seconds:.0f} s": self.seconds > row.limit_s * patience,
            f"{self.whole} launches whole, not {row.whole}": self.whole < row.whole,
            "no record": row.recorded and self.verdict is None,
            f"{self.broken} files cut short": self.broken > 0,
            f"{self.left} processes left": self.left > 0,
            f"{self.secrets} files with a secret": self.secrets > 0,
            f"{self.obeyed} texts with what a page or a terminal obeys": self.obeyed > 0,
            "a traceback": self.traceback,
        }
        return [words for words, is_so in wrong.items() if is_so]


def strike(row: Row, folder: Path) -> Seen:
    """Run the suite with that fault in `folder`, which has to be empty."""
    (folder / "conftest.py").write_text(
        f'pytest_plugins = ["append_prefill.plugin"]\n{row.plant}', encoding="utf-8"
    )
    (folder / "pyproject.toml").write_text("[tool.pytest.ini_options]\n", encoding="utf-8")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "perf_tests", folder / "perf_tests", ignore=ignored)
    server = ",".join(filter(None, (SERVER, row.server)))
    profile = "" if any("--profile" in option for option in row.options) else f"--profile={PROFILE}"
    baseline = "" if any("--baseline=" in option for option in row.options) else "--baseline=none"
    aimed = "" if any("--sglang-url" in o for o in row.options) else f"--sglang=simulated:{server}"
    command = [
        *(sys.executable, "-m", "pytest", "-m", "append_prefill", "-p", "no:cacheprovider"),
        *filter(None, (profile, aimed, baseline)),
        *("--seed=1", "--starts=2", "--samples=2", *row.options),
        *(row.tests or ("perf_tests",)),
    ]
    with _output(folder) as out:
        runs = [
            subprocess.Popen(
                command,
                cwd=folder,
                env=os.environ | {"PYTHONPATH": str(ROOT), **row.environment},
                stdout=out,
                stderr=subprocess.STDOUT,
                # A shell's background job ignores it, and hands that on.
                preexec_fn=_heed_interrupts,  # noqa: PLW1509 (it takes no lock)
            )
            for _ in range(row.runs)
        ]
        began_s = time.monotonic()
        try:
            if row.signal is not None:
                came = _await_line(folder, row.when, runs[0])
                began_s = time.monotonic()
                if came:
                    _send(row, folder, runs[0])
            statuses = [_ended(run) for run in runs]
        finally:
            for run in runs:
                run.kill()  # of a row that took too long
        took_s = time.monotonic() - began_s
        if row.then:
            _tell(row, folder, out)
    # Of several runs that which ended worst.
    return _seen(row, folder, max(statuses, key=abs), took_s)


def _send(row: Row, folder: Path, run: subprocess.Popen[bytes]) -> None:
    """Send the row's signal to whom it is meant for; who was stopped goes on after a while."""
    pids = [] if row.target == "server" else [run.pid]
    if row.target != "pytest":
        pids += _servers_of(folder)
    for pid in pids:
        os.kill(pid, signal.Signals[row.signal or ""])
    if row.signal == "SIGSTOP":
        time.sleep(row.stopped_s)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _tell(row: Row, folder: Path, out: int) -> None:
    """What `append-prefill` says of the run afterwards; what is not there it says nothing of."""
    run = next(folder.glob("reports/2*"), folder)
    command = [sys.executable, "-m", "append_prefill.cli.main", row.then[0], str(run)]
    subprocess.run(
        [*command, *row.then[1:]],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=out,
        stderr=subprocess.STDOUT,
        check=False,
    )


def _ended(run: subprocess.Popen[bytes]) -> int:
    """The exit status; of one that does not end in time, that of being killed."""
    try:
        return run.wait(_DEADLINE_S)
    except subprocess.TimeoutExpired:
        run.kill()
        return run.wait()


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def _output(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder / "output.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _await_line(folder: Path, words: str, run: subprocess.Popen[bytes]) -> bool:
    """Whether the progress comes by the words; a row whose run ends before has not survived."""
    deadline_s = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline_s and run.poll() is None:
        logs = folder.glob("reports/2*/progress.log")
        if any(words in log.read_text(encoding="utf-8") for log in logs):
            return True
        time.sleep(_POLL_S)
    return False


def _seen(row: Row, folder: Path, status: int, seconds: float) -> Seen:
    output = (folder / "output.txt").read_text(encoding="utf-8", errors="replace")
    whole = broken = 0
    verdict = None
    for path in folder.glob("reports/2*/**/*.json"):
        try:
            data = json.loads(path.read_bytes())
        except ValueError:
            broken += 1
            continue
        if path.parent.name == "starts":
            whole += data["measured_s"] is not None
        elif path.name == "run.json":
            verdict = data["verdict"] or "not judged"
    written = [path for path in folder.rglob("*") if path.is_file() and path.name != "output.txt"]
    texts = [*(path.read_bytes() for path in written), output.encode()]
    return Seen(
        first=next((line.strip() for line in output.splitlines() if row.first in line), None),
        status=status,
        seconds=seconds,
        whole=whole,
        verdict=verdict,
        broken=broken,
        left=_left(folder),
        obeyed=_obeyed(folder, output),
        secrets=sum(secret.encode() in text for text in texts for secret in SECRETS),
        traceback="Traceback (most recent call last)" in output,
    )


def _obeyed(folder: Path, output: str) -> int:
    """Texts for people in which a hostile one is not told, but would be obeyed."""
    pages = [*folder.glob("reports/2*/*.html"), *folder.glob("reports/2*/*.md")]
    texts = [path.read_text(encoding="utf-8") for path in pages]
    return sum("<script>alert(1)" in text for text in texts) + ("\x1b[31m" in output)


def _left(folder: Path) -> int:
    """Processes that work in the folder: workers, servers and what watches over them or is left
    by them.
    """
    deadline_s = time.monotonic() + LEFT_S
    while (left := len(_working_in(folder))) and time.monotonic() < deadline_s:
        time.sleep(_POLL_S)
    return left


def _working_in(folder: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline", "cwd"])
        if (process.info["cwd"] or "").startswith(str(folder))
    ]


def _servers_of(folder: Path) -> list[int]:
    """The first processes of its servers, less those that watch over them."""
    commands = {process.pid: process.info["cmdline"] or [] for process in _working_in(folder)}
    return [
        pid
        for pid, command in commands.items()
        if "append_prefill.planted" in command and "-I" not in command
    ]
