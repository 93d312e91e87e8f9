"""Other tools' rules, on samples whose difference is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmarks.verdicts.peers import RULES, mann_whitney, peers, t_on_launches
from benchmarks.verdicts.simulate import Sessions


def sessions_of(candidate: np.ndarray, reference: np.ndarray) -> Sessions:
    past = np.exp(reference).mean(axis=(1, 3))
    return Sessions(candidate, reference, past, [])


def alike(rng: np.random.Generator, sd: float = 0.01) -> Sessions:
    """Two sessions of 5 launches, 3 points, 10 samples; no difference between the sides."""
    shape = (2, 5, 3, 10)
    return sessions_of(3 + sd * rng.normal(size=shape), 3 + sd * rng.normal(size=shape))


def test_mann_whitney_is_scipys() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(5, 20)), rng.normal(size=(5, 30))
    theirs = stats.mannwhitneyu(x, y, axis=-1, method="asymptotic").pvalue
    np.testing.assert_allclose(mann_whitney(x, y), theirs)


def test_every_rule_described_is_applied() -> None:
    assert list(peers(alike(np.random.default_rng(2)), paired=True)) == list(RULES)


def called(effect: float) -> set[str]:
    """The rules that call a slow-down of one point by `effect` in the second of two sessions."""
    drawn = alike(np.random.default_rng(3))
    drawn.candidate[1, :, 1] += np.log1p(effect)
    said = peers(drawn, paired=True)
    assert not any(flags[0] for name, flags in said.items() if name != "benchstat")
    return {name for name, flags in said.items() if flags[1]}


def test_thresholds_are_those_documented() -> None:
    thresholds = {"pytest-benchmark mean", "pytest-benchmark min"}
    assert called(0.03).isdisjoint({"asv", "sglang monitor", *thresholds})
    assert called(0.08) >= thresholds
    assert called(0.08).isdisjoint({"asv", "sglang monitor"})
    assert called(0.15) >= {"asv", "sglang monitor", *thresholds}
    assert called(0.03) >= {"benchstat", "benchstat, Bonferroni"}


def test_bonferroni_divides_by_the_points() -> None:
    """At a p between 0.05 / 3 and 0.05 only the uncorrected rule alarms."""
    shift = 0.0
    drawn = alike(np.random.default_rng(4))
    while True:
        said = peers(drawn, paired=True)
        if said["benchstat"][1]:
            break
        shift += 0.0002
        assert shift < 0.02
        drawn.candidate[1, :, 1] += 0.0002
    assert not said["benchstat, Bonferroni"][1]


@pytest.mark.parametrize("paired", [True, False])
def test_the_pairs_common_level_cancels_in_the_paired_t_test_alone(paired: bool) -> None:
    rng = np.random.default_rng(5)
    shared = 0.1 * rng.normal(size=(1, 5, 1, 1))
    drawn = alike(rng)
    drawn.candidate[...] += shared + 0.05
    drawn.reference[...] += shared
    # Welch's test sees the level's 10 % and calls nothing.
    assert t_on_launches(drawn, paired=paired).tolist() == [paired, paired]
