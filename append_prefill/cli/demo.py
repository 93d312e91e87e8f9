"""`append-prefill demo`: a minute with two simulated servers, one of which got slower."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import webbrowser
from pathlib import Path

from append_prefill.cli.output import Commands, say
from append_prefill.cli.run import job
from append_prefill.errors import EXIT_INFRASTRUCTURE
from append_prefill.records.run import Run
from append_prefill.records.store import read_run
from append_prefill.report import format as fmt
from append_prefill.run.folders import LATEST

# Of the size that the nano model has on two cores; a launch-bound server whose requests scatter.
_FLOOR_MS = 6.0
_COSTS = "new_token_us=2,cached_token_us=0.5,form=sum,decode_ms=0.5,within_sd=0.03"
# A fifth of the floor: about twice what three short pairs can tell (the header says what they can),
# so that a machine busy with something else does not make the demonstration fail.
_SLOWER_MS = 1.2
# One more pair than a quick run has, since a simulated server is up in no time.
_PAIRS, _SAMPLES = 3, 5

_CAUGHT = "regression"


def register(commands: Commands) -> None:
    parser = commands.add_parser(
        "demo",
        help="a minute with two simulated servers, one of which got slower",
        description="Start two simulated servers side by side, one with a slow-down put into it, "
        "measure and judge them as any run does, and open the report. Needs no SGLang and no GPU.",
        epilog=f"Exit status: 0 the slow-down was found · {EXIT_INFRASTRUCTURE} it was not, or the "
        "run failed.",
    )
    parser.add_argument(
        "--report-dir",
        type=Path,
        default=Path("reports", "demo"),
        metavar="DIR",
        help="where the run is kept (default: %(default)s)",
    )
    parser.add_argument("--no-open", action="store_true", help="do not open the report")
    parser.set_defaults(run=_run)


def pytest_options(report_dir: Path) -> list[str]:
    """The options of the demonstration's run, as one could give them to `append-prefill run`."""
    return [
        "--quick",
        "--profile=cpu-nano",
        f"--sglang=simulated:floor_ms={_FLOOR_MS + _SLOWER_MS:g},{_COSTS}",
        f"--against=simulated:floor_ms={_FLOOR_MS:g},{_COSTS}",
        f"--starts={_PAIRS}",
        f"--samples={_SAMPLES}",
        "--baseline=none",
        f"--report-dir={report_dir}",
    ]


def _run(args: argparse.Namespace) -> int:
    options = pytest_options(args.report_dir)
    say(
        f"Two simulated servers, side by side. The candidate takes {_SLOWER_MS:g} ms more for each "
        f"request than the reference ({_FLOOR_MS:g} ms at its floor): will a run find that?"
    )
    say(f"append-prefill run {' '.join(options)}")
    status = _pytest(job(options, Path.cwd()))
    if status not in (0, 1):
        return EXIT_INFRASTRUCTURE
    folder = (args.report_dir / LATEST).resolve()
    run = read_run(folder, option="--report-dir")
    say()
    say(f"Put in: {_SLOWER_MS:g} ms on every request. Found: {_found(run)}.")
    page = folder / "report.html"
    say(f"The report: {page}")
    if not args.no_open and _has_display():
        webbrowser.open(page.as_uri())
    return 0 if run.verdict == _CAUGHT else EXIT_INFRASTRUCTURE


def _pytest(arguments: list[str]) -> int:
    """The exit status of pytest, which handles Ctrl-C by itself: its servers have to be stopped."""
    process = subprocess.Popen([sys.executable, "-P", "-m", "pytest", *arguments])
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGINT, before)


def _found(run: Run) -> str:
    level = None if run.comparison is None else run.comparison.level
    if level is None:
        return str(run.verdict)
    span = fmt.change_interval(level.low, level.high)
    return f"{run.verdict}, {fmt.change(level.ratio)} on the overall level ({span})"


def _has_display() -> bool:
    """Whether a browser would have somewhere to show a window."""
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
