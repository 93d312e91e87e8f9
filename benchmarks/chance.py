"""How often chance alone breaks a finding, or makes a function certain; and what is found.

    python -m benchmarks.chance [--draws 20000] [--passes 200]

Findings: two launches of two samples that scatter by 20 %, whose ratio of ends is 1.1 under a bound
of 1.2: how often the whole interval is beyond it, by Student's over launches and as a run judges.
Functions: three pairs of a server of 540, whose launches are slower as a whole by 8 %: how often
any is certain, and how often one of 0.1 ms is that takes 0.2 ms more (its launches alike to 3 %).
Kernels: pairs of twenty, which scatter by 0.6 % in the median and differ in that as on an H200:
how often any is certain, and how often one is that takes a tenth more.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from append_prefill.analysis.kernels import kernel_differences
from append_prefill.analysis.own_scatter import launch_interval
from append_prefill.analysis.profiles import Difference
from append_prefill.analysis.sampled import sampled_differences
from append_prefill.analysis.summary import t_interval

_K = TypeVar("_K")

BOUND, RATIO, SCATTER = 1.2, 1.1, 0.2
FUNCTIONS, PAIRS = 540, 3
KERNELS, KERNEL_SCATTER, KERNELS_DIFFER = 20, 0.006, 0.86
KERNEL_DRAWS = 5  # for each pass over functions, which takes as much longer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=20_000)
    parser.add_argument("--passes", type=int, default=200)
    args = parser.parse_args()
    student, judged = broken(np.random.default_rng(3), args.draws)
    print(f"broken by chance: {student:.2%} by launches alone, {judged:.2%} as judged")
    rng = np.random.default_rng(0)
    for requests in (400, 1600):
        any_, found = 0, 0
        for _ in range(args.passes):
            any_ += bool(certain(drawn(rng, requests, scale_sd=0.08)))
            found += 0 in certain(drawn(rng, requests, scale_sd=0.03, more_ms=0.2))
        print(
            f"{requests} requests: any function certain by chance in {any_ / args.passes:.1%} of "
            f"{args.passes} passes, +0.2 ms found in {found / args.passes:.1%}"
        )
    for pairs in (2, 3):
        any_, found = 0, 0
        for _ in range(args.passes * KERNEL_DRAWS):
            any_ += bool(certain(drawn_kernels(rng, pairs)))
            found += "0" in certain(drawn_kernels(rng, pairs, more=1.1))
        passes = args.passes * KERNEL_DRAWS
        print(
            f"{pairs} pairs: any kernel certain by chance in {any_ / passes:.1%} of {passes} "
            f"passes, a tenth more found in {found / passes:.1%}"
        )
    return 0


def broken(rng: np.random.Generator, draws: int) -> tuple[float, float]:
    """Parts of the draws whose interval is beyond the bound: over launches, and as judged."""
    student = judged = 0
    for _ in range(draws):
        near, far = 20 * np.exp(rng.normal(0, SCATTER, (2, 2, 2))) * [[[1.0]], [[RATIO]]]
        logs = np.log(np.median(far, axis=-1) / np.median(near, axis=-1))
        # Of two blocks each is left once the other is left out.
        without = np.log(far / near).tolist()
        for low, is_judged in (
            (t_interval(logs).low, False),
            (launch_interval(logs.tolist(), without).low, True),
        ):
            beyond = low is not None and low > math.log(BOUND)
            student, judged = student + (beyond and not is_judged), judged + (beyond and is_judged)
    return student / draws, judged / draws


def drawn(
    rng: np.random.Generator, requests: int, *, scale_sd: float, more_ms: float = 0.0
) -> dict[int, Difference]:
    mean = rng.lognormal(-4.6, 1.6, FUNCTIONS)
    mean[0] = 0.1
    sample_ms = 10 / requests
    launches: list[list[dict[int, float]]] = [[], []]
    for side in range(2):
        for _ in range(PAIRS):
            ms = mean * math.exp(rng.normal(0, scale_sd))
            ms[0] += more_ms if side == 0 else 0.0
            counts = rng.poisson(ms / sample_ms)
            launches[side].append({i: n * sample_ms for i, n in enumerate(counts) if n})
    return sampled_differences(*launches, sample_ms=sample_ms)


def drawn_kernels(
    rng: np.random.Generator, pairs: int, *, more: float = 1.0
) -> dict[str, Difference]:
    """The first takes 2 ms and scatters as the median one does."""
    level = rng.lognormal(-1.5, 1.4, KERNELS)
    scatter = KERNEL_SCATTER * rng.lognormal(0, KERNELS_DIFFER, KERNELS)
    level[0], scatter[0] = 2.0, KERNEL_SCATTER
    new, old = (level * np.exp(rng.normal(0, scatter, (pairs, KERNELS))) for _ in range(2))
    new[:, 0] *= more
    sides = [[dict(zip(map(str, range(KERNELS)), one, strict=True)) for one in side]
             for side in (new.tolist(), old.tolist())]  # fmt: skip
    return kernel_differences(*sides)


def certain(found: Mapping[_K, Difference]) -> set[_K]:
    ends = {key: (one.delta_ms.low, one.delta_ms.high) for key, one in found.items()}
    return {
        key
        for key, (low, high) in ends.items()
        if low is not None and high is not None and (low > 0 or high < 0)
    }


if __name__ == "__main__":
    raise SystemExit(main())
