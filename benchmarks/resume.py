"""A run on this machine that is killed again and again, and gone on with each time.

    python -m benchmarks.resume --sglang ENV [--against OTHER] [--kills 10] [--seed 1]

Measures once without a cut, then the same plan with `--kills` SIGKILLs of pytest, after times drawn
from the seed over what the first took, each followed by `--resume`. Takes between two and three
times as long as one run, and a quiet machine.

Prints, for each kill, where the run was, how many pairs were whole, whether their launches are the
same bytes afterwards and how many servers were left after five seconds; then both verdicts. Exit
status 1 if a launch was lost or changed, a server was left, or the launches of the two runs are not
as many. Verdicts of real launches may differ by chance: they are printed beside the levels.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil

from append_prefill.cli.run import job
from append_prefill.engines import _supervisor
from append_prefill.records.run import Run
from append_prefill.records.store import RUN_FILE, read_run
from append_prefill.run.queue import WORK, read_state

LEFT_S = 5.0
"""A server's supervisor gives it three seconds to end by itself on a CPU."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sglang", required=True, metavar="ENV")
    parser.add_argument("--against", metavar="ENV")
    parser.add_argument("--profile", default="cpu-nano", metavar="NAME|FILE")
    parser.add_argument("--starts", type=int, metavar="N")
    parser.add_argument("--kills", type=int, default=10, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    options = [
        f"--sglang={args.sglang}",
        f"--profile={args.profile}",
        f"--seed={args.seed}",
        "--baseline=none",
        *([f"--against={args.against}"] if args.against else []),
        *([f"--starts={args.starts}"] if args.starts else []),
    ]
    with TemporaryDirectory() as folder:
        return compare(options, args.kills, args.seed, Path(folder))


def compare(options: Sequence[str], kills: int, seed: int, folder: Path) -> int:
    """Measure without a cut and with `kills` of them; the exit status."""
    began_s = time.monotonic()
    whole = folder / "whole"
    _begin([*options, f"--report-dir={whole}"]).wait()
    took_s = time.monotonic() - began_s
    uncut = read_run(whole / "latest", option="RUN")
    print(f"without a cut: {_told(uncut)} after {took_s:.0f} s")

    cut, wrong = folder / "cut", 0
    before: dict[str, str] = {}
    moments = np.diff(np.sort(np.random.default_rng(seed).uniform(0, took_s, kills)), prepend=0.0)
    given = [*options, f"--report-dir={cut}"]
    for number, after_s in enumerate(moments, start=1):
        run = _begin(given)
        try:
            run.wait(after_s)
            print(f"the run ended before kill {number}")
            break
        except subprocess.TimeoutExpired:
            run.kill()
            run.wait()
        left = _left_after(LEFT_S)
        report = _report_folder(cut)
        kept = {} if report is None else _whole_launches(report)
        where = "before the first line" if report is None else _last_line(report)
        changed = sum(kept.get(name) != digest for name, digest in before.items())
        wrong += left + changed
        print(
            f"kill {number} after {after_s:.0f} s: {where}; {len(kept)} launches whole, "
            f"{changed} changed, {left} servers left"
        )
        before = kept
        if report is not None and (report / RUN_FILE).is_file():
            given = [f"--resume={report}"]
    status = _begin(given).wait()
    report = _report_folder(cut)
    if report is None:
        print(f"nothing was measured; pytest ended with {status}")
        return 1
    resumed = read_run(report, option="RUN")
    after = _whole_launches(report)
    wrong += sum(after.get(name) != digest for name, digest in before.items())
    print(
        f"with {kills} kills: {_told(resumed)}, cut {len(resumed.state.get('resumed', []))} times"
    )
    return int(wrong > 0 or len(resumed.starts) < len(resumed.plan.sides) * resumed.plan.starts)


def _begin(options: Sequence[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "pytest", *job(options, Path.cwd())]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def _report_folder(reports: Path) -> Path | None:
    if not reports.is_dir():
        return None
    return next((p for p in sorted(reports.iterdir()) if p.is_dir() and not p.is_symlink()), None)


def _whole_launches(report: Path) -> dict[str, str]:
    """Digests of the launches of pairs that are whole, by file name."""
    state = read_state(report / WORK)
    done = set() if state is None else set(state.done)
    texts = {path.name: path.read_bytes() for path in (report / "starts").glob("*.json")}
    return {
        name: hashlib.sha256(text).hexdigest()
        for name, text in texts.items()
        if json.loads(text)["pair"] in done
    }


def _left_after(limit_s: float) -> int:
    """Servers of the suite that are there after that time; none as soon as none is."""
    deadline = time.monotonic() + limit_s
    while (left := _supervisors()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return len(left)


def _supervisors() -> list[int]:
    mine = _supervisor.__file__
    found = psutil.process_iter(["cmdline"])
    return [one.pid for one in found if mine in (one.info["cmdline"] or [])]


def _last_line(report: Path) -> str:
    lines = (report / "progress.log").read_text(encoding="utf-8").splitlines()
    return lines[-1] if lines else "before the first line"


def _told(run: Run) -> str:
    level = None if run.comparison is None else run.comparison.level
    shown = "" if level is None else f", level {level.ratio} ({level.low} to {level.high})"
    return f"{run.verdict}, {len(run.starts)} launches{shown}"


if __name__ == "__main__":
    sys.exit(main())
