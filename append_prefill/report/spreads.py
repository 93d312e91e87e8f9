"""What the samples of one side at one point look like: percentiles, and a median a launch."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import numpy as np

from append_prefill.records.grounds import Side
from append_prefill.records.run import Run
from append_prefill.workload.points import Point

P99_SAMPLES = 100
"""With fewer samples the 99th percentile is the largest one, which says nothing of a hundredth."""


@dataclass(frozen=True, slots=True)
class Spread:
    """One side's usable samples at one point, in ms; `p99` is None below `P99_SAMPLES`."""

    p50: float
    p90: float
    p99: float | None
    samples: int
    launches: tuple[float, ...]


def spreads_of(run: Run, side: Side) -> dict[Point, Spread]:
    """Every point that side has a usable sample at; `launches` are medians, in launch order."""
    values: dict[Point, list[float]] = {}
    medians: dict[Point, list[float]] = {}
    for start in run.starts:
        if start.side != side or not start.usable:
            continue
        for series in start.series:
            if series.ttft_ms:
                values.setdefault(series.point, []).extend(series.ttft_ms)
                medians.setdefault(series.point, []).append(statistics.median(series.ttft_ms))
    return {point: _spread(found, medians[point]) for point, found in values.items()}


def _spread(values: list[float], medians: list[float]) -> Spread:
    p50, p90, p99 = (float(p) for p in np.percentile(values, (50, 90, 99)))
    enough = len(values) >= P99_SAMPLES
    return Spread(p50, p90, p99 if enough else None, len(values), tuple(medians))
