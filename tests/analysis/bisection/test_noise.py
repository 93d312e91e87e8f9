"""Standard errors that comparisons borrow from each other."""

from __future__ import annotations

import numpy as np
import pytest

from append_prefill.analysis.bisection.noise import NORMAL, Alone, together


def alone(at, sd, rng, pairs=3):
    return Alone(0, 1 + at, 0.01, 0.08, tuple(rng.normal(0, sd, pairs)))


def test_one_comparison_keeps_its_own_interval():
    (only,) = together([Alone(0, 3, 0.05, 0.0196, (0.04, 0.06))])
    assert (only.earlier, only.later, only.log_ratio) == (0, 3, 0.05)
    assert only.se == pytest.approx(0.0196 / NORMAL)


def test_a_family_knows_its_noise_better_than_each_alone():
    rng = np.random.default_rng(0)
    found = together([alone(at, 0.02, rng) for at in range(20)])
    errors = np.array([one.se for one in found])
    # Of three pairs 0.02 / sqrt(3), and a little more for what is not known.
    assert np.median(errors) == pytest.approx(0.02 / 3**0.5, rel=0.3)
    assert errors.max() / errors.min() < 3


def test_more_pairs_scatter_less_in_one_family():
    rng = np.random.default_rng(1)
    found = together([alone(at, 0.02, rng, pairs=3 if at % 2 else 12) for at in range(20)])
    few, many = (np.median([one.se for one in found[at::2]]) for at in (1, 0))
    assert few / many == pytest.approx(2.0, rel=0.3)


def test_one_without_pairs_keeps_its_own_among_others():
    rng = np.random.default_rng(2)
    found = together([*(alone(at, 0.02, rng) for at in range(4)), Alone(0, 9, 0.0, 0.5)])
    assert found[-1].se == pytest.approx(0.5 / NORMAL)
