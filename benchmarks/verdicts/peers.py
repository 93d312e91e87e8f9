"""Other tools' rules, as their projects document them, and two plain t tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from benchmarks.verdicts.settings import Array
from benchmarks.verdicts.simulate import Sessions

Flags = NDArray[np.bool_]

# The rate that the suite's own test is held to, so that the plain t tests are judged alike.
T_TEST_RATE = 0.01

RULES = {
    "asv": "Mann-Whitney p < 0.002 and factor 1.1 on a point's requests, any point (asv compare); "
    "that factor, not noise, is why it misses effects below 10 %",
    "benchstat": "Mann-Whitney p < 0.05 on a point's requests, any point, whatever "
    "the number of points",
    "benchstat, Bonferroni": "the same at p < 0.05 / points",
    "pytest-benchmark mean": "--benchmark-compare-fail=mean:5%, any point",
    "pytest-benchmark min": "--benchmark-compare-fail=min:5% (its documentation's example), any "
    "point",
    "sglang monitor": "a point's mean 10 % over the mean of the last ten sessions, any point",
    "t on requests": "requests of all points pooled, each on its own scale, one-sided p < 0.01",
    "t on launches": "each launch's geometric mean over all requests, one-sided p < 0.01: paired "
    "where the launches are, else Welch's",
}


def mann_whitney(x: Array, y: Array) -> Array:
    """Two-sided p along the last axis, normal approximation; samples are continuous, so no ties."""
    n, k = x.shape[-1], y.shape[-1]
    both = np.concatenate([x, y], axis=-1)
    ranks = np.argsort(np.argsort(both, axis=-1), axis=-1)[..., :n] + 1
    u = ranks.sum(axis=-1) - n * (n + 1) / 2
    z = (np.abs(u - n * k / 2) - 0.5) / np.sqrt(n * k * (n + k + 1) / 12)
    return np.asarray(2 * special.ndtr(-z))


def t_on_launches(sessions: Sessions, *, paired: bool) -> Flags:
    """A t test on the launches' geometric means over all points and requests."""
    a, b = (side.mean(axis=(2, 3)) for side in (sessions.candidate, sessions.reference))
    if paired:
        p = stats.ttest_rel(a, b, axis=-1, alternative="greater").pvalue
    else:
        p = stats.ttest_ind(a, b, axis=-1, alternative="greater", equal_var=False).pvalue
    return np.asarray(p < T_TEST_RATE)


def peers(sessions: Sessions, *, paired: bool) -> dict[str, Flags]:
    """What each of `RULES` says of each session: True where it calls the candidate slower.

    `paired`: the launches of both sides were up together, two by two.
    """

    def requests(side: Array) -> Array:
        """Of all launches, shape (sessions, points, requests)."""
        return np.moveaxis(side, 1, 2).reshape(*side.shape[:1], side.shape[2], -1)

    a, b = requests(sessions.candidate), requests(sessions.reference)
    p = mann_whitney(a, b)
    medians = np.median(a, axis=-1) - np.median(b, axis=-1)
    mean_a, mean_b = np.exp(a).mean(axis=-1), np.exp(b).mean(axis=-1)
    centre = (a.mean(axis=-1, keepdims=True) + b.mean(axis=-1, keepdims=True)) / 2
    flat_a, flat_b = (side.reshape(len(side), -1) for side in (a - centre, b - centre))
    pooled = stats.ttest_ind(flat_a, flat_b, axis=-1, alternative="greater").pvalue
    points = a.shape[1]
    return {
        "asv": ((p < 0.002) & (medians > np.log(1.1))).any(axis=-1),
        "benchstat": ((p < 0.05) & (medians > 0)).any(axis=-1),
        "benchstat, Bonferroni": ((p < 0.05 / points) & (medians > 0)).any(axis=-1),
        "pytest-benchmark mean": (mean_a > 1.05 * mean_b).any(axis=-1),
        "pytest-benchmark min": (a.min(axis=-1) > np.log(1.05) + b.min(axis=-1)).any(axis=-1),
        "sglang monitor": (mean_a > 1.10 * sessions.history).any(axis=-1),
        "t on requests": np.asarray(pooled < T_TEST_RATE),
        "t on launches": t_on_launches(sessions, paired=paired),
    }
