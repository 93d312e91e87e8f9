"""What functions scatter by from launch to launch, beside what their counts alone would.

    python -m benchmarks.function_scatter [FILE …]

Each file has the launches of one pass of `append-prefill cause`, in pairs: what each function took
itself, in ms a request. Printed for each: how TTFT and all functions together differed by pair; of
functions in bands of how many samples both sides have, the mean dispersion (the variance of the
mean difference over pairs, over what counts alone make it); and how many functions are certain, by
intervals of their own (Student's, as before 0.2) and by those that hold for all together.
`aa-before` and `aa` have one version on both sides: without turns, and with.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from append_prefill.analysis.profiles import Difference, differences
from append_prefill.analysis.sampled import SAMPLES_LEAST, sampled_differences
from append_prefill.engines.profiler import RATE_HZ

DATA = Path(__file__).parent / "data" / "cause-2026-11"
BANDS = (SAMPLES_LEAST, 20, 50, 100, 400, 10**9)

Launch = Mapping[str, float]


@dataclass(frozen=True)
class Pass:
    """Both sides' launches, in pairs: ms a request by function; TTFT in ms, under the profiler."""

    candidates: Sequence[Launch]
    references: Sequence[Launch]
    profiled_ms: Sequence[tuple[float, float]]
    requests: int

    @property
    def sample_ms(self) -> float:
        return 1000 / RATE_HZ / self.requests


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    for file in parser.parse_args().files or sorted(DATA.glob("*.pairs.json.gz")):
        print(f"{file.name.removesuffix('.pairs.json.gz')}:")
        for line in lines_of(load(file)):
            print(f"  {line}")
    return 0


def load(file: Path) -> Pass:
    pairs = json.loads(gzip.decompress(file.read_bytes()))["pairs"]
    sides = [[pair[side] for pair in pairs] for side in ("candidate", "reference")]
    return Pass(
        *([launch["own_ms"] for launch in side] for side in sides),
        [(pair["candidate"]["profiled_ms"], pair["reference"]["profiled_ms"]) for pair in pairs],
        min(launch["requests"] for side in sides for launch in side),
    )


def lines_of(one: Pass) -> list[str]:
    pairs = len(one.candidates)
    moved = [100 * (new / old - 1) for new, old in one.profiled_ms]
    totals = [
        sum(new.values()) - sum(old.values())
        for new, old in zip(one.candidates, one.references, strict=True)
    ]
    alone = differences(one.candidates, one.references, sample_ms=one.sample_ms)
    together = sampled_differences(one.candidates, one.references, sample_ms=one.sample_ms)
    return [
        f"{pairs} pairs of {one.requests} requests, {len(alone)} functions",
        "TTFT under the profiler, by pair: " + ", ".join(f"{of:+.1f} %" for of in moved),
        "all functions together, by pair: " + ", ".join(f"{of:+.2f} ms" for of in totals),
        *dispersions(one),
        f"certain: {certain(alone)} each by itself, {certain(together)} of all together",
    ]


def dispersions(one: Pass) -> list[str]:
    """A line for each band that has functions."""
    keys = sorted({key for launch in (*one.candidates, *one.references) for key in launch})
    new, old = (
        np.array([[launch.get(key, 0.0) for key in keys] for launch in side]) / one.sample_ms
        for side in (one.candidates, one.references)
    )
    pairs, samples = len(new), (new + old).sum(axis=0)
    lines = []
    for least, below in pairwise(BANDS):
        band = (samples >= least) & (samples < below)
        if band.any():
            scatter = (new - old)[:, band].var(axis=0, ddof=1) / pairs
            mean = float((scatter / (samples[band] / pairs**2)).mean())
            upto = f"to {below - 1}" if below < BANDS[-1] else "and more"
            lines.append(f"{least} {upto} samples: {band.sum()} functions, dispersion {mean:.2f}")
    return lines


def certain(found: Mapping[str, Difference]) -> int:
    return sum(
        one.delta_ms.low is not None
        and one.delta_ms.high is not None
        and (one.delta_ms.low > 0 or one.delta_ms.high < 0)
        for one in found.values()
    )


if __name__ == "__main__":
    raise SystemExit(main())
