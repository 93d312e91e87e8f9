"""The A/A noise of a site: how launches of one version scatter, within a session and between
sessions.

Variance components by moments, on log statistics: session (random) / launch within session (random)
/ sample within launch. With unequal numbers the between-session component is the unbiased estimator
of Searle, Casella & McCulloch, Variance Components (1992), section 3.6; it is cut at 0.

How little few sessions say: a standard deviation from n sessions has n - 1 degrees of freedom. The
95 % interval of the true one runs from 0.45 to 31.9 times the estimate with two sessions, 0.57 to
3.7 times with four, 0.69 to 1.83 times with ten. `compare` takes those degrees of freedom into its
intervals, so few sessions make wide ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from append_prefill.analysis.components import components_of, pairs_of, whole
from append_prefill.analysis.design import ALIKE, strata_of
from append_prefill.analysis.rounds import pair_figures, rounds_of
from append_prefill.analysis.summary import FloatArray, log_matrix, usable
from append_prefill.analysis.verdict.sides import complete
from append_prefill.records.launch import Start
from append_prefill.records.noise import NoisePoint, NoiseRecord, TrafficNoise
from append_prefill.workload.points import Point
from append_prefill.workload.policy import Plane
from append_prefill.workload.traffic_experiment import TrafficExperiment


@dataclass(frozen=True, slots=True)
class Components:
    """Variances, None where too little was measured: within a session, between sessions."""

    within: float | None
    between: float | None


def components(groups: Sequence[FloatArray]) -> Components:
    """One-way random effects by moments; each group holds one session's values, shape
    (launches,).
    """
    groups = [group for group in groups if group.size]
    count = sum(group.size for group in groups)
    nights = len(groups)
    if count - nights < 1:
        return Components(None, None)
    within = sum(float(((g - g.mean()) ** 2).sum()) for g in groups) / (count - nights)
    if nights < 2:
        return Components(within, None)
    grand = float(np.concatenate(groups).mean())
    mean_square = sum(g.size * (float(g.mean()) - grand) ** 2 for g in groups) / (nights - 1)
    size = (count - sum(g.size**2 for g in groups) / count) / (nights - 1)
    return Components(within, max(0.0, (mean_square - within) / size))


def _root(variance: float | None) -> float | None:
    return None if variance is None else float(np.sqrt(variance))


def robust_sd(residuals: FloatArray) -> float:
    """Sd from the median absolute deviation, scaled for the normal: outliers hardly count."""
    deviations = np.abs(residuals - np.median(residuals))
    return float(np.median(deviations) / special.ndtri(0.75))


def lag1(sequences: Sequence[FloatArray]) -> float | None:
    """Lag-1 autocorrelation of samples in time order, pooled over launches after centring each.

    Corrected for the bias of -1/n that centring brings (Kendall & Stuart, volume 3, section 48.3).
    None where no launch has at least four samples or none varies.
    """
    usable_ones = [s - s.mean() for s in sequences if s.size >= 4]
    power = sum(float((s**2).sum()) for s in usable_ones)
    if not usable_ones or power == 0:
        return None
    raw = sum(float((s[1:] * s[:-1]).sum()) for s in usable_ones) / power
    mean_size = float(np.mean([s.size for s in usable_ones]))
    return min(1.0, raw + 1 / mean_size)


def effective_n(samples: float, correlation: float | None) -> float | None:
    """Independent samples that `samples` correlated ones are worth: n (1 - r) / (1 + r), AR(1).

    Never more than `samples`: a negative correlation is not relied upon.
    """
    if correlation is None:
        return None
    correlation = max(correlation, 0.0)
    return samples * (1 - correlation) / (1 + correlation)


def _point_noise(point: Point, nights: Sequence[Sequence[Start]]) -> NoisePoint:
    sequences: list[FloatArray] = []
    for starts in nights:
        for start in usable(starts, None):
            sequences += [np.log(s.ttft_ms) for s in start.series if s.point == point]
    sequences = [s for s in sequences if s.size >= 2]
    figures = [log_matrix(starts, [point])[:, 0] for starts in nights]
    spread = components([f[~np.isnan(f)] for f in figures])
    within = correlation = worth = None
    if sequences:
        # A median takes one degree of freedom from each launch, as a mean would.
        size = sum(s.size for s in sequences)
        residuals = np.concatenate([s - np.median(s) for s in sequences])
        within = robust_sd(residuals) * float(np.sqrt(size / (size - len(sequences))))
        correlation = lag1(sequences)
        worth = effective_n(size / len(sequences), correlation)
    return NoisePoint(
        context_tokens=point.context_tokens,
        append_tokens=point.append_tokens,
        start_sd=_root(spread.within),
        within_sd=within,
        lag1=correlation,
        effective_n=worth,
    )


def _common_levels(nights: Sequence[Sequence[Start]], points: Sequence[Point]) -> list[FloatArray]:
    """Each session's launches' levels, shape (launches,), over the points that all of them
    measured.
    """
    tables = [log_matrix(starts, points) for starts in nights]
    whole = np.concatenate([np.zeros((0, len(points))), *tables])
    kept, _, columns = complete(whole, whole[:0])
    levels, offset = [], 0
    for table in tables:
        rows = [row - offset for row in kept if offset <= row < offset + len(table)]
        levels.append(table[np.ix_(rows, columns)])
        offset += len(table)
    return levels


def noise_of(nights: Sequence[Sequence[Start]], plane: Plane = ALIKE) -> NoiseRecord:
    """The noise of launches of one and the same version, grouped by session.

    `start_sd`: sd of a launch's common level within a session (the mean over points of its
    log statistics, less what the points' own scatter contributes to that mean). `night_sd`: of a
    session's level; None with fewer than two sessions, or no session with two launches.
    `within_sd`: median over points of the robust sd of samples inside a launch. Per point: sd of
    the launch's statistic within sessions, robust within-launch sd, lag-1 autocorrelation and
    effective number of samples.

    Both sides of a side-by-side run of one version are launches of one session; what their pairs
    scatter by is told by variance components, over all points and the strata of `plane`.
    """
    points = sorted(
        {s.point for starts in nights for start in usable(starts, None) for s in start.series}
    )
    tables = [table for table in _common_levels(nights, points) if table.size]
    rows = [_point_noise(point, nights) for point in points]
    spread = components([table.mean(axis=1) for table in tables])
    start_variance = spread.within
    if start_variance is not None:
        start_variance = max(0.0, start_variance - level_error(tables))
    within = [row.within_sd for row in rows if row.within_sd is not None]
    pairs, common = whole(pairs_of(nights), points)
    over_all = components_of(pairs, common, np.ones(len(common), dtype=np.bool_))
    return NoiseRecord(
        starts=sum(len(table) for table in tables),
        nights=len(tables),
        start_sd=_root(start_variance),
        within_sd=float(np.median(within)) if within else None,
        night_sd=_root(spread.between),
        pair_sd=over_all.pair_sd,
        pairs=len(pairs) if over_all.pair_sd is not None else 0,
        rounds=float(np.mean([len(rounds_of(*pair)) for pair in pairs])) if pairs else None,
        components=over_all if pairs else None,
        strata={
            name: components_of(pairs, common, group)
            for name, group in strata_of(common, plane).items()
            if pairs
        },
        ratio_night_sd=_ratio_night_sd(nights, points),
        points=rows,
    )


def traffic_noise(
    nights: Sequence[Sequence[Start]], experiments: Sequence[TrafficExperiment]
) -> list[TrafficNoise]:
    """What the pairs of each experiment in other traffic scatter by, of those with two or more.

    `nights` as in `noise_of`; the pairs are of one version.
    """
    found = []
    for experiment in experiments:
        conditions = frozenset(experiment.conditions)
        own = [(a.within(conditions), b.within(conditions)) for a, b in pairs_of(nights)]
        measured = {s.point for pair in own for start in pair for s in start.series if s.ttft_ms}
        pairs, points = whole(own, sorted(measured))
        of_pairs = components_of(pairs, points, np.ones(len(points), dtype=np.bool_))
        if of_pairs.pair_sd is None:
            continue
        found.append(
            TrafficNoise(
                experiment=experiment.id,
                traffic=experiment.traffic.label,
                points=[(p.context_tokens, p.append_tokens) for p in points],
                pairs=len(pairs),
                rounds=float(np.mean([len(rounds_of(*pair)) for pair in pairs])),
                components=of_pairs,
            )
        )
    return found


def level_error(tables: Sequence[FloatArray]) -> float:
    """Variance that the points' own scatter gives to a launch's mean over points.

    Each table holds one session's launches, shape (launches, points).
    """
    squares = df = 0.0
    count = tables[0].shape[1]
    for table in tables:
        residual = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
        squares += float((residual**2).sum())
        df += (len(table) - 1) * (count - 1)
    return squares / df / count if df else 0.0


def _ratio_night_sd(nights: Sequence[Sequence[Start]], points: Sequence[Point]) -> float | None:
    """Sd between sessions of a session's mean log ratio, beyond what its pairs explain.

    None with fewer than two sessions that have pairs, or none that has two.
    """
    groups = []
    for starts in nights:
        rows = [pair_figures(*pair, points).values for pair in pairs_of([starts])]
        groups.append(np.array([np.nanmean(row) for row in rows if not np.isnan(row).all()]))
    return _root(components(groups).between)
