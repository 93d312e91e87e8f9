"""Whether a finding is beyond its bound because the cheap end got cheaper: a regime shift."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from append_prefill.analysis.measures import Cells, Measured
from append_prefill.analysis.moderation import between_sessions, own_spread, paired_spread
from append_prefill.analysis.prior import Prior
from append_prefill.analysis.summary import FloatArray, Interval
from append_prefill.workload.points import Point
from append_prefill.workload.policy import Policy

Ratio = Callable[[Sequence[Point]], Interval | None]
"""Candidate over reference of the mean TTFT of some points, with its interval over launches; None
where one of the points is not known on both sides."""


CONFIDENCE = 0.99
"""Of the ratios' intervals. A shift is called an improvement, of which one run in a hundred may
speak falsely; the findings share their cheap ends, so they are nearly one test."""


@dataclass(frozen=True, slots=True)
class Against:
    """What the candidate's TTFT is held against.

    `cells`: the other side's medians by point and launch, or one value a point in `values` (a
    table's). `paired`: launches of one index were up together. `sessions`: what is known of how
    sessions differ, where the other side is of another one; its `night_sd` is not None.
    """

    cells: Cells
    values: Mapping[Point, float]
    paired: bool = False
    sessions: Prior | None = None

    def ratio_of(self, candidate: Cells) -> Ratio:
        """The ratio of `candidate` to it, of the mean TTFT over points."""

        def ratio(points: Sequence[Point]) -> Interval | None:
            own = _log_means(candidate, points)
            other = _log_means(self.cells, points)
            if own and other:
                return self._of_launches(own, other)
            if own and points and all(point in self.values for point in points):
                known = float(np.log(np.mean([self.values[point] for point in points])))
                return self._of_launches(own, dict.fromkeys(own, known))
            return None

        return ratio

    def _of_launches(self, own: Mapping[int, float], other: Mapping[int, float]) -> Interval:
        """Geometric mean ratio of launches' values by index, with its interval."""
        if both := sorted(own.keys() & other.keys()) if self.paired or not self.cells else []:
            a, b = _column(own, both), _column(other, both)
        else:
            a, b = _column(own, sorted(own)), _column(other, sorted(other))
        value = float(a.mean() - b.mean())
        if min(len(a), len(b)) < 2:
            return Interval(float(np.exp(value)), None, None)
        spread = paired_spread(a, b) if both else own_spread(a, b)
        if self.sessions is not None:
            night_sd, error = self.sessions.night_sd, self.sessions.night_error
            assert night_sd is not None
            added, doubt = (np.asarray(2 * of) for of in (night_sd**2, night_sd**2 + error))
            spread = between_sessions(spread, added, doubt, self.sessions.night_df)
        half = float(spread.half_width(CONFIDENCE)[0])
        return Interval(*(float(np.exp(x)) for x in (value, value - half, value + half)))


def _column(values: Mapping[int, float], indices: Sequence[int]) -> FloatArray:
    return np.array([[values[index]] for index in indices])


def _log_means(cells: Cells, points: Sequence[Point]) -> dict[int, float]:
    """Log of the mean TTFT over the points, by launch; of launches that measured them all."""
    if not points or any(point not in cells for point in points):
        return {}
    common = set.intersection(*(set(cells[point]) for point in points))
    return {i: float(np.log(np.mean([cells[p][i] for p in points]))) for i in sorted(common)}


@dataclass(frozen=True, slots=True)
class Regime:
    """Whether a finding is beyond its bound because the cheap end got cheaper, and the ratios.

    `shifted` is None where that cannot be told: the cheap end did get cheaper, and whether the dear
    end got dearer as well is open.
    """

    shifted: bool | None
    facts: dict[str, float | str | None]


def regime_of(measured: Measured, ratio: Ratio | None, policy: Policy) -> Regime:
    """Judged by intervals: of point estimates one in six pairs of one version, whose value was
    beyond its bound on both sides, was called a shift (80 of 500 runs).
    """
    if ratio is None:
        return Regime(False, {"reference_lacks": "everything"})
    near = ratio(measured.near)
    far = ratio(measured.far) if measured.far else Interval(1.0, 1.0, 1.0)
    if near is None or far is None or near.high is None or far.high is None or far.low is None:
        return Regime(False, {"reference_lacks": "points"})
    facts: dict[str, float | str | None] = {
        "near_ratio": near.value,
        "far_ratio": far.value if measured.far else None,
    }
    most = 1 + policy.must_catch
    if near.high >= 1 or near.value > 1 - policy.min_effect or far.low > most:
        return Regime(False, facts)
    return Regime(True if far.high <= most else None, facts)
