"""What a GPU's kernels scatter by, within a launch and from launch to launch.

    python -m benchmarks.kernel_scatter [--read FILE]

The file has what torch's profiler recorded of launches on an H200 (SGLang 0.5.17, Llama-3.1-8B's
geometry): passes of `append-prefill cause` and of `benchmarks.slow_function`, by side and batch of
requests, each kernel's count and ms. Printed: of a launch with several batches, how far all kernels
together and the median one scatter from batch to batch, and how long a batch takes with the
profiler's start and stop; of passes in which launches of one version are on both sides, how far
each kernel scatters over launches, how far these scatters differ among kernels, and how many
kernels are certain by intervals of their own (Student's) and by those that hold for all together.
Last the record of the pass `graphs`, in the words of its page.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import numpy as np
from scipy import special

from append_prefill.analysis.kernels import (
    TOLD_LEAST_MS,
    by_family,
    family_of,
    kernel_differences,
)
from append_prefill.analysis.profiles import differences
from append_prefill.records.cause import Cause
from append_prefill.report.cause.sentence import cause_words, costs
from benchmarks.chance import certain

FILE = Path(__file__).parent / "data" / "kernels-2026-11" / "launches.json.gz"
RECORD = FILE.with_name("graphs.cause.json.gz")
ONE_VERSION = ("slow-scheduler", "slow-kernel")
WIDEST = 3
SLOWED = "spin_kernel"
"""In the second of them, on one side alone: it is left out here."""

Launch = Mapping[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--read", type=Path, default=FILE, metavar="FILE")
    passes = json.loads(gzip.decompress(parser.parse_args().read.read_bytes()))
    for launch in passes["graphs-first"]:
        print(within(launch))
    for name in ("graphs", *ONE_VERSION):
        print(f"{name}: all kernels, ms a request: {', '.join(totals(passes[name]))}")
    both = [launch for name in ONE_VERSION for launch in passes[name]]
    for line in between(both):
        print(line)
    for name in ONE_VERSION:
        print(f"{name}: {certain_words(passes[name])}")
    cause = Cause.model_validate_json(gzip.decompress(RECORD.read_bytes()))
    print(f"graphs: {cause_words(cause)}")
    print("graphs: TTFT " + ", ".join(f"{one.name} {one.plain_ms:.1f} ms" for one in costs(cause)))
    return 0


def within(launch: Launch) -> str:
    """How far batches of one launch scatter, those of as many requests."""
    most = max(batch["requests"] for batch in launch["batches"])
    alike = [per_request([one]) for one in launch["batches"] if one["requests"] == most]
    begun = [batch["traced_at_s"] for batch in launch["batches"]]
    own = [
        scatter([one[name] for one in alike])
        for name in alike[0]
        if all(name in one for one in alike)
    ]
    whole = scatter([sum(one.values()) for one in alike])
    return (
        f"graphs-first, {launch['side']}: {len(alike)} batches of {most} requests scatter by "
        f"{100 * whole:.2f} % as a whole, by {100 * median(own):.2f} % in the median kernel; one "
        f"every {median(b - a for a, b in pairwise(begun)):.1f} s"
    )


def totals(launches: Sequence[Launch]) -> list[str]:
    return [f"{one['side']} {sum(per_request(one['batches']).values()):.2f}" for one in launches]


def between(launches: Sequence[Launch]) -> list[str]:
    """How far kernels scatter over launches, each launch being the mean of its passes."""
    names = {(one["side"], one["pair"]) for one in launches}
    of = {
        name: [
            per_request(one["batches"]) for one in launches if (one["side"], one["pair"]) == name
        ]
        for name in names
    }
    mean = [
        {key: fmean(one.get(key, 0.0) for one in ones) for key in ones[0]} for ones in of.values()
    ]
    kernels = [key for key in mean[0] if SLOWED not in key and all(key in one for one in mean)]
    level = {key: fmean(one[key] for one in mean) for key in kernels}
    all_of = {key: scatter([one[key] for one in mean]) for key in kernels}
    told = {key: of for key, of in all_of.items() if level[key] >= TOLD_LEAST_MS}
    short = [of for key, of in all_of.items() if key not in told]
    widest = sorted(told, key=lambda key: -told[key])[:WIDEST]
    logs = np.log(np.array(list(told.values())) ** 2)
    by_chance = float(special.polygamma(1, (len(mean) - 1) / 2))
    ends = sorted(told.values())
    return [
        f"{len(told)} kernels over {len(mean)} launches scatter by {100 * ends[0]:.2f} to "
        f"{100 * ends[-1]:.2f} % of their time, the median one by {100 * median(ends):.2f}",
        "most: "
        + ", ".join(
            f"{family_of(key)} of {level[key]:.3f} ms {100 * told[key]:.2f}" for key in widest
        ),
        f"{len(short)} of less than {TOLD_LEAST_MS:g} ms scatter by "
        f"{100 * median(short):.2f} % in the median",
        f"the logarithms of their variances differ by {logs.var(ddof=1):.2f} (squared), of which "
        f"{by_chance:.2f} are chance",
    ]


def certain_words(launches: Sequence[Launch]) -> str:
    sides = [
        [
            {name: ms for name, ms in per_request(one["batches"]).items() if SLOWED not in name}
            for one in launches
            if one["side"] == side
        ]
        for side in ("candidate", "reference")
    ]
    alone = len(certain(differences(sides[0], sides[1], sample_ms=0.0)))
    together = len(certain(kernel_differences(sides[0], sides[1])))
    by_name = [[by_family(one) for one in side] for side in sides]
    families = kernel_differences(by_name[0], by_name[1])
    return (
        f"of {len(sides[0][0])} kernels certain each by itself {alone}, together {together}; of "
        f"{len(families)} names {len(certain(families))}"
    )


def per_request(batches: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Ms per request by kernel, over all batches."""
    found: Counter[str] = Counter()
    for batch in batches:
        found.update({name: ms for name, (_, ms) in batch["kernels"].items()})
    requests = sum(batch["requests"] for batch in batches)
    return {name: ms / requests for name, ms in found.items()}


def scatter(values: Sequence[float]) -> float:
    """The standard deviation, in parts of the mean."""
    return stdev(values) / fmean(values)


if __name__ == "__main__":
    raise SystemExit(main())
