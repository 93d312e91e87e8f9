"""The parts of a run's joint test: means over the plane, growth with m and L, single points.

Model: the log statistic of launch s at point p is mu_p + delta_p (candidate only) + u_s + e_sp. The
launch's common level u_s is by far the largest noise, and a mean over points does not shrink it;
differences between points are free of it. So delta is taken apart into means over points (all of
them, and each stratum: where TTFT is at its floor, and where computing shows) and contrasts that
sum to zero: the regression on m and on L, each adjusted for the other and scaled to the excess of
the far half over the average, and each point against the others of its stratum.

The strata are apart because they scatter differently: over 13 pairs on an H100 the ratio of a pair
by 2 to 4 % at the floor, which is host work, and by 0.7 to 0.9 % where the GPU computes (`python -m
benchmarks.placement_noise`). One mean over both buries a change that the quiet one shows.

Launches that followed each other: a launch is compared with the other side's mean, not with its
ABBA partner. The estimate is the same either way, and ABBA order has removed linear drift from it;
pairing would halve the degrees of freedom (five pairs at a level of 0.7 %: t = 4.2 in place of
3.1). Drift that is left in makes the unpaired variance too large, never too small.

Launches that were up together, alternating: what the machine did meanwhile is in both, so their
difference is the statistic. Over 60 A/A pairs on a shared two-core machine levels scattered by 8 %
and their ratio by 2.5 % (benchmarks/nights_cpu.json), worth far more than the degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from append_prefill.analysis.design import BoolArray, Design
from append_prefill.analysis.estimator import Estimator, Part, residual_variance
from append_prefill.analysis.moderation import (
    FloatArray,
    Spread,
    add,
    between_sessions,
    moderate_family,
    scaled,
)
from append_prefill.analysis.prior import Prior
from append_prefill.workload.policy import Stratum


@dataclass(frozen=True, slots=True)
class Joint:
    """Everything the verdict rests on, by axis where there are two.

    `level`: the weighted mean over all points; `strata`: the mean over each stratum's. `slopes`:
    the excess of the far half over the average; `ends`: the absolute effect there as measured, the
    mean of the points that lie there. `excess`: each point against the others of its stratum;
    `absolute`: each point. `timed`: the means again, each point weighed by the reference's TTFT
    there, which is what a change in milliseconds is; empty without those. `residual_variance`: of
    a launch at a point beyond its stratum's level, shape (..., points). `together` takes some of
    the points, shape (..., points), and gives what they have in common beyond the others of their
    strata, its spread from the launches alone.
    """

    level: Part
    strata: dict[Stratum, Part]
    slopes: dict[str, Part]
    ends: dict[str, Part]
    excess: Part
    absolute: Part
    residual_variance: FloatArray
    together: Callable[[BoolArray], Part]
    timed: dict[str, Part] = field(default_factory=dict)


def estimate(
    a: FloatArray,
    b: FloatArray,
    design: Design,
    prior: Prior,
    *,
    nights: bool,
    paired: bool = False,
    within: FloatArray | None = None,
    times_ms: FloatArray | None = None,
) -> Joint:
    """All parts for log statistics of candidate `a` and reference `b`.

    Shapes (..., launches, points) without NaN, at least two launches per side. `nights`: the sides
    were measured in different sessions; every variance is then larger by the factor by which the
    level's is, 2 night_sd^2 being added to that (sessions are known by their level only; that they
    scatter the shape as much is assumed). `paired`: row k of `a` and of `b` were measured together,
    so their difference is the statistic and pairs are the replicates. `within`: covariance of the
    mean difference that the scatter inside launches gives, from their blocks, shape (..., points,
    points); None where it is not known. `times_ms`: the reference's TTFT, for `Joint.timed`. Raises
    ValueError if `nights` and no night_sd is known, or for pairs of unequal number.
    """
    if paired and a.shape[-2] != b.shape[-2]:
        raise ValueError("pairs have as many launches on one side as on the other")
    if nights and prior.night_sd is None:
        raise ValueError("a comparison across sessions needs the between-session noise")
    count = a.shape[-1]
    residual, residual_df = np.zeros((*a.shape[:-2], count)), np.zeros(count)
    for group in design.groups:
        tables = [a[..., group] - b[..., group]] if paired else [a[..., group], b[..., group]]
        variance, df = residual_variance(tables)
        residual[..., group], residual_df[group] = variance[..., None], df
    of = Estimator(a, b, paired, residual, residual_df, within, prior.of_rounds_too)

    known = prior.level_sd(paired=paired), prior.level_df(paired=paired)
    level = of.mean(design.weights, *known)
    strata = {
        name: of.mean(group / group.sum(), *prior.of_stratum(name, paired=paired))
        for name, group in design.strata.items()
    }
    means = list(strata.values()) or [of.mean(np.full(count, 1 / count), *known)]
    excess, absolute = _points(of, design, means)

    slopes, ends = {}, {}
    for slope in design.slopes:
        slopes[slope.axis] = of.contrast(slope.row)
        terms = add(level.spread, of.contrast(slope.end - design.weights).spread)
        ends[slope.axis] = of.place(*of.values(slope.end), terms)

    def together(points: BoolArray) -> Part:
        return of.together(points, design.groups)

    joint = Joint(level, strata, slopes, ends, excess, absolute, residual, together)
    if times_ms is not None:
        joint = replace(joint, timed=_timed(of, design, prior, joint, times_ms))
    return _across_sessions(joint, prior) if nights else joint


def _points(of: Estimator, design: Design, means: Sequence[Part]) -> tuple[Part, Part]:
    """Each point against the others of its group, and as it is; `means` are the groups'."""
    shape = (*of.a.shape[:-2], len(design.points))
    excess, absolute = (
        Part(np.zeros(shape), Spread(np.zeros(shape), np.zeros(shape))) for _ in range(2)
    )

    def fill(target: Part, group: BoolArray, found: Part) -> None:
        target.estimate[..., group] = found.estimate
        target.spread.variance[..., group] = found.spread.variance
        target.spread.df[..., group] = found.spread.df

    for group, mean in zip(design.groups, means, strict=True):
        a, b, count = of.a[..., group], of.b[..., group], int(group.sum())
        if count == 1:
            fill(excess, group, Part(np.zeros_like(mean.estimate), mean.spread))
            fill(absolute, group, mean)
            continue
        factor = count / (count - 1)
        over_a, over_b = ((x - x.mean(axis=-1, keepdims=True)) * factor for x in (a, b))
        over = Part(
            over_a.mean(axis=-2) - over_b.mean(axis=-2), moderate_family(of.own(over_a, over_b))
        )
        common = Spread(
            np.broadcast_to(mean.spread.variance, over.estimate.shape),
            np.broadcast_to(mean.spread.df, over.estimate.shape),
        )
        fill(excess, group, over)
        fill(absolute, group, of.place(a, b, add(common, scaled(over.spread, factor**-2))))
    return excess, absolute


def _timed(
    of: Estimator, design: Design, prior: Prior, joint: Joint, times_ms: FloatArray
) -> dict[str, Part]:
    """The means over points with each point's TTFT as its weight, by the names of their effects."""

    def by_time(row: FloatArray) -> FloatArray:
        return np.asarray(row * times_ms / float(row @ times_ms))

    known = prior.level_sd(paired=of.paired), prior.level_df(paired=of.paired)
    parts = {"level": of.mean(by_time(design.weights), *known)}
    for name, group in design.strata.items():
        known = prior.of_stratum(name, paired=of.paired)
        parts[name] = of.mean(by_time(group.astype(np.float64)), *known)
    for slope in design.slopes:
        row = by_time(slope.end)
        terms = add(joint.level.spread, of.contrast(row - design.weights).spread)
        parts[slope.axis] = of.place(*of.values(row), terms)
    return parts


def _across_sessions(joint: Joint, prior: Prior) -> Joint:
    """Every spread with the sessions' part added, as much as the level's is larger for them."""
    night_sd = prior.night_sd
    assert night_sd is not None  # estimate() has refused
    inflation = 2 * night_sd**2 / joint.level.spread.variance
    doubt = 2 * (night_sd**2 + prior.night_error) / joint.level.spread.variance

    def wider(part: Part) -> Part:
        variance = part.spread.variance
        spread = between_sessions(
            part.spread, variance * inflation, variance * doubt, prior.night_df
        )
        return Part(part.estimate, spread)

    return Joint(
        wider(joint.level),
        {name: wider(part) for name, part in joint.strata.items()},
        {axis: wider(part) for axis, part in joint.slopes.items()},
        {axis: wider(part) for axis, part in joint.ends.items()},
        wider(joint.excess),
        wider(joint.absolute),
        joint.residual_variance,
        lambda points: wider(joint.together(points)),
        {name: wider(part) for name, part in joint.timed.items()},
    )
