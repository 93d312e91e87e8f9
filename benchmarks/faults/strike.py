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
_DEADLINE_S = 240.0


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
    traceback: bool

    def faults(self, row: Row) -> list[str]:
        """What is not as the row says it has to be."""
        wrong = {
            f"no line has {row.first!r}": self.first is None,
            f"exit status {self.status}, not {row.status}": self.status != row.status,
            f"took {self.seconds:.0f} s": self.seconds > row.limit_s,
            f"{self.whole} launches whole, not {row.whole}": self.whole < row.whole,
            "no record": row.recorded and self.verdict is None,
            f"{self.broken} files cut short": self.broken > 0,
            f"{self.left} servers left": self.left > 0,
            f"{self.secrets} files with a secret": self.secrets > 0,
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
    command = [
        *(sys.executable, "-m", "pytest", "-m", "append_prefill", "-p", "no:cacheprovider"),
        *(f"--profile={PROFILE}", f"--sglang=simulated:{server}", "--baseline=none"),
        *("--seed=1", "--starts=2", "--samples=2", *row.options),
        "perf_tests/test_exp3_append.py",
    ]
    with _output(folder) as out:
        run = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=out,
            stderr=subprocess.STDOUT,
            # A shell's background job ignores it, and hands that on.
            preexec_fn=_heed_interrupts,  # noqa: PLW1509 (no thread runs here)
        )
        began_s = time.monotonic()
        if row.signal is not None:
            _await_line(folder, row.when, run)
            began_s = time.monotonic()
            run.send_signal(signal.Signals[row.signal])
        status = run.wait(_DEADLINE_S)
    took_s = time.monotonic() - began_s
    return _seen(row, folder, status, took_s)


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def _output(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder / "output.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _await_line(folder: Path, words: str, run: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline_s and run.poll() is None:
        logs = folder.glob("reports/2*/progress.log")
        if any(words in log.read_text(encoding="utf-8") for log in logs):
            return
        time.sleep(_POLL_S)
    raise RuntimeError(f"pytest ended, or took too long, before {words!r}")


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
        secrets=sum(secret.encode() in text for text in texts for secret in SECRETS),
        traceback="Traceback (most recent call last)" in output,
    )


def _left(folder: Path) -> int:
    deadline_s = time.monotonic() + LEFT_S
    while (left := _servers_of(folder)) and time.monotonic() < deadline_s:
        time.sleep(_POLL_S)
    return left


def _servers_of(folder: Path) -> int:
    count = 0
    for process in psutil.process_iter(["cmdline", "cwd"]):
        command = process.info["cmdline"] or []
        here = (process.info["cwd"] or "").startswith(str(folder))
        count += here and "append_prefill.planted" in command
    return count
