"""One statistic per launch and point, and the candidate's table of points.

What a user waits is told by the median TTFT of a launch's valid samples: points and findings are of
medians. Versions are compared, and the surface is fitted, by a statistic that scatters less from
launch to launch, `faster_half`. Both are taken on the log scale: relative changes are what a
regression is, and the scatter of a server's TTFT is roughly proportional to its size. Server
launches are the replicates; the samples inside a launch share its memory layout, its clocks and its
warm-up, and treating them as independent gives false alarms at many times the nominal rate
(Kalibera & Jones, "Rigorous benchmarking in reasonable time", ISMM 2013).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from append_prefill.records.grounds import Side
from append_prefill.records.launch import Start
from append_prefill.records.run import PointSummary
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile

FloatArray = NDArray[np.float64]

CONFIDENCE = 0.95

SAMPLES_BEYOND = 2
"""A quantile is told where so many samples lie beyond it: the largest alone is an accident."""

FIGURE_VARIANCE = 2 - 2 / math.pi
"""Variance of `faster_half` of n normal samples over that of one, times n: 1.36, a median's is
pi / 2. The mean below the median has the influence function 2 (min(x, 0) - E min(x, 0)), whose
variance is 4 (1/2 - 1 / (2 pi)) (Huber, Robust Statistics, 1981, section 3.3)."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its 95 % interval; `low` and `high` are None where one launch is all."""

    value: float
    low: float | None
    high: float | None


def around(value: float, half_width: float | None) -> Interval:
    """The interval that reaches so far to either side; None: there is none."""
    if half_width is None:
        return Interval(value, None, None)
    return Interval(value, value - half_width, value + half_width)


def t_interval(values: Sequence[float] | FloatArray, confidence: float = CONFIDENCE) -> Interval:
    """Mean of `values` (one per launch) with Student's t interval.

    One value gives no interval. Raises ValueError on none.
    """
    array = np.asarray(values)
    if array.size == 0:
        raise ValueError("an interval needs at least one value")
    mean = float(array.mean())
    if array.size == 1:
        return Interval(mean, None, None)
    half = float(special.stdtrit(array.size - 1, (1 + confidence) / 2))
    half *= float(array.std(ddof=1)) / np.sqrt(array.size)
    return Interval(mean, mean - half, mean + half)


def geometric_interval(values: Sequence[float] | FloatArray) -> Interval:
    """`t_interval` of the logarithms, taken back: geometric mean with its 95 % interval.

    Raises ValueError on no value or on one that is not positive.
    """
    array = np.asarray(values)
    if array.size and not bool((array > 0).all()):
        raise ValueError("a geometric mean needs positive values")
    log = t_interval(np.log(array))
    return Interval(
        float(np.exp(log.value)),
        None if log.low is None else float(np.exp(log.low)),
        None if log.high is None else float(np.exp(log.high)),
    )


def upper_quantile(samples: Sequence[float] | FloatArray, share: float) -> float | None:
    """The quantile that leaves `1 - share` of the samples above; None if too few lie beyond it."""
    if len(samples) * (1 - share) < SAMPLES_BEYOND:
        return None
    return float(np.quantile(np.asarray(samples), share))


def usable(starts: Sequence[Start], side: Side | None) -> list[Start]:
    """The launches that count as replicates, of that side (None: of any); see `Start.usable`."""
    return [s for s in starts if s.usable and (side is None or s.side == side)]


def as_candidate(start: Start) -> Start:
    """A copy of a launch that counts for the candidate."""
    return start.model_copy(update={"side": "candidate"})


def faster_half(log_ms: FloatArray) -> FloatArray:
    """Mean of the smaller half (rounded up) of log samples, over the last axis.

    What disturbs a request only ever adds to it, and on some machines to half of them: TTFT then
    has two humps, and a median, sitting between them, falls into either. Over five interleaved
    pairs on an H200 the ratio of the levels scattered by 6.3 % in medians and 3.0 % in this
    statistic, over sixty of one version on a shared CPU by 3.0 and 2.7 %, and single points beyond
    it by 8.9 and 5.2 %, 7.1 and 4.7 % (`python -m benchmarks.figures`). A slow-down of the whole
    distribution is in it in full; one of the slower half of the requests is not, as in a median. A
    side whose samples merely scatter more looks faster, so the comparison checks the medians.
    """
    half = (log_ms.shape[-1] + 1) // 2
    return np.asarray(np.sort(log_ms)[..., :half].mean(axis=-1))


def log_median(log_ms: FloatArray) -> FloatArray:
    """Log of the median of the samples themselves, over the last axis."""
    return np.asarray(np.log(np.median(np.exp(log_ms), axis=-1)))


def samples_of(start: Start, point: Point) -> FloatArray:
    """The launch's valid TTFT samples in ms at `point`, shape (samples,)."""
    samples: list[float] = []
    for series in start.series:
        # Not by `series.point`: this is asked for every point of every launch.
        at = series.context_tokens, series.append_tokens
        if at == (point.context_tokens, point.append_tokens):
            samples += series.ttft_ms
    return np.array(samples)


def start_medians(
    starts: Sequence[Start], side: Side | None = "candidate"
) -> dict[Point, dict[int, float]]:
    """Median TTFT in ms: point -> launch's index -> median of its valid samples.

    Points sorted; a launch without a valid sample at a point is absent there. `side` None takes
    all. Raises ValueError if two of the launches share an index.
    """
    chosen = usable(starts, side)
    if len({start.index for start in chosen}) != len(chosen):
        raise ValueError("two launches share an index")
    table: dict[Point, dict[int, float]] = {}
    for start in chosen:
        for point in {series.point for series in start.series}:
            samples = samples_of(start, point)
            if samples.size:
                table.setdefault(point, {})[start.index] = float(np.median(samples))
    return dict(sorted(table.items()))


def point_medians(starts: Sequence[Start]) -> dict[Point, float]:
    """TTFT in ms by point: the geometric mean over launches of each one's median.

    What a user waits, by the one route that every table takes; points sorted. The launches may be
    of several runs.
    """
    medians: dict[Point, list[float]] = {}
    for start in usable(starts, None):
        for point in {series.point for series in start.series}:
            samples = samples_of(start, point)
            if samples.size:
                medians.setdefault(point, []).append(float(np.median(samples)))
    return {point: geometric_interval(medians[point]).value for point in sorted(medians)}


def log_matrix(
    starts: Sequence[Start],
    points: Sequence[Point],
    figure: Callable[[FloatArray], FloatArray] = faster_half,
) -> FloatArray:
    """Log statistics of TTFT in ms, shape (launches, points); NaN where a launch measured nothing.

    Takes every launch that did not fail, whatever its side.
    """
    rows = []
    for start in usable(starts, None):
        cells = [samples_of(start, point) for point in points]
        rows.append([float(figure(np.log(cell))) if cell.size else np.nan for cell in cells])
    return np.array(rows).reshape(len(rows), len(points))


def summarise_points(starts: Sequence[Start], profile: Profile) -> list[PointSummary]:
    """The candidate at every point of the profile and every drawn one, sorted.

    `median_ms` is the geometric mean over launches of the launches' medians, with its 95 % t
    interval over launches; a planned point that no launch measured is there with None and zero
    launches.
    """
    chosen = usable(starts, "candidate")
    medians = start_medians(starts)
    measured = {series.point for start in chosen for series in start.series}
    table: list[PointSummary] = []
    for point in sorted(set(profile.points) | measured):
        series = [s for start in chosen for s in start.series if s.point == point]
        per_start = list(medians.get(point, {}).values())
        interval = geometric_interval(per_start) if per_start else None
        table.append(
            PointSummary(
                experiment=profile.experiments_of(point),
                context_tokens=point.context_tokens,
                append_tokens=point.append_tokens,
                median_ms=interval.value if interval else None,
                low_ms=interval.low if interval else None,
                high_ms=interval.high if interval else None,
                starts=len(per_start),
                samples=sum(len(s.ttft_ms) for s in series),
                void=sum(v.count for s in series for v in s.void),
            )
        )
    return table
