"""How sure the differences of sampled times are, of all functions of a server together.

A profiler counts. What a function takes scatters from launch to launch as counts do, hardly more:
of four pairs of launches of one version, on two CPU cores, the variance of the difference was 0.9
to 1.0 of what the counts alone make it (`python -m benchmarks.function_scatter`). Two or three
pairs say next to nothing of one function's scatter, but fifty functions say what it is like among
them. So its ratio to that of a count (the *dispersion*) is moderated over the functions as in limma
(`moderation.moderate_family`; for counts: Lund et al., Statistical Applications in Genetics and
Molecular Biology 11, 2012), and is never taken for less than a count's own.

With as many functions one in twenty would differ for certain by chance. Their intervals hold for
all of them together (Bonferroni), so where one excludes 0, it is certain whatever the others are.
Functions of too few samples to be told from none are not counted among them: how many samples both
sides have together says nothing of which has more (independent filtering; Bourgon et al., PNAS 107,
2010).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from append_prefill.analysis.moderation import FloatArray, Spread, fit_prior, moderate_family
from append_prefill.analysis.profiles import Difference, differences
from append_prefill.analysis.summary import CONFIDENCE, around

_K = TypeVar("_K")

SAMPLES_LEAST = 10
"""Of both sides together, for a function to be one of those that are told apart. Were all of nine
on one side, that would be 3.0 standard deviations, which is no more than twenty functions take."""

FAMILY_LEAST = 3
"""Fewer functions say nothing of what scatter is like among them."""

DISPERSION_LEAST = 0.05
"""Counts of some ten may differ by the same in two or three pairs. That is no scatter of 0, whose
logarithm would spoil the fit: of two degrees of freedom one in twenty is below this by chance."""


def sampled_differences(
    candidates: Sequence[Mapping[_K, float]],
    references: Sequence[Mapping[_K, float]],
    *,
    sample_ms: float,
) -> dict[_K, Difference]:
    """As `profiles.differences`, with intervals that hold for all functions together.

    `sample_ms` is what one sample stands for per request. One pair alone has no interval. Raises
    ValueError where the sides are not as many, or none.
    """
    found = differences(candidates, references, sample_ms=sample_ms)
    pairs = len(candidates)
    if pairs < 2:
        return found
    keys = list(found)
    new, old = (
        np.array([[one.get(key, 0.0) for key in keys] for one in side]) / sample_ms
        for side in (candidates, references)
    )
    samples = (new + old).sum(axis=0)
    told = samples >= SAMPLES_LEAST
    if told.sum() < FAMILY_LEAST:
        return found
    by_counts = samples / pairs**2
    scatter = (new - old)[:, told].var(axis=0, ddof=1) / pairs
    own = Spread(
        np.maximum(scatter / by_counts[told], DISPERSION_LEAST),
        np.full(int(told.sum()), pairs - 1.0),
    )
    # What is known of all stands for those that were not counted among them.
    common = fit_prior(own)
    half = _half_width(common.variance[0], common.df[0], by_counts, own)
    moderated = moderate_family(own)
    half[told] = _half_width(moderated.variance, moderated.df, by_counts[told], own)
    return {
        key: replace(one, delta_ms=around(one.delta_ms.value, float(width) * sample_ms))
        for (key, one), width in zip(found.items(), half, strict=True)
    }


def _half_width(
    dispersion: FloatArray, df: FloatArray, by_counts: FloatArray, family: Spread
) -> FloatArray:
    """Half of the intervals, in samples; `by_counts`: the variance that counts alone give."""
    spread = Spread(np.maximum(dispersion, 1.0) * by_counts, df)
    return spread.half_width(1 - (1 - CONFIDENCE) / len(family.df))
