"""The GPU's kernels: which family one is of, and how sure it is that it takes more.

A kernel's name says how it was built. For 832 rows cuBLAS takes another tile of a matrix product
than for 820, and calls it nvjet_sm90_tst_256x128_... where it was nvjet_sm90_tst_128x208_...: what
one of them takes more another takes less, and only both together say what the products cost. So
kernels are summed by family, which is the name without the parameters that it was built with.

A kernel's time is measured and not sampled, and within a launch it hardly scatters. From one launch
to the next it does, as buffers lie elsewhere: most by less than 1 % of their time, a matrix product
with one row by 2, and the shortest by 5 (`python -m benchmarks.kernel_scatter`). Two or three pairs
say next to nothing of one kernel's scatter, and the others say little, since kernels differ so
much. So it is moderated over all of them as in limma (`moderation.moderate_family`), relative to
what each takes, with few degrees of freedom (`PRIOR_DF`), and the intervals hold for all together
(Bonferroni): of simulated passes of one version 1 to 4 in 100 have any without zero, and three
pairs find a tenth more in a kernel (`python -m benchmarks.chance`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from append_prefill.analysis.moderation import Spread, moderate_family
from append_prefill.analysis.profiles import Difference, differences
from append_prefill.analysis.summary import CONFIDENCE, around

TOLD_LEAST_MS = 0.01
"""A request's, on the side that takes more: what is less is less than a thousandth of the shortest
TTFT that was seen on a GPU. It is ranked, and has no interval. Of 50
kernels of a request 28 are as short; they scatter three times as far, and would make the long ones
look as unsure (`python -m benchmarks.kernel_scatter`)."""

PRIOR_DF = 1.4
"""Degrees of freedom that the other kernels count for at most. With d of them the logarithms of the
true variances differ by trigamma(d / 2), here 2.8; those of 22 kernels did by 3.0 on an H200, over
four launches of one version and beyond what four launches leave to chance (`python -m
benchmarks.kernel_scatter`). Were they fitted to each run, many would come out now and then by
chance, and kernels would be certain for nothing."""

SCATTER_LEAST = 0.003
"""Of a pair's difference, in parts of the kernel's time. Batches of one launch, of 59 requests,
scatter by 0.4 and 0.8 % in the median kernel: two launches of a hundred requests that agree by less
do so by chance, and a scatter of next to nothing would spoil the fit of the others."""

_NO_NAME = re.compile(r"^void\s|\(anonymous\snamespace\)::")
_WRAPPERS = re.compile(r"(?:^|::)(?:device_kernel|enable_sm\w*)$")
"""Of CUTLASS: what runs is the first of their parameters."""


def plain_name(name: str) -> str:
    """The name without what stands in front of every one of C++."""
    return _NO_NAME.sub("", name)


def family_of(name: str) -> str:
    """The kernel's name without the parameters that it was built with.

    Of C++ that is what stands before its template's parameters, and of names in words, which carry
    numbers, what stands before the first of these.
    """
    base, opened, inside = plain_name(name).partition("<")
    base = base.partition("(")[0].strip()
    if opened and inside and _WRAPPERS.search(base):
        return family_of(inside)
    if opened or "::" in base:
        return base
    first, *words = base.split("_")
    kept = [first]
    for word in words:
        if any(letter.isdigit() for letter in word):
            break
        kept.append(word)
    return "_".join(kept) or base


def by_family(kernels_ms: Mapping[str, float]) -> dict[str, float]:
    """One launch's ms per request of each family."""
    found: defaultdict[str, float] = defaultdict(float)
    for name, ms in kernels_ms.items():
        found[family_of(name)] += ms
    return dict(found)


def kernel_differences(
    candidates: Sequence[Mapping[str, float]], references: Sequence[Mapping[str, float]]
) -> dict[str, Difference]:
    """As `profiles.differences`, with intervals that hold for all kernels together.

    One pair alone has none. Raises ValueError where the sides are not as many, or none.
    """
    found = differences(candidates, references, sample_ms=0.0)
    pairs = len(candidates)
    if pairs < 2:
        return found
    level = {
        key: max(one.candidate_ms or 0.0, one.reference_ms or 0.0) for key, one in found.items()
    }
    told = [key for key in found if level[key] >= TOLD_LEAST_MS]
    half = _half_widths(candidates, references, {key: level[key] for key in told})
    return {
        key: replace(one, delta_ms=around(one.delta_ms.value, half.get(key)))
        for key, one in found.items()
    }


def _half_widths(
    candidates: Sequence[Mapping[str, float]],
    references: Sequence[Mapping[str, float]],
    level_ms: Mapping[str, float],
) -> dict[str, float]:
    """Half of each interval, in ms, of the kernels that have a level."""
    if not level_ms:
        return {}
    new, old = (
        np.array([[one.get(key, 0.0) for key in level_ms] for one in side])
        for side in (candidates, references)
    )
    level, pairs = np.array(list(level_ms.values())), len(new)
    scatter = np.maximum(((new - old) / level).var(axis=0, ddof=1), SCATTER_LEAST**2)
    own = Spread(scatter / pairs, np.full(len(level), pairs - 1.0))
    known = moderate_family(own, PRIOR_DF)
    half = known.half_width(1 - (1 - CONFIDENCE) / len(level)) * level
    return dict(zip(level_ms, half.tolist(), strict=True))
