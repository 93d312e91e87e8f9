"""Whether a server changed its speed within a launch: one step over the launch's blocks. Pure.

A launch counts as one replicate because its blocks are alike. A server that slows down half-way (a
leak, a clock that falls, a neighbour that moves in unseen) shifts the launch's mean and nothing in
the comparison would say so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from append_prefill.analysis.moderation import FloatArray
from append_prefill.records.launch import Start

SIDE_BLOCKS_MIN = 3
"""Blocks before and after a step: of fewer, one bad block looks like one."""

STEP_MIN = 0.20
"""The least step that is told, either way. Of 70 launches on shared CPUs and on GPUs (`reports`,
`baselines`, `benchmarks/data/cpu-2026-11`) three have a step that is sure, of 11, 12 and 18 %: so
much a busy host does, both sides of a pair bear it alike, and a reader would only learn to skip
it."""

FALSE_RATE = 1e-3
"""Of a launch that has no step, over all places where one might be."""


@dataclass(frozen=True, slots=True)
class Step:
    """From block `block` on (from 0) times are `ratio` times what they were before."""

    block: int
    ratio: float


def step_in(start: Start) -> Step | None:
    """The step in a launch's blocks, None where there is none or too few blocks to tell."""
    blocks, levels = _levels(start)
    n = len(levels)
    best: tuple[float, Step] | None = None
    places = range(SIDE_BLOCKS_MIN, n - SIDE_BLOCKS_MIN + 1)
    for cut in places:
        before, after = levels[:cut], levels[cut:]
        size = float(after.mean() - before.mean())
        pooled = (before.var() * cut + after.var() * (n - cut)) / (n - 2)
        error = math.sqrt(pooled * (1 / cut + 1 / (n - cut)))
        p = 0.0 if error == 0 else 2 * float(special.stdtr(n - 2, -abs(size) / error))
        if best is None or p < best[0]:
            best = p, Step(blocks[cut], math.exp(size))
    if best is None or best[0] * len(places) > FALSE_RATE:  # Bonferroni
        return None
    return best[1] if abs(math.log(best[1].ratio)) >= math.log1p(STEP_MIN) else None


def _levels(start: Start) -> tuple[list[int], FloatArray]:
    """Valid blocks and their levels: the median over points of the log TTFT beside the point's own.

    Of the launch's points, since a mean would let one outlier of a block look like a step.
    """
    by_block: dict[int, list[float]] = {}
    for series in start.series:
        if series.ttft_ms:
            logs = np.log(series.ttft_ms)
            for block, beside in zip(series.block, logs - np.median(logs), strict=True):
                by_block.setdefault(block, []).append(float(beside))
    blocks = sorted(by_block)
    return blocks, np.array([float(np.median(by_block[block])) for block in blocks])
