"""All experiments in other traffic of a run side by side: their pairs, and their rates.

What is judged of one is judged by `run.comparing`; here is by which noise, at which rate, and what
all of them say together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from append_prefill.analysis.components import pairs_of
from append_prefill.analysis.detection import PRIOR_WORTH, detectable
from append_prefill.analysis.estimator import Part
from append_prefill.analysis.family import (
    MEAN_SHARE,
    Levels,
    common_of,
    expected,
    level_of,
    mean_change,
)
from append_prefill.analysis.moderation import PRIOR_DF_MAX
from append_prefill.analysis.prior import Prior, prior_of
from append_prefill.analysis.rounds import rounds_of
from append_prefill.records.grounds import NoiseSource
from append_prefill.records.noise import NoiseRecord, TrafficNoise
from append_prefill.records.run import Run
from append_prefill.records.traffic import TrafficMean
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile
from append_prefill.workload.traffic_experiment import TrafficExperiment


@dataclass(frozen=True, slots=True)
class Family:
    """The experiments that both sides of a run measured in all its pairs, by id.

    `priors`: what is known of each one's noise. `mean`: their mean change, with `weights`; None
    with fewer than two of them. `own_df`: degrees of freedom that the run's own pairs give.
    """

    priors: Mapping[str, Prior] = field(default_factory=dict)
    mean: Part | None = None
    weights: Sequence[float] = ()
    own_df: float = 0.0

    def rejects(self, sign: int, rate: float, min_effect: float) -> bool:
        """Whether the mean says slower (`sign` +1) or faster (-1) at its part of the rate."""
        if self.mean is None:
            return False
        large = sign * float(self.mean.estimate[0]) >= math.log1p(min_effect)
        return large and float(self.mean.p(sign)[0]) <= MEAN_SHARE * rate

    def record(self, rates: Mapping[int, float], min_effect: float) -> TrafficMean | None:
        """What the mean came to, `rates` by sign; None without one."""
        if self.mean is None:
            return None
        value, half = float(self.mean.estimate[0]), float(self.mean.spread.half_width()[0])
        df = float(self.mean.spread.df[0])
        df = min(df, self.own_df + PRIOR_WORTH * (df - self.own_df))
        alpha = MEAN_SHARE * rates[1]
        slower, faster = (self.rejects(sign, rates[sign], min_effect) for sign in (1, -1))
        return TrafficMean(
            experiments=list(self.priors),
            weights=list(self.weights),
            ratio=math.exp(value),
            low=math.exp(value - half),
            high=math.exp(value + half),
            p=min(1.0, 2 * min(float(self.mean.p(sign)[0]) for sign in (1, -1))),
            alpha=alpha,
            mde=detectable(float(self.mean.spread.se[0]), df, alpha, min_effect=min_effect),
            verdict="regression" if slower else "improvement" if faster else "inconclusive",
        )


def family_of(run: Run, profile: Profile, noise: NoiseRecord | None) -> Family:
    """The family of a run whose two sides were up together; an empty one of any other."""
    starts = [*run.beside("candidate"), *run.beside("reference")]
    if not all(start.interleaved for start in starts):
        return Family()
    pairs = pairs_of([starts])
    known = {}
    for experiment in profile.traffic:
        conditions = frozenset(experiment.conditions)
        own = [(a.within(conditions), b.within(conditions)) for a, b in pairs]
        points = sorted({condition.point for condition in conditions})
        measured = {s.point for pair in own for start in pair for s in start.series if s.ttft_ms}
        level = level_of(own, [point for point in points if point in measured])
        rounds = [len(rounds_of(*pair)) for pair in own]
        known[experiment.id] = (experiment, level, rounds)
    whole = max((len(level.ratios) for _, level, _ in known.values()), default=0)
    if whole < 2:
        return Family()
    kept = {name: of for name, of in known.items() if len(of[1].ratios) == whole}
    stored = [_stored(experiment, rounds, noise) for experiment, _, rounds in kept.values()]
    unknown = float("nan")
    levels = Levels(
        np.array(
            [[level.ratios[pair] for pair in sorted(level.ratios)] for _, level, _ in kept.values()]
        ).T,
        np.array(
            [unknown if level.inside is None else level.inside for _, level, _ in kept.values()]
        ),
        np.array([unknown if one is None else one[0] for one in stored]),
        np.array([unknown if one is None else one[1] for one in stored]),
    )
    points = [Point(*point) for point in run.plan.points]
    of_points = level_of(pairs, points).ratios if points else {}
    assumed = prior_of(profile.noise)
    common = common_of(assumed.pair_sd, np.array(list(of_points.values())) if of_points else None)
    if common is None:
        return Family()
    spread = expected(levels, common)
    priors = {}
    for at, (name, one) in enumerate(zip(kept, stored, strict=True)):
        source = NoiseSource(kind="family", experiments=len(kept))
        if one is not None and noise is not None:
            source = NoiseSource(kind="stored", starts=2 * one[2].pairs, nights=noise.nights)
        priors[name] = replace(
            assumed,
            pair_sd=float(np.sqrt(spread.variance[at])),
            pair_df=float(spread.df[at]),
            strata={},
            of_rounds_too=True,
            source=source,
        )
    if len(kept) < 2:
        return Family(priors)
    mean, weights = mean_change(levels, spread, common)
    return Family(priors, mean, [float(weight) for weight in weights], whole - 1.0)


def _stored(
    experiment: TrafficExperiment, rounds: Sequence[int], noise: NoiseRecord | None
) -> tuple[float, float, TrafficNoise] | None:
    """The stored variance of a pair's ratio over so many rounds, and its degrees of freedom."""
    found = None if noise is None else noise.of_traffic(experiment.conditions)
    if found is None or found.components.pair_sd is None or not any(rounds):
        return None
    variance = found.components.pair_sd**2
    if found.components.round_sd is not None:
        variance += found.components.round_sd**2 / float(np.mean(rounds))
    return max(variance, 1e-12), min(float(found.pairs), PRIOR_DF_MAX), found
