"""Which effect a t test finds: minimum detectable effects and the launches they take.

All effects are relative (0.03 is +3 %); the arithmetic is that of the one-sided t test on logs.
The alternative's distribution is the noncentral t (Johnson, Kotz & Balakrishnan, Continuous
Univariate Distributions 2, chapter 31), not the normal: with 8 degrees of freedom the difference
is a tenth of the effect.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import optimize, special

from append_prefill.analysis.moderation import NIGHTS_DF_MIN

MAX_STARTS = 200
"""More launches per side than any session holds; beyond, `starts_needed` says None."""

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


def starts_needed(effect: float, mde_of: Callable[[int], float | None]) -> int | None:
    """Fewest launches per side whose `mde_of` is at most `effect`; None if MAX_STARTS do not
    suffice.

    Between-session variance does not shrink with launches, so across sessions None is common.
    """

    def enough(starts: int) -> bool:
        found = mde_of(starts)
        return found is not None and found <= effect

    if not enough(MAX_STARTS):
        return None
    low, high = 1, MAX_STARTS  # `low` is never enough: one launch a side tells nothing
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
