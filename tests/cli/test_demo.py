"""`demo`: a slow-down put into a simulated server is found, and shown."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from append_prefill.cli import demo
from append_prefill.cli.main import main
from append_prefill.errors import EXIT_INFRASTRUCTURE
from append_prefill.planted.__main__ import build_parser
from append_prefill.records.store import RUN_FILE, write_run
from tests.conftest import REPOSITORY
from tests.records import builders

Captured = pytest.CaptureFixture[str]
Ended = Callable[[str, int], None]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was opened in a browser; there is a display."""
    pages: list[str] = []
    monkeypatch.setattr(demo.webbrowser, "open", pages.append)
    monkeypatch.setenv("DISPLAY", ":0")
    return pages


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ended:
    """Call it with a verdict and a status: in place of measuring, pytest ends so."""

    def prepare(verdict: str, status: int) -> None:
        def pytest_leaves(_: list[str]) -> int:
            (tmp_path / "one").mkdir()
            write_run(builders.run(verdict=verdict), tmp_path / "one" / RUN_FILE)
            (tmp_path / "latest").symlink_to("one")
            return status

        monkeypatch.setattr(demo, "_pytest", pytest_leaves)

    return prepare


def run_demo(folder: Path) -> subprocess.CompletedProcess[str]:
    entry = "import sys; from append_prefill.cli.main import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", entry, "demo"],
        cwd=folder,
        env={
            **{k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")},
            "PYTHONPATH": str(REPOSITORY),
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_slow_down_is_found_within_a_run_of_its_own(tmp_path: Path) -> None:
    """The whole of it, as typed; no display here, and none is needed.

    Again, at most twice, where a machine busy with other tests hides a millisecond.
    """
    for _ in range(3):
        done = run_demo(tmp_path)
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stdout + done.stderr
    folder = (tmp_path / "reports" / "demo" / "latest").resolve()
    record = json.loads((folder / RUN_FILE).read_text())
    assert record["verdict"] == "regression"
    # What was put in: 1.2 ms on 6 ms at the floor, less where a request costs more.
    (level,) = (e for e in record["comparison"]["surface"] if e["name"] == "level")
    assert level["low"] < 1.2
    assert level["high"] > 1.1
    last = done.stdout.strip().splitlines()
    assert last[-1] == f"The report: {folder / 'report.html'}"
    assert last[-2].startswith("Put in: 1.2 ms on every request. Found: regression, +")
    assert (folder / "report.html").stat().st_size > 0
    assert any(line.startswith("verdict: REGRESSION") for line in last)


@pytest.mark.parametrize(
    ("end", "expected"),
    [(("regression", 1), 0), (("inconclusive", 0), EXIT_INFRASTRUCTURE)],
    ids=["found", "not found"],
)
def test_found_or_not_the_report_is_opened(
    opened: list[str], ended: Ended, tmp_path: Path, end: tuple[str, int], expected: int
) -> None:
    ended(*end)
    assert main(["demo", "--report-dir", str(tmp_path)]) == expected
    assert opened == [(tmp_path / "one" / "report.html").as_uri()]


@pytest.mark.parametrize("how", ["--no-open", "no display"])
def test_it_is_not_opened_where_no_one_wants_or_could_see_it(
    opened: list[str], ended: Ended, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    ended("regression", 1)
    if how == "no display":
        monkeypatch.delenv("DISPLAY")
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    asked = [how] if how.startswith("--") else []
    assert main(["demo", "--report-dir", str(tmp_path), *asked]) == 0
    assert opened == []


def test_a_run_that_failed_shows_no_older_report(
    opened: list[str], ended: Ended, tmp_path: Path, capsys: Captured
) -> None:
    ended("regression", 4)
    assert main(["demo", "--report-dir", str(tmp_path)]) == EXIT_INFRASTRUCTURE
    assert opened == []
    assert "The report" not in capsys.readouterr().out


def test_pytest_is_told_of_ctrl_c_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It handles the signal by itself; ours is ignored until it has ended, and not by it."""
    seen = []

    class Process:
        def wait(self) -> int:
            seen.append(signal.getsignal(signal.SIGINT))
            return 2

    def start(_: list[str]) -> Process:
        seen.append(signal.getsignal(signal.SIGINT))
        return Process()

    monkeypatch.setattr(demo.subprocess, "Popen", start)
    before = signal.getsignal(signal.SIGINT)
    assert demo._pytest(["--version"]) == 2
    assert seen == [before, signal.SIG_IGN]
    assert signal.getsignal(signal.SIGINT) == before


def test_the_servers_options_are_the_simulated_servers() -> None:
    """A cost that it does not know would fail the demonstration, and no other test."""
    for option in demo.pytest_options(Path("r")):
        name, _, value = option.partition("=")
        if name not in ("--sglang", "--against"):
            continue
        keys = [part.partition("=") for part in value.partition(":")[2].split(",")]
        arguments = [f"--{key.replace('_', '-')}={given}" for key, _, given in keys]
        assert build_parser().parse_args(["--port=1", *arguments])
