"""What a finding is measured by: ratios of ends, spreads, shares, each with its interval.

Every measure takes `Cells` (the launches' medians) and gives a `Measured`. Ratios are estimated per
launch and averaged on the log scale. A spread (max over min) is not: a launch's maximum over noisy
medians is too large on average, and averaging over launches does not cure that. See `spread_of`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
from scipy import special

from append_prefill.analysis.summary import FloatArray, t_interval
from append_prefill.workload.points import Point

Cells = Mapping[Point, Mapping[int, float]]
"""Median TTFT in ms by point and launch's index, as `start_medians` gives it."""

Axis = Callable[[Point], float]

TAIL = 0.975  # two-sided 95 %, the interval the record promises


@dataclass(frozen=True, slots=True)
class Measured:
    """A value with its 95 % interval over launches, None where fewer than two launches allow none.

    `near` and `far` are the points at the cheap and the dear end; if T(far) stays and T(near)
    sinks, the value worsens though nothing got slower. `is_band`: the value is (max - min) / max.
    """

    value: float
    low: float | None
    high: float | None
    starts: int
    near: tuple[Point, ...] = ()
    far: tuple[Point, ...] = ()
    details: dict[str, float | None] = field(default_factory=dict)
    is_band: bool = False

    @property
    def log(self) -> float:
        """The value as the log of a ratio: of a band (max - min) / max that of max / min."""
        return -math.log1p(-self.value) if self.is_band else math.log(self.value)

    def at_least(self, half_width: float) -> Measured:
        """With an interval that reaches so far to either side on the log scale; none stays none."""
        if self.low is None or self.high is None:
            return self
        low, high = self.log - half_width, self.log + half_width
        ends = (
            (-np.expm1(-max(0.0, low)), -np.expm1(-high)) if self.is_band else np.exp((low, high))
        )
        return replace(self, low=min(self.low, float(ends[0])), high=max(self.high, float(ends[1])))


class MissingError(ValueError):
    """The value cannot be computed; the text says what is missing, `point` where that is one."""

    def __init__(self, text: str, point: Point | None = None) -> None:
        self.point = point
        super().__init__(text)


def log_table(cells: Cells, points: Sequence[Point]) -> FloatArray:
    """Log medians of the launches that measured all of `points`, shape (launches, points).

    Raises MissingError where no launch did.
    """
    common: set[int] | None = None
    for point in points:
        measured = set(cells.get(point, {}))
        if not measured:
            raise MissingError(f"no valid sample at {point.label}", point)
        common = measured if common is None else common & measured
    if not common:
        raise MissingError("no launch measured all of " + ", ".join(p.label for p in points))
    rows = [[cells[point][index] for point in points] for index in sorted(common)]
    return np.asarray(np.log(rows))


def elasticity(table: FloatArray, axis: Sequence[float]) -> float:
    """Slope of ln T over ln x by least squares, averaged over launches (rows of `table`).

    0 is a constant TTFT, 1 one in proportion to x. NaN-free input, at least two distinct x.
    """
    return float(np.polyfit(np.log(axis), table.mean(axis=0), 1)[0])


def ratio_of(
    cells: Cells, points: Sequence[Point], axis: Axis, *, over: Axis | None = None
) -> Measured:
    """T at the largest `axis` over T at the smallest, divided by the span of `over` if given.

    Per launch, then mean and t interval over launches on the log scale.
    """
    ordered = sorted(points, key=axis)
    near, far = ordered[0], ordered[-1]
    if axis(near) == axis(far):
        raise MissingError("a ratio of ends needs two different points")
    ends = log_table(cells, (near, far))
    logs = ends[:, 1] - ends[:, 0]
    if over is not None:
        logs = logs - np.log(over(far) / over(near))
    interval = t_interval(logs)
    return Measured(
        value=float(np.exp(interval.value)),
        low=None if interval.low is None else float(np.exp(interval.low)),
        high=None if interval.high is None else float(np.exp(interval.high)),
        starts=len(logs),
        near=(near,),
        far=(far,),
    )


@cache
def _range_quantile(columns: int, df: int) -> float:
    # scipy integrates numerically, at some 0.1 s a call; a run asks for a handful of pairs. Its
    # stats are half of what importing the suite would take, and nothing else here needs them.
    from scipy import stats  # noqa: PLC0415

    return float(stats.studentized_range.ppf(TAIL, columns, df))


@dataclass(frozen=True, slots=True)
class Range:
    """Log of max over min of k columns: estimate and interval; `low`/`high` None with one row."""

    value: float
    low: float | None
    high: float | None
    smallest: int
    largest: int


def spread_of(table: FloatArray) -> Range:
    """The range of the columns' means of `table`, shape (launches, k), with a 95 % interval.

    The range of k noisy means is biased upwards, so its interval is not symmetric. Let R be the
    true range, r the range of the means and q the studentised range.

    - Lower end: the range is subadditive, r <= R + range(errors), and range(errors) / se follows
      the studentised range; so R >= r - q(0.975; k, df) * se with 97.5 % confidence, whichever
      columns are largest. Under pure noise "broken" is thus said in at most 2.5 of 100 runs.
    - Upper end: R is the difference of one fixed pair, and r is at least that pair's difference,
      so r plus that pair's one-sided t bound covers R (an intersection-union test needs no
      correction: Berger, Technometrics 1982).

    The level that a launch's columns share cancels: the error variance is that of the residuals of
    the two-way layout, with (launches - 1)(k - 1) degrees of freedom if the columns are equally
    noisy. They need not be; so the degrees of freedom are Satterthwaite's for columns of different
    variance, and each pair's own variance over launches is taken where it is the larger, both for
    the upper end (over all pairs) and for the lower end (the pair that makes the range).
    """
    starts, columns = table.shape
    means = table.mean(axis=0)
    smallest, largest = int(means.argmin()), int(means.argmax())
    value = float(means[largest] - means[smallest])
    if starts < 2 or columns < 2:
        return Range(value, None, None, smallest, largest)
    residual = table - means - table.mean(axis=1, keepdims=True) + table.mean()
    by_column = (residual**2).sum(axis=0)
    pooled = float(by_column.sum()) / ((starts - 1) * (columns - 1))
    alike = float(by_column.sum() ** 2 / (by_column**2).sum() / columns) if pooled > 0 else 1.0
    # Two columns are equally noisy by construction: rounding must not take them a whole degree.
    df = max(1, int(alike * (starts - 1) * (columns - 1) + 1e-9))
    pairs = table[:, :, None] - table[:, None, :]
    variance = np.maximum(pairs.var(axis=0, ddof=1), 2 * pooled)
    se = np.sqrt(variance / starts)
    upper = float((np.abs(pairs.mean(axis=0)) + special.stdtrit(df, TAIL) * se).max())
    # studentized_range counts in se of one mean: the pair's se over root 2.
    q = _range_quantile(columns, df) / np.sqrt(2)
    low = max(0.0, value - q * float(se[largest, smallest]))
    return Range(value, low, upper, smallest, largest)


def band_of(cells: Cells, points: Sequence[Point]) -> Measured:
    """(max T - min T) / max T over the points, on means over launches."""
    ordered = sorted(points)
    if len(ordered) < 2:
        raise MissingError("a band needs two points")
    table = log_table(cells, ordered)
    spread = spread_of(table)
    return Measured(
        value=float(-np.expm1(-spread.value)),
        low=None if spread.low is None else float(-np.expm1(-spread.low)),
        high=None if spread.high is None else float(-np.expm1(-spread.high)),
        starts=len(table),
        near=(ordered[spread.smallest],),
        far=(ordered[spread.largest],),
        details={"max_over_min": float(np.exp(spread.value))},
        is_band=True,
    )


def grouped_spread_of(cells: Cells, groups: Mapping[str, Sequence[Point]]) -> Measured:
    """Largest over smallest of the groups' mean TTFT (ms), a mean per launch and group.

    A point listed twice (it belongs to two experiments) counts twice, as in the study's table.
    """
    filled = {name: list(points) for name, points in groups.items() if points}
    if len(filled) < 2:
        raise MissingError("fewer than two of the ranges hold a point")
    every = sorted({point for points in filled.values() for point in points})
    times = np.exp(log_table(cells, every))
    columns = [
        times[:, [every.index(point) for point in points]].mean(axis=1)
        for points in filled.values()
    ]
    spread = spread_of(np.log(np.stack(columns, axis=1)))
    names = list(filled)
    means = {
        f"{name}_ms": float(np.exp(np.log(column).mean()))
        for name, column in zip(names, columns, strict=True)
    }
    return Measured(
        value=float(np.exp(spread.value)),
        low=None if spread.low is None else float(np.exp(spread.low)),
        high=None if spread.high is None else float(np.exp(spread.high)),
        starts=len(times),
        near=tuple(filled[names[spread.smallest]]),
        far=tuple(filled[names[spread.largest]]),
        details=dict(means),
    )


def share_of(shares: Sequence[float], points: tuple[Point, ...] = ()) -> Measured:
    """A share, one value per launch, with its t interval on the log scale."""
    if not shares:
        raise MissingError("no launch has the samples it takes")
    interval = t_interval(np.log(shares))
    return Measured(
        value=float(np.exp(interval.value)),
        low=None if interval.low is None else float(np.exp(interval.low)),
        high=None if interval.high is None else float(np.exp(interval.high)),
        starts=len(shares),
        near=points,
    )
