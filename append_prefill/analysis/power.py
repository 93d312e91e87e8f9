"""What a plan can see: minimum detectable effects and the launches they take.

All effects are relative (0.03 is +3 %); the arithmetic is that of the one-sided t test on logs.
The alternative's distribution is the noncentral t (Johnson, Kotz & Balakrishnan, Continuous
Univariate Distributions 2, chapter 31), not the normal: with 8 degrees of freedom the difference
is a tenth of the effect.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import optimize, special

from append_prefill.analysis.design import Design, design_of
from append_prefill.analysis.joint import NIGHTS_DF_MIN
from append_prefill.analysis.prior import Prior, prior_of
from append_prefill.analysis.summary import FIGURE_VARIANCE
from append_prefill.records.run import NoiseRecord
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Noise, Policy, Profile, Stratum

MAX_STARTS = 200
"""More launches per side than any session holds; beyond, `starts_needed` says None."""

LAG_MAX = 0.9
"""An autocorrelation above it is taken for it: the estimate of a few samples may touch 1."""

EFFECT_MAX = 99.0
"""A hundredfold TTFT. A variance known by one or two degrees of freedom lets chance explain factors
of any size; that a run would find one of more than this is no statement about its power."""

_TAIL = 8.0
"""Standard errors, beyond which a normal density holds 1e-15."""

PRIOR_WORTH = 0.4
"""Part of a stored noise's degrees of freedom that a plan may count on. `moderation.moderate` takes
a prior's weight back on sessions that look noisier, and those are the sessions that decide the
power: counted in full the promised effect was caught 93 to 94 times in 100 (simulated with 4, 16
and 30 degrees of freedom, launch sd 1 % and 5 %), counted at 0.4 at least 95 times."""


def power_of(
    profile: Profile,
    noise: Noise | NoiseRecord,
    points: Sequence[Point],
    *,
    starts: int,
    samples: int,
) -> dict[str, float | None]:
    """The minimum detectable effects of a plan; None where the noise is not known well enough.

    `mde_side_by_side`, `mde_baseline` and `mde_control` (against a stored run, both by their ratio
    to one control) are of an effect everywhere, which the mean over all points shows or that over a
    stratum, whichever does first; `mde_floor` and `mde_compute` of one in that stratum alone, side
    by side. Each has its part of the false-alarm rate.
    """
    prior, policy, design = prior_of(noise), profile.policy, design_of(points, profile.plane)
    figures: dict[str, float | None] = side_by_side(
        profile, noise, points, starts=starts, samples=samples
    )
    figures |= dict.fromkeys(("mde_baseline", "mde_control", "starts_needed_side_by_side"))
    error = points_error(noise, points, samples)
    if prior.start_sd is None or error is None:
        return figures
    paired, least = profile.plan.interleave, policy.min_effect
    means = _launch_sds(prior, noise, design, error, samples, paired=paired)
    needed = [
        starts_needed(
            policy.must_catch,
            sd,
            policy.false_alarm_rate * design.shares[name],
            paired=paired,
            prior_df=df,
            min_effect=least,
        )
        for name, sd, df in means
    ]
    figures["starts_needed_side_by_side"] = min((n for n in needed if n is not None), default=None)
    if paired and prior.pair_sd is not None:
        figures["mde_control"] = _by_control(prior.through_control(), means, design, policy, starts)
    if prior.night_sd is not None:
        figures["mde_baseline"] = mde(
            math.sqrt(prior.start_sd**2 + error),
            starts,
            starts,
            policy.false_alarm_rate * design_of(points).shares["level"],
            night_sd=prior.night_sd,
            night_df=prior.night_df,
            night_error=prior.night_error,
            prior_df=prior.start_df,
            min_effect=least,
        )
    return figures


def side_by_side(
    profile: Profile,
    noise: Noise | NoiseRecord,
    points: Sequence[Point],
    *,
    starts: int,
    samples: int,
) -> dict[str, float | None]:
    """The part of `power_of` that a comparison side by side has."""
    prior, policy, design = prior_of(noise), profile.policy, design_of(points, profile.plane)
    paired, error = profile.plan.interleave, points_error(noise, points, samples)
    found: dict[str, float | None] = {}
    if prior.start_sd is not None and error is not None:
        found = {
            name: mde(
                sd,
                starts,
                starts,
                policy.false_alarm_rate * design.shares[name],
                paired=paired,
                prior_df=df,
                min_effect=policy.min_effect,
            )
            for name, sd, df in _launch_sds(prior, noise, design, error, samples, paired=paired)
        }
    return {
        "mde_side_by_side": min((v for v in found.values() if v is not None), default=None),
        "mde_floor": found.get("floor"),
        "mde_compute": found.get("compute"),
    }


def _launch_sds(
    prior: Prior,
    noise: Noise | NoiseRecord,
    design: Design,
    error: float,
    samples: int,
    *,
    paired: bool,
) -> list[tuple[str, float, float]]:
    """Of each mean the joint test has, side by side: its name, the sd of a launch's (or a pair's)
    statistic, and the degrees of freedom that is known by. Without those whose noise is not known.
    """
    if not paired:
        assert prior.start_sd is not None  # side_by_side has returned
        return [("level", math.sqrt(prior.start_sd**2 + error), prior.start_df)]
    recorded = noise.rounds if isinstance(noise, NoiseRecord) else None
    sds = []

    def add(name: str, pair_sd: float, of_rounds: float) -> None:
        variance, df = pair_sd**2 + of_rounds, prior.pair_df
        if recorded is not None and variance > 0:
            # What pairs scatter by beyond their rounds was told as a difference, so it is as
            # uncertain as the whole of it: a record of few rounds vouches little for many.
            seen = pair_sd**2 + of_rounds * samples / recorded
            df *= min(1.0, variance / seen) ** 2
        sds.append((name, math.sqrt(variance), df))

    if prior.pair_sd is not None:
        rounds = rounds_variance(noise, None, samples)
        # A ratio has the points' scatter of both sides in it.
        add("level", prior.pair_sd, 2 * error if rounds is None else rounds)
    for name in design.strata:
        sd, rounds = prior.strata.get(name), rounds_variance(noise, name, samples)
        if sd is not None and rounds is not None:
            add(name, sd, rounds)
    return sds


def _by_control(
    prior: Prior,
    means: Sequence[tuple[str, float, float]],
    design: Design,
    policy: Policy,
    starts: int,
) -> float | None:
    """The least effect everywhere that ratios to a control, each in its own session, find."""
    assert prior.night_sd is not None  # a pair's scatter is known, so this is
    found = (
        mde(
            sd,
            starts,
            starts,
            policy.false_alarm_rate * design.shares[name],
            prior_df=df,
            night_sd=prior.night_sd,
            night_df=prior.night_df,
            night_error=prior.night_error,
            min_effect=policy.min_effect,
        )
        for name, sd, df in means
    )
    return min((effect for effect in found if effect is not None), default=None)


def rounds_variance(
    noise: Noise | NoiseRecord, stratum: Stratum | None, samples: int
) -> float | None:
    """Variance that `samples` rounds leave in a pair's ratio over a stratum (None: all points).

    None where what a round scatters by is not known.
    """
    if stratum is not None:
        known = noise.strata.get(stratum)
        round_sd = None if known is None else known.round_sd
    elif isinstance(noise, NoiseRecord):
        round_sd = None if noise.components is None else noise.components.round_sd
    else:
        round_sd = noise.round_sd
    return None if round_sd is None else round_sd**2 / samples


def points_error(noise: Noise | NoiseRecord, points: Sequence[Point], samples: int) -> float | None:
    """Variance that the points' own scatter leaves in a launch's level, its mean over `points`.

    A point's statistic (`summary.faster_half`) has `FIGURE_VARIANCE` times the variance of a mean
    of `samples`, the more so as samples follow each other alike (AR(1): (1 + r) / (1 - r); an
    unknown r is taken for none, as in a profile's assumption). A stored noise also knows how far a
    launch's statistic at a point strays beyond its common level; the larger of the two counts. None
    where the scatter of samples is not known.
    """
    if noise.within_sd is None:
        return None
    rows = {row.point: row for row in noise.points} if isinstance(noise, NoiseRecord) else {}
    total = 0.0
    for point in points:
        row = rows.get(point)
        within = noise.within_sd if row is None or row.within_sd is None else row.within_sd
        lag = min(max(0.0, 0.0 if row is None else row.lag1 or 0.0), LAG_MAX)
        of_figure = FIGURE_VARIANCE * within**2 / samples * (1 + lag) / (1 - lag)
        strays = 0.0
        if row is not None and row.start_sd is not None and noise.start_sd is not None:
            strays = row.start_sd**2 - noise.start_sd**2
        total += max(of_figure, strays)
    return total / len(points) ** 2


def detectable(
    se: float, df: float, alpha: float, *, power: float = 0.95, min_effect: float = 0.0
) -> float | None:
    """Relative effect that is found with probability `power`, for a log effect's `se` and `df`.

    Found means: p <= alpha (one-sided) and estimate >= min_effect. None where no effect up to
    `EFFECT_MAX` is: it cannot be told. Raises ValueError unless se is nonnegative, df positive and
    alpha and power inside (0, 1), power above alpha.
    """
    if se < 0 or df <= 0 or not 0 < alpha < power < 1:
        raise ValueError("needs se >= 0, df > 0 and 0 < alpha < power < 1")
    least = math.log1p(min_effect)

    def either(power: float) -> float:
        """Log effect at which p is small enough that often, and the estimate large enough."""
        of_estimate = least + float(special.ndtri(power)) * se
        return max(_shift(df, alpha, power) * se if se else 0.0, of_estimate)

    low, high = either(power), either((1 + power) / 2)
    if least == 0 or se == 0 or math.isinf(low):
        return _relative(low)  # one of the two is always so
    threshold = -float(special.stdtrit(df, alpha))

    def missing(effect: float) -> float:
        return power - _found(effect / se, least / se, df, threshold)

    # Both at once are rarer than each alone; at (1 + power) / 2 each, they are `power` at least.
    if not missing(low) > 0 or not missing(high) < 0:  # as good as always, or beyond nctdtr
        return _relative(low)
    return _relative(float(optimize.brentq(missing, low, high, xtol=1e-6 * se)))


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)


def _found(shift: float, least: float, df: float, threshold: float) -> float:
    """Probability of a t beyond the threshold and an estimate beyond `least`, both in standard
    errors, for an effect of `shift`. That of the former, less where only the latter is missing.
    """
    # The estimate is shift + z and its t that over S: beyond where S <= (shift + z) / threshold.
    top = least - shift
    bottom = max(-shift, top - _TAIL)
    z = bottom + (top - bottom) * (_NODES + 1) / 2
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    beyond = special.chdtr(df, df * ((shift + z) / max(threshold, 1e-300)) ** 2)
    below_least = float((density * beyond) @ _WEIGHTS) * (top - bottom) / 2
    return 1 - float(special.nctdtr(df, shift, threshold)) - below_least


def _shift(df: float, alpha: float, power: float) -> float:
    """The effect in standard errors that a t test at `alpha` finds with probability `power`."""
    threshold = -float(special.stdtrit(df, alpha))
    if threshold > 1e100:  # beyond some 1e150, at a thousandth of a degree, scipy's isf is flat
        return math.inf

    def missing(shift: float) -> float:
        # nctdtr is the distribution function alone: far faster than scipy.stats.nct.
        return power - (1 - float(special.nctdtr(df, shift, threshold)))

    # Z + shift exceeds threshold * S wherever both -Z and S stay below their quantiles at
    # (1 + power) / 2, which happens with probability `power` at least (Bonferroni).
    tail = (1 + power) / 2
    upper = max(threshold, 0.0) * _scale(df, tail) + float(special.ndtri(tail))
    if math.isfinite(missing(upper)):
        return float(optimize.brentq(missing, 0.0, upper, xtol=1e-6))
    # A threshold of thousands, beyond what nctdtr can do: there Z no longer matters beside S.
    return threshold * _scale(df, power)


def _scale(df: float, quantile: float) -> float:
    """That quantile of an estimated over the true standard deviation."""
    return math.sqrt(2 * float(special.gammaincinv(df / 2, quantile)) / df)


def _relative(log_effect: float) -> float | None:
    """A log effect as a relative one; None beyond `EFFECT_MAX`."""
    return None if log_effect > math.log1p(EFFECT_MAX) else math.expm1(log_effect)


def proportional(effect: float | None, lever: float) -> float | None:
    """The effect at the far end of an axis of which `lever` shows as `effect` (see `joint.Slope`).

    None where that is not known, or beyond `EFFECT_MAX`.
    """
    return None if effect is None else _relative(math.log1p(effect) / lever)


def mde(
    start_sd: float,
    starts_a: int,
    starts_b: int,
    alpha: float,
    power: float = 0.95,
    *,
    paired: bool = False,
    prior_df: float = 0.0,
    night_sd: float = 0.0,
    night_df: float | None = None,
    night_error: float = 0.0,
    min_effect: float = 0.0,
) -> float | None:
    """Minimum detectable relative effect between `starts_a` and `starts_b` launches.

    `start_sd`: relative sd of a launch's statistic; for the level with `points_error` in it.
    `prior_df`: degrees of freedom of a stored noise taken into the variance; `PRIOR_WORTH` of them
    count. `night_sd`: between-session sd, for a comparison across sessions, resting on `night_df`
    degrees of freedom (None: known for certain); `night_error` is the variance that was taken off
    to get it (`Prior.night_error`), so it is as uncertain as the two together. `paired`: `start_sd`
    is that of the log ratio within a pair whose blocks alternated. None with fewer than two
    launches on a side, and where no effect up to `EFFECT_MAX` would be found: nothing can be told.
    """
    if starts_a < 2 or starts_b < 2:
        return None
    own_df = starts_a - 1 if paired else starts_a + starts_b - 2
    per_start = 1 / starts_a if paired else 1 / starts_a + 1 / starts_b
    of_starts, of_nights = start_sd**2 * per_start, 2 * night_sd**2
    df = own_df + PRIOR_WORTH * prior_df
    variance = of_starts + of_nights
    doubt = of_nights + 2 * night_error
    if night_df is not None and doubt > 0:  # Satterthwaite, as the comparison does
        df = variance**2 / (of_starts**2 / df + doubt**2 / night_df)
        df = max(df, NIGHTS_DF_MIN)
    return detectable(math.sqrt(variance), df, alpha, power=power, min_effect=min_effect)


def starts_needed(
    effect: float,
    start_sd: float,
    alpha: float,
    power: float = 0.95,
    *,
    paired: bool = False,
    prior_df: float = 0.0,
    night_sd: float = 0.0,
    night_df: float | None = None,
    min_effect: float = 0.0,
) -> int | None:
    """Fewest launches per side whose `mde` is at most `effect`; None if MAX_STARTS do not suffice.

    Between-session variance does not shrink with launches, so across sessions None is common.
    """

    def enough(starts: int) -> bool:
        found = mde(
            start_sd,
            starts,
            starts,
            alpha,
            power,
            paired=paired,
            prior_df=prior_df,
            night_sd=night_sd,
            night_df=night_df,
            min_effect=min_effect,
        )
        return found is not None and found <= effect

    if not enough(MAX_STARTS):
        return None
    low, high = 1, MAX_STARTS  # `low` is never enough: one launch a side tells nothing
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
