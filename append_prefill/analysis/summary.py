"""One figure a start and point, and the candidate's table of points.

The figure is the median TTFT of the start's valid samples, taken on the log scale: relative
changes are what a regression is, and the spread of a server's TTFT is roughly proportional to
its size. Server starts are the replicates; the samples inside a start share its memory layout,
its clocks and its warm-up, and treating them as independent gives false alarms at many times the
nominal rate (Kalibera & Jones, "Rigorous benchmarking in reasonable time", ISMM 2013).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from append_prefill.records.run import PointSummary, Series, Side, Start
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile

FloatArray = NDArray[np.float64]

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its 95 % interval; `low` and `high` are None where one start is all."""

    value: float
    low: float | None
    high: float | None


def t_interval(values: Sequence[float] | FloatArray, confidence: float = CONFIDENCE) -> Interval:
    """Mean of `values` (one a start) with Student's t interval.

    One value gives no interval. Raises ValueError on none.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise ValueError("an interval needs at least one value")
    mean = float(array.mean())
    if array.size == 1:
        return Interval(mean, None, None)
    half = float(stats.t.ppf((1 + confidence) / 2, array.size - 1))
    half *= float(array.std(ddof=1)) / np.sqrt(array.size)
    return Interval(mean, mean - half, mean + half)


def geometric_interval(values: Sequence[float] | FloatArray) -> Interval:
    """`t_interval` of the logarithms, taken back: geometric mean with its 95 % interval.

    Raises ValueError on no value or on one that is not positive.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size and not bool((array > 0).all()):
        raise ValueError("a geometric mean needs positive values")
    log = t_interval(np.log(array))
    return Interval(
        float(np.exp(log.value)),
        None if log.low is None else float(np.exp(log.low)),
        None if log.high is None else float(np.exp(log.high)),
    )


def void_blocks(start: Start) -> set[int]:
    """Blocks of this start that the device's state voided."""
    return {s.block for s in start.state if s.void is not None and s.side == start.side}


def valid_rows(start: Start, series: Series) -> list[int]:
    """Positions in the parallel lists of `series` that count.

    A sample of a block that the guard voided proves nothing, whatever the client measured.
    """
    void = void_blocks(start)
    if not void:
        return list(range(len(series.ttft_ms)))
    return [row for row, block in enumerate(series.block) if block not in void]


def usable(starts: Sequence[Start], side: Side | None) -> list[Start]:
    """The starts that count as replicates: of that side (None: of any), and not failed.

    A server that died or did not become ready is no replicate of a healthy one, even where it
    answered a few requests; nor is the torso of a start whose worker was killed.
    """
    return [
        s
        for s in starts
        if s.failure is None and s.measured_s is not None and (side is None or s.side == side)
    ]


def as_candidate(start: Start) -> Start:
    """A copy of a start that counts for the candidate, its voided blocks still void."""
    state = [block.model_copy(update={"side": "candidate"}) for block in start.state]
    return start.model_copy(update={"side": "candidate", "state": state})


def median_of(start: Start, point: Point) -> float | None:
    """Median TTFT in ms of the start's valid samples at `point`; None without any."""
    samples: list[float] = []
    for series in start.series:
        if series.point == point:
            samples += [series.ttft_ms[row] for row in valid_rows(start, series)]
    return float(np.median(samples)) if samples else None


def start_medians(
    starts: Sequence[Start], side: Side | None = "candidate"
) -> dict[Point, dict[int, float]]:
    """Median TTFT in ms: point -> start's index -> median of its valid samples.

    Points sorted; a start without a valid sample at a point is absent there. `side` None takes
    all. Raises ValueError if two of the starts share an index.
    """
    chosen = usable(starts, side)
    if len({start.index for start in chosen}) != len(chosen):
        raise ValueError("two starts share an index")
    table: dict[Point, dict[int, float]] = {}
    for start in chosen:
        for point in {series.point for series in start.series}:
            median = median_of(start, point)
            if median is not None:
                table.setdefault(point, {})[start.index] = median
    return dict(sorted(table.items()))


def log_matrix(starts: Sequence[Start], points: Sequence[Point]) -> FloatArray:
    """Log of the medians (ms), shape (starts, points); NaN where a start measured nothing.

    Takes every start that did not fail, whatever its side.
    """
    rows = [[median_of(start, point) for point in points] for start in usable(starts, None)]
    table = np.array(
        [[np.nan if cell is None else np.log(cell) for cell in row] for row in rows],
        dtype=np.float64,
    )
    return table.reshape(len(rows), len(points))


def summarise_points(starts: Sequence[Start], profile: Profile) -> list[PointSummary]:
    """The candidate at every point of the profile and every drawn one, sorted.

    `median_ms` is the geometric mean over starts of the starts' medians, with its 95 % t interval
    over starts; a planned point that no start measured is there with None and zero starts.
    """
    chosen = usable(starts, "candidate")
    medians = start_medians(starts)
    measured = {series.point for start in chosen for series in start.series}
    table: list[PointSummary] = []
    for point in sorted(set(profile.points) | measured):
        series = [(start, s) for start in chosen for s in start.series if s.point == point]
        per_start = list(medians.get(point, {}).values())
        interval = geometric_interval(per_start) if per_start else None
        valid = sum(len(valid_rows(start, s)) for start, s in series)
        taken = sum(len(s.ttft_ms) for _, s in series)
        table.append(
            PointSummary(
                experiment=profile.experiments_of(point),
                context_tokens=point.context_tokens,
                append_tokens=point.append_tokens,
                median_ms=interval.value if interval else None,
                low_ms=interval.low if interval else None,
                high_ms=interval.high if interval else None,
                starts=len(per_start),
                samples=valid,
                void=taken - valid + sum(v.count for _, s in series for v in s.void),
            )
        )
    return table
