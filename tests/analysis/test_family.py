"""Experiments in other traffic as a family: rates, what they scatter by, their mean."""

import numpy as np
import pytest

from append_prefill.analysis.family import (
    FAMILY_WORTH,
    MEAN_SHARE,
    Common,
    Levels,
    common_of,
    expected,
    mean_change,
    part_of_each,
)
from append_prefill.analysis.prior import ASSUMED_DF
from benchmarks import traffic_rule


def levels(ratios, *, inside=1e-4, known=None):
    ratios = np.asarray(ratios)
    count = ratios.shape[-1]
    unknown = np.full(count, np.nan)
    stored = unknown if known is None else np.where(np.arange(count) == 0, known, np.nan)
    df = np.where(np.isfinite(stored), 12.0, np.nan)
    return Levels(ratios, np.full(count, inside), stored, df)


def drawn(count, *, sd=0.03, pairs=3, runs=400):
    return np.random.default_rng(2).normal(0, sd, (runs, pairs, count))


def test_the_rates_add_up_to_the_whole_and_pass_on():
    whole = 0.01
    first = part_of_each(whole, 4, 0, mean_rejects=False)
    assert 4 * first + MEAN_SHARE * whole == pytest.approx(whole)
    assert 4 * part_of_each(whole, 4, 0, mean_rejects=True) == pytest.approx(whole)
    assert 3 * part_of_each(whole, 4, 1, mean_rejects=False) == pytest.approx(4 * first)
    assert part_of_each(whole, 1, 0, mean_rejects=False) == whole  # no mean beside it
    assert part_of_each(whole, 4, 4, mean_rejects=True) == whole  # nothing is left to divide by


def test_a_family_says_how_far_all_are_from_what_was_expected():
    """Three times the expected scatter, in all of them: seen at three pairs each."""
    found = expected(levels(drawn(12), inside=1e-4), Common(np.asarray(0.0), ASSUMED_DF))
    assert 6e-4 < float(np.median(found.variance)) < 11e-4
    assert float(found.df.max()) <= FAMILY_WORTH * 2
    assert float(found.df.mean()) > 4


def test_a_small_family_is_told_by_the_assumption():
    found = expected(levels(drawn(3), inside=1e-4), common_of(0.02, None))
    assert found.variance == pytest.approx(5e-4)
    assert set(found.df.ravel()) == {ASSUMED_DF}


def test_without_rounds_nothing_is_told_of_a_family():
    ratios = drawn(6)
    unknown = np.full(6, np.nan)
    found = expected(Levels(ratios, unknown, unknown, unknown), common_of(0.02, None))
    assert found.variance == pytest.approx(4e-4)


def test_stored_noise_goes_before_the_family():
    found = expected(levels(drawn(6), known=2.5e-3), common_of(0.02, None))
    assert found.variance[..., 0] == pytest.approx(2.5e-3)
    assert set(found.df[..., 0]) == {12.0}
    assert not np.allclose(found.variance[..., 1], 2.5e-3)


def test_the_points_tell_what_pairs_have_in_common():
    assert common_of(0.01, None).variance == pytest.approx(1e-4)
    assert common_of(None, None) is None
    alone = common_of(None, np.array([-0.06, 0.0, 0.06]))
    assert (float(alone.variance), alone.df) == (pytest.approx(36e-4), 2)
    shown = common_of(0.01, np.array([-0.06, 0.0, 0.06]))
    assert shown.variance == pytest.approx((2 * 36e-4 + 1e-4) / 3)
    assert shown.df == 2 + ASSUMED_DF


def test_the_mean_holds_what_was_put_in_everywhere():
    of = levels(drawn(12) + np.log(1.08))
    common = common_of(0.01, None)
    part, weights = mean_change(of, expected(of, common), common)
    assert weights.sum(axis=-1) == pytest.approx(1)
    half = part.spread.half_width()
    inside = np.abs(part.estimate - np.log(1.08)) <= half
    assert float(inside.mean()) > 0.93


def test_a_quiet_experiment_weighs_more():
    ratios = drawn(6)
    ratios[..., 0] /= 10
    of = Levels(ratios, np.array([1e-6, *[1e-4] * 5]), *[np.full(6, np.nan)] * 2)
    common = common_of(0.001, None)
    _, weights = mean_change(of, expected(of, common), common)
    assert float(weights[..., 0].mean()) > 3 * float(weights[..., 1].mean())


def test_the_rule_keeps_its_rate_and_finds_more():
    """As `python -m benchmarks.traffic_rule` has it, with fewer runs."""
    runs = traffic_rule.kept_runs()
    kept = traffic_rule.as_kept(runs, traffic_rule.load_profile(runs[0].profile))
    got = traffic_rule.draw(np.random.default_rng(1), kept, 2000, 3)
    assert traffic_rule.now(got, kept, 0.01).mean() < 0.018
    slower = traffic_rule.Drawn(got.rounds + np.log(1.1), got.points)
    assert traffic_rule.before(slower, kept, 0.002).mean() < 0.2
    assert traffic_rule.now(slower, kept, 0.002).mean() > 0.7
