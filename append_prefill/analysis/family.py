"""Experiments in other traffic as a family: what their pairs scatter by, and all of them at once.

An experiment has few rounds a launch and three pairs a run, whose own scatter has two degrees of
freedom: at a twelfth of a fifth of one alarm in 100 a t test of two degrees asks for 75 standard
errors. Two things are common to the experiments of a run and are used here.

- **What they scatter by.** What a pair's ratio is expected to scatter by (the assumption of how
  pairs differ, and what its rounds leave open) is known of each; how far the truth is from that is
  seen in all of them together (`moderation.fit_prior`), and each one's own scatter is moderated by
  it. Experiments that are as far from it in different ways make it count for little.
- **What they change by.** Versions seldom change one kind of traffic alone. The mean of all, each
  in its own standard deviations, is one number a pair and free of most of what each scatters by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from append_prefill.analysis.components import Pair, whole
from append_prefill.analysis.estimator import Part
from append_prefill.analysis.moderation import (
    VARIANCE_FLOOR,
    FloatArray,
    Spread,
    fit_prior,
    moderate,
    paired_spread,
)
from append_prefill.analysis.prior import ASSUMED_DF
from append_prefill.analysis.rounds import pair_figures
from append_prefill.workload.points import Point

FEWEST = 4
"""Fewest experiments of which how far they are from what was expected says anything."""

FAMILY_WORTH = 3.0
"""What a family says of one of its members counts for at most so many times the member's own
degrees of freedom, and for at most half as many as it has members: how far the truth is from what
was expected differs from one experiment to the next. With four times three pairs of the kept runs'
noise raise 1.2 false alarms in 100 at a rate of 1."""

MEAN_WORTH = 2.0
"""The same of the mean over experiments. With four times what is +10 % everywhere is found by three
pairs 89 times in 100 and not 77, and nothing is called slower 1.4 times in 100 in place of 1; where
pairs scatter three times as far as was assumed 2.9 times in place of 2.4."""

MEAN_SHARE = 0.5
"""Part of the experiments' false-alarm rate that their mean has. Half costs each alone little (its
critical value grows by a twentieth at a twelfth of the rate), and what moved everywhere is found by
the mean more than twice as often."""

FEWEST_ROUNDS = 2
"""Of which one is left out to see what rounds leave open. Two say one degree of freedom a pair, and
are not taken alone: they only say which experiment scatters more than which."""


def part_of_each(whole_rate: float, count: int, rejected: int, *, mean_rejects: bool) -> float:
    """The false-alarm rate of each of `count` experiments that is not rejected yet.

    The graphical procedure of Bretz et al. (Statistics in Medicine 28, 2009): the mean over all
    has `MEAN_SHARE` of the rate, which passes to the experiments once it rejects, and what an
    experiment has passes to the others once it does (Holm). The rate of calling anything falsely is
    at most `whole_rate`, however they depend on each other. One experiment has no mean beside it.
    """
    rate = whole_rate if mean_rejects or count < 2 else (1 - MEAN_SHARE) * whole_rate
    return rate / max(1, count - rejected)


@dataclass(frozen=True, slots=True)
class Level:
    """One experiment's log ratio by pair, over its conditions; `inside` as in `Levels`."""

    ratios: dict[int, float]
    inside: float | None


def level_of(pairs: Sequence[Pair], points: Sequence[Point]) -> Level:
    """Of pairs that hold one experiment's series alone; without pairs and points with holes."""
    pairs, points = whole(pairs, points)
    of_pairs = {pair[0].pair: pair_figures(*pair, points, fewest=FEWEST_ROUNDS) for pair in pairs}
    known = [float(f.covariance.mean()) for f in of_pairs.values() if f.covariance is not None]
    return Level(
        {pair: float(f.values.mean()) for pair, f in of_pairs.items()},
        float(np.mean(known)) if known and len(known) == len(of_pairs) else None,
    )


@dataclass(frozen=True, slots=True)
class Levels:
    """The log ratio of every pair in each experiment, shape (..., pairs, experiments).

    `inside`: the variance that its rounds leave in one pair's, shape (..., experiments), NaN where
    that is not known. `known`: of an experiment whose noise is stored, the variance of a pair's
    ratio and the degrees of freedom that is known by, shapes (experiments,), NaN where none is.
    """

    ratios: FloatArray
    inside: FloatArray
    known_variance: FloatArray
    known_df: FloatArray


@dataclass(frozen=True, slots=True)
class Common:
    """What all of a pair's ratios scatter by together: a variance and the degrees of freedom that
    it is known by, of shape (...,).
    """

    variance: FloatArray
    df: float


def common_of(assumed_sd: float | None, points: FloatArray | None) -> Common | None:
    """From the profile's assumption and the points' log ratio of every pair, shape (..., pairs).

    None where a profile assumes nothing and fewer than two pairs say it.
    """
    if points is None or points.shape[-1] < 2:
        return None if assumed_sd is None else Common(np.asarray(assumed_sd**2), ASSUMED_DF)
    variance, own_df = points.var(axis=-1, ddof=1), points.shape[-1] - 1.0
    if assumed_sd is None:
        return Common(variance, own_df)
    df = own_df + ASSUMED_DF
    return Common((own_df * variance + ASSUMED_DF * assumed_sd**2) / df, df)


def expected(levels: Levels, common: Common) -> Spread:
    """What a pair's ratio is expected to scatter by, shape (..., experiments).

    Stored noise where there is some; else the family's word; in a family too small for that the
    assumption. What rounds leave open is left out of it where it is not known: too low a word
    counts for less the further the pairs scatter beyond it (`moderation.moderate`).
    """
    own = variance_of(levels.ratios)
    stored = np.isfinite(levels.known_variance)
    base = np.maximum(common.variance[..., None] + np.nan_to_num(levels.inside), VARIANCE_FLOOR)
    base = np.broadcast_to(base, own.variance.shape)
    variance = np.where(stored, levels.known_variance, base)
    df = np.broadcast_to(np.where(stored, levels.known_df, ASSUMED_DF), own.variance.shape).copy()
    told = np.isfinite(levels.inside).all(axis=tuple(range(own.variance.ndim - 1)))
    of_family = ~stored & told
    count = int(of_family.sum())
    if count >= FEWEST:
        relative = Spread(
            own.variance[..., of_family] / base[..., of_family], own.df[..., of_family]
        )
        worth = min(FAMILY_WORTH, count / 2) * (levels.ratios.shape[-2] - 1)
        family = fit_prior(relative, worth)
        variance[..., of_family] = family.variance * base[..., of_family]
        df[..., of_family] = family.df
    return Spread(variance, df)


def mean_change(levels: Levels, known: Spread, common: Common) -> tuple[Part, FloatArray]:
    """The mean over experiments, shape (..., 1), and each one's weight, shape (..., experiments).

    `known` as `expected` gives it. The weights are one over the standard deviation of a pair's
    ratio, so that all count alike in their own; they sum to 1.
    """
    ratios = levels.ratios
    of_each = moderate(variance_of(ratios), known)
    weights = 1 / of_each.se
    weights = weights / weights.sum(axis=-1, keepdims=True)
    values = (ratios * weights[..., None, :]).sum(axis=-1)[..., None]
    pairs = ratios.shape[-2]
    own = paired_spread(values, np.zeros_like(values))
    parts = weights**2 * of_each.variance
    apart = parts.sum(axis=-1, keepdims=True)
    shared = np.broadcast_to(common.variance[..., None], apart.shape)
    # Satterthwaite, as `moderation.add` has it.
    terms = (parts**2 / of_each.df).sum(axis=-1, keepdims=True) + shared**2 / common.df
    df = np.minimum((apart + shared) ** 2 / terms, MEAN_WORTH * own.df)
    prior = Spread((apart + shared) / pairs, df)
    return Part(values.mean(axis=-2), moderate(own, prior)), weights


def variance_of(ratios: FloatArray) -> Spread:
    """Of one pair's ratio in each experiment; shape (..., pairs, experiments) in."""
    variance = np.maximum(ratios.var(axis=-2, ddof=1), VARIANCE_FLOOR)
    return Spread(variance, np.full(variance.shape, ratios.shape[-2] - 1.0))
