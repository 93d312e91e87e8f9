"""What a record of many samples takes: to report, to compare, and in bytes.

    python -m benchmarks.size [--samples 100000]

The committed run of two versions (`reports/sample`) with the samples of every launch repeated, each
time with 1 % of noise of its own, until it has as many. Printed are the wall seconds of the
commands as a user types them, starting Python included, and the bytes of what they read and write.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from append_prefill.records.launch import Series
from append_prefill.records.run import Run
from append_prefill.records.store import read_run, write_run

SAMPLE = Path(__file__).parents[1] / "reports" / "sample"
PARALLEL = ("itl_ms", "output_tokens", "cached_tokens")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=100_000, metavar="N")
    args = parser.parse_args()
    run = enlarged(read_run(SAMPLE), args.samples)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record = folder / "large" / "run.json"
        write_run(run, record)
        print(f"record: {samples_of(run):,} samples, {record.stat().st_size / 1e6:.1f} MB")
        reported_s = timed("report", str(record.parent))
        page = record.parent / "report.html"
        print(f"report: {reported_s:.2f} s, {page.stat().st_size / 1e6:.2f} MB")
        print(f"compare: {timed('compare', str(record), str(record)):.2f} s")
        print(f"append-prefill --version: {timed('--version'):.2f} s")
        for command in ("report", "compare"):
            took_s = imported_s(f"append_prefill.cli.{command}")
            print(f"of {command}, Python and imports: {took_s:.2f} s")


def samples_of(run: Run) -> int:
    return sum(len(series.ttft_ms) for start in run.starts for series in start.series)


def enlarged(run: Run, samples: int) -> Run:
    """The run with every series repeated alike, until all have `samples` together at least."""
    times = -(-samples // samples_of(run))
    rng = np.random.default_rng(1)
    for start in run.starts:
        start.series = [repeated(series, times, rng) for series in start.series]
        for state in start.state:
            state.void = None
    return run


def repeated(series: Series, times: int, rng: np.random.Generator) -> Series:
    noise = rng.lognormal(0.0, 0.01, times * len(series.ttft_ms))
    ttft_ms, e2e_ms = (
        (np.tile(given, times) * noise).tolist() for given in (series.ttft_ms, series.e2e_ms)
    )
    last = max(series.block, default=0) + 1
    block = [turn * last + number for turn in range(times) for number in series.block]
    alike = {name: list(getattr(series, name)) * times for name in PARALLEL}
    return series.model_copy(update={"ttft_ms": ttft_ms, "e2e_ms": e2e_ms, "block": block, **alike})


def imported_s(module: str) -> float:
    """Seconds that starting Python and importing a command take."""
    began_s = time.monotonic()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    return time.monotonic() - began_s


def timed(*arguments: str) -> float:
    command = [sys.executable, "-m", "append_prefill.cli.main", *arguments]
    began_s = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1, 8):
        sys.exit(done.stderr)
    return time.monotonic() - began_s


if __name__ == "__main__":
    main()
