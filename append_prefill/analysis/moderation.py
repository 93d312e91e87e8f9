"""Variances of differences between two sides, and how they borrow strength honestly.

Five launches per side give a variance with 8 degrees of freedom, and a test at the one-in-a-hundred
rate pays for that with a tenth of its power. So a variance is *moderated* as in limma (Smyth,
Statistical Applications in Genetics and Molecular Biology 3, 2004): (d0 s0^2 + d s^2) / (d0 + d)
with d0 + d degrees of freedom, where s0^2 is a prior, either stored A/A noise or the other points
of the same run. Two things keep that honest:

- the prior's weight is multiplied by min(1, s0^2 / s^2), so a run that is visibly noisier than the
  prior is judged by its own spread. Simulated with d0 = 16, d = 8 and a level of 0.7 %: with the
  right prior a false alarm in 0.5 % (the least effect worth a name lowers it), at 1.5 times the
  stored sd 1.5 %, at worst (2 to 2.5 times) 1.8 %, falling to 0.7 % beyond. Undiscounted, the
  prior gives 2.3 %, 3.9 % and ever more;
- d0 is bounded by `PRIOR_DF_MAX`.

Everything takes arrays of any leading shape, so that simulations judge all their sessions at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

FloatArray = NDArray[np.float64]

VARIANCE_FLOOR = 1e-12
"""(1e-6)^2: a relative scatter of 20 ns in 20 ms, the clock's own grain. Keeps noiseless data from
dividing by zero."""

PRIOR_DF_MAX = 30.0
"""A stored variance never counts for more than 30 degrees of freedom: the quantiles hardly gain
beyond, while sessions differ in how noisy they are, which a pooled value cannot know."""


NIGHTS_DF_MIN = 1.0
"""Least degrees of freedom of a spread across sessions. Satterthwaite's approximation gives a sum
of variances no fewer than its poorest term has. The sessions' variance is a difference, though, and
where it was cut at 0 the approximation is outside its domain: a tenth of a degree, or a millionth,
whose t quantiles are beyond any number. Two sessions' mean square has one degree, and what is built
on it has no fewer. Simulated with two stored sessions and none to 3 % between sessions: false
alarms stay as they are (at most 0.7 % for 1, and 15.5 % for 20)."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Variance of an estimated log ratio and its degrees of freedom; arrays of one shape."""

    variance: FloatArray
    df: FloatArray

    @property
    def se(self) -> FloatArray:
        return np.sqrt(self.variance)

    def p_slower(self, estimate: FloatArray) -> FloatArray:
        """One-sided p of "no slower": small where the estimate is far above 0."""
        return np.asarray(special.stdtr(self.df, -estimate / self.se))

    def half_width(self, confidence: float = 0.95) -> FloatArray:
        """Half of the two-sided interval."""
        quantile = special.stdtrit(self.df, (1 + confidence) / 2)
        return np.asarray(quantile * self.se)


def own_spread(a: FloatArray, b: FloatArray) -> Spread:
    """Of mean(a) - mean(b) over axis -2; a, b have shape (..., launches, k), result (..., k).

    With as many launches on both sides the variance is the pooled one, which then is also Welch's,
    with na + nb - 2 degrees of freedom: with equal numbers the pooled t test keeps its rate even
    where one side is noisier. With unequal numbers it does not, so then the degrees of freedom
    are Welch's (Welch, Biometrika 1947). Needs two launches per side.
    """
    na, nb = a.shape[-2], b.shape[-2]
    va = np.maximum(a.var(axis=-2, ddof=1), VARIANCE_FLOOR) / na
    vb = np.maximum(b.var(axis=-2, ddof=1), VARIANCE_FLOOR) / nb
    if na == nb:
        df = np.full(va.shape, na + nb - 2.0)
    else:
        df = (va + vb) ** 2 / (va**2 / (na - 1) + vb**2 / (nb - 1))
    return Spread(va + vb, df)


def paired_spread(a: FloatArray, b: FloatArray) -> Spread:
    """Of mean(a - b) over axis -2, for launches that were measured together; shapes as above.

    What the machine did meanwhile is in both halves of a pair and leaves their difference. One
    degree of freedom a pair, less one. Needs two pairs.
    """
    pairs = a.shape[-2]
    variance = np.maximum((a - b).var(axis=-2, ddof=1), VARIANCE_FLOOR) / pairs
    return Spread(variance, np.full(variance.shape, pairs - 1.0))


def moderate(own: Spread, prior: Spread) -> Spread:
    """`own` shrunk towards `prior`, whose weight sinks as this run is the noisier; see above."""
    weight = prior.df * np.minimum(1.0, prior.variance / own.variance)
    df = weight + own.df
    return Spread((weight * prior.variance + own.df * own.variance) / df, df)


def add(*terms: Spread) -> Spread:
    """Sum of independent variances, degrees of freedom after Satterthwaite (Biometrics 1946)."""
    total = np.asarray(sum(term.variance for term in terms))
    parts = np.asarray(sum(term.variance**2 / term.df for term in terms))
    return Spread(total, total**2 / parts)


def between_sessions(spread: Spread, added: FloatArray, doubt: FloatArray, df: float) -> Spread:
    """`spread` of a difference between two sessions, which differ by a variance `added` on top.

    Degrees of freedom after Satterthwaite, or `NIGHTS_DF_MIN`. The between-session variance is a
    difference of mean squares, cut at 0, from few sessions. Taken with the degrees of freedom of a
    variance of its own size, a record that happened to find none would vouch for sessions it has
    not seen (4 % false alarms for 1, with four sessions stored); its true uncertainty is that of
    the sessions' mean square: `doubt` is that variance, and `df` what it is known by.
    """
    total = spread.variance + added
    terms = spread.variance**2 / spread.df + doubt**2 / df
    return Spread(total, np.maximum(total**2 / terms, NIGHTS_DF_MIN))


def scaled(spread: Spread, factor: float) -> Spread:
    """The spread of a multiple whose square is `factor`."""
    return Spread(spread.variance * factor, spread.df)


def _inverse_trigamma(value: FloatArray) -> FloatArray:
    """Solve trigamma(x) = value > 0 for x by Newton's method, as limma's trigammaInverse does."""
    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = special.polygamma(1, x)
        step = trigamma * (1 - trigamma / value) / special.polygamma(2, x)
        x = x + step
        if float(np.max(-step / x)) < 1e-8:
            break
    return x


def fit_prior(own: Spread, cap: float = PRIOR_DF_MAX) -> Spread:
    """Prior that a family of variances (last axis) implies, after limma's fitFDist.

    Method of moments on the log variances: their scatter beyond that of a chi-squared with `own.df`
    tells how far the true variances differ, hence d0. At most `cap` degrees of freedom. Needs at
    least three members.
    """
    log = np.log(own.variance)
    centred = log - special.digamma(own.df / 2) + np.log(own.df / 2)
    centre = centred.mean(axis=-1, keepdims=True)
    excess = centred.var(axis=-1, ddof=1, keepdims=True) - special.polygamma(1, own.df / 2).mean(
        axis=-1, keepdims=True
    )
    # The cap on d0 is a floor on the excess.
    half = np.minimum(
        _inverse_trigamma(np.maximum(excess, float(special.polygamma(1, cap / 2)))), cap / 2
    )
    variance = np.exp(centre + special.digamma(half) - np.log(half))
    return Spread(np.broadcast_to(variance, log.shape), np.broadcast_to(2 * half, log.shape))


def moderate_family(own: Spread, cap: float = PRIOR_DF_MAX) -> Spread:
    """Each member of a family (last axis) moderated by the others; own spreads below three.

    The others count for at most `cap` degrees of freedom.
    """
    if own.variance.shape[-1] < 3:
        return own
    prior = fit_prior(own, cap)
    df = own.df + prior.df
    return Spread((prior.df * prior.variance + own.df * own.variance) / df, df)
