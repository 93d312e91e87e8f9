"""How much of K devices K workers use: samples an hour with K of them over K times those of one.

    python -m benchmarks.workers --workers 8

Both runs are the plugin's own on simulated servers, whose waiting is no work, with as many launches
a worker; counted is from the first launch's beginning to the end of the last.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from append_prefill.records.run import Run
from append_prefill.records.store import read_run

STARTS_A_WORKER = 2
TESTS = "perf_tests/test_regression.py"


def run(folder: Path, workers: int, floor_ms: float) -> Run:
    """One run of the suite on simulated servers; exits with its output if it fails."""
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "append_prefill"),
        *("--profile", "cpu-nano", "--baseline", "none", "--seed", "1"),
        f"--sglang=simulated:floor_ms={floor_ms:g},devices={workers}",
        f"--starts={STARTS_A_WORKER * workers}",
        f"--report-dir={folder}",
        *(("-n", str(workers)) if workers > 1 else ()),
        TESTS,
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return read_run(folder / "latest")


def samples_an_hour(run: Run) -> float:
    """Valid samples over the hours from the first launch's beginning to the last one's end."""
    taken = sum(len(series.ttft_ms) for start in run.starts for series in start.series)
    ends = []
    for start in run.starts:
        assert start.ready_s is not None
        assert start.measured_s is not None
        ends.append(start.started_at + timedelta(seconds=start.ready_s + start.measured_s))
    began = min(start.started_at for start in run.starts)
    return taken / ((max(ends) - began) / timedelta(hours=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--floor-ms", type=float, default=60, help="of the simulated servers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        one = samples_an_hour(run(Path(folder) / "one", 1, options.floor_ms))
        many = samples_an_hour(run(Path(folder) / "many", options.workers, options.floor_ms))
    print(f"one worker: {one:,.0f} samples an hour")
    print(f"{options.workers} workers: {many:,.0f}, {many / one / options.workers:.3f} of as many")


if __name__ == "__main__":
    main()
