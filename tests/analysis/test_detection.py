import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from append_prefill.analysis import detection
from append_prefill.analysis.design import design_of
from append_prefill.analysis.detection import (
    MAX_STARTS,
    _shift,
    detectable,
    mde,
    proportional,
    starts_needed,
)
from append_prefill.analysis.joint import estimate
from append_prefill.analysis.prior import Prior
from append_prefill.analysis.verdict.alarms import alarm
from tests.analysis.factory import POINTS


def test_detectable_is_the_noncentral_ts() -> None:
    effect = math.log1p(detectable(0.01, 8, 0.01, power=0.9))
    threshold = stats.t.isf(0.01, 8)
    assert stats.nct.sf(threshold, 8, effect / 0.01) == pytest.approx(0.9, abs=1e-4)


def test_the_least_effect_has_to_be_seen_too() -> None:
    assert detectable(1e-6, 8, 0.01, min_effect=0.015) == pytest.approx(0.015, abs=1e-4)
    assert detectable(0.0, 8, 0.01) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("se", "df", "alpha"), [(-1, 8, 0.01), (1, 0, 0.01), (1, 8, 0), (1, 8, 0.96)]
)
def test_nonsense_is_refused(se: float, df: float, alpha: float) -> None:
    with pytest.raises(ValueError, match="needs"):
        detectable(se, df, alpha)


@pytest.mark.parametrize("alpha", [0.2, 0.01, 4e-5, 1e-7])
@pytest.mark.parametrize("df", [1, 1.5, 2, 8, 30, 1e6])
def test_detectable_agrees_with_draws_at_any_degrees_of_freedom(df: float, alpha: float) -> None:
    """Of 40,000 t statistics with that effect 95 % are beyond the threshold (0.5 % is 4.5 se)."""
    rng = np.random.default_rng(3)
    effect = detectable(1e-7, df, alpha)
    assert effect is not None
    shift = math.log1p(effect) / 1e-7
    t = (rng.normal(size=40_000) + shift) / np.sqrt(rng.chisquare(df, 40_000) / df)
    assert float((t >= stats.t.isf(alpha, df)).mean()) == pytest.approx(0.95, abs=0.005)


@pytest.mark.parametrize(
    ("se", "df", "alpha"), [(0.02, 0.03, 1e-6), (0.02, 1e-9, 0.01), (0.1, 1, 4e-5), (50, 8, 0.01)]
)
def test_what_too_little_evidence_detects_cannot_be_told(se, df, alpha) -> None:
    assert detectable(se, df, alpha, min_effect=0.015) is None


def test_an_effect_of_a_hundredfold_is_the_largest_told() -> None:
    """At df 1e12 the t test is the normal's: the effect is 3.971 standard errors."""
    largest = math.log(100) / 3.9713
    assert detectable(0.999 * largest, 1e12, 0.01) == pytest.approx(99, rel=0.01)
    assert detectable(1.001 * largest, 1e12, 0.01) is None
    assert detectable(math.log(100) / 3.9713 * 0.99999, 1e12, 0.01) is not None
    assert proportional(0.03, 0.5) == pytest.approx(1.03**2 - 1)
    assert proportional(0.03, 0.001) is None
    assert proportional(None, 0.5) is None


@pytest.mark.parametrize(
    ("alpha", "power"), [(0.9, 0.9), (0.95, 0.9), (0.01, 1.0), (0.0, 0.9), (-0.1, 0.9)]
)
def test_a_power_lies_between_the_level_and_certainty(alpha: float, power: float) -> None:
    with pytest.raises(ValueError, match="needs"):
        detectable(1, 8, alpha, power=power)
    assert detectable(1e-3, 8, 0.89, power=0.9) is not None


@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("min_effect", [0.0, 0.03, 0.1, 0.5])
def test_found_is_beyond_the_threshold_and_the_least_effect(power, min_effect) -> None:
    """Both at once, which is rarer than either: at 0.1 they bind alike."""
    se, df, alpha = 0.02, 6.0, 0.02
    threshold = stats.t.isf(alpha, df)
    found = math.log1p(detectable(se, df, alpha, power=power, min_effect=min_effect))

    def missed(scale):  # the estimate is below what both ask for
        least = np.maximum(threshold * scale, math.log1p(min_effect) / se)
        return stats.norm.cdf(least - found / se)

    # Over the distribution of the estimated standard error, scale^2 being a chi-squared over df.
    scales = np.sqrt(stats.chi2.ppf((np.arange(20_000) + 0.5) / 20_000, df) / df)
    assert 1 - float(np.mean(missed(scales))) == pytest.approx(power, abs=1e-4)


def test_beyond_the_noncentral_t_the_larger_of_both_is_told(monkeypatch) -> None:
    monkeypatch.setattr(detection.special, "nctdtr", lambda *_: math.nan)
    least = math.log1p(0.03) + stats.norm.ppf(0.95) * 0.002
    assert detectable(0.002, 6, 0.02, min_effect=0.03) == pytest.approx(math.expm1(least))


def test_what_is_known_for_certain_is_found_by_the_least_effect() -> None:
    assert detectable(0.0, 1e-9, 0.01, min_effect=0.015) == pytest.approx(0.015)


def test_thresholds_beyond_the_noncentral_ts_rest_on_the_spread_alone(monkeypatch) -> None:
    monkeypatch.setattr(detection.special, "nctdtr", lambda *_: math.nan)
    scale = math.sqrt(stats.chi2.ppf(0.95, 1.5) / 1.5)
    assert _shift(1.5, 1e-7, 0.95) == pytest.approx(stats.t.isf(1e-7, 1.5) * scale)
    assert _shift(1e-4, 1e-6, 0.95) == math.inf


@pytest.mark.parametrize(
    ("starts", "paired", "prior_df", "own_df", "per_start"),
    [
        ((5, 5), False, 0.0, 8, 0.4),
        ((5, 5), False, 10.0, 12, 0.4),
        ((2, 5), False, 0.0, 5, 0.7),
        ((5, 2), False, 0.0, 5, 0.7),
        ((4, 4), True, 0.0, 3, 0.25),
        ((4, 4), True, 5.0, 5, 0.25),
    ],
)
def test_an_mde_is_what_its_launches_detect(starts, paired, prior_df, own_df, per_start) -> None:
    def told(variance: float, df: float) -> float | None:
        return detectable(math.sqrt(variance), df, 0.007, power=0.9, min_effect=0.015)

    options = {"power": 0.9, "paired": paired, "prior_df": prior_df, "min_effect": 0.015}
    of_starts = 0.04**2 * per_start
    assert mde(0.04, *starts, 0.007, **options) == told(of_starts, own_df)
    # Between nights, both sides' count; known for certain, or by few degrees of freedom.
    of_nights = 2 * 0.03**2
    whole = of_starts + of_nights
    assert mde(0.04, *starts, 0.007, night_sd=0.03, **options) == told(whole, own_df)
    welch = whole**2 / (of_starts**2 / own_df + of_nights**2 / 3.0)
    found = mde(0.04, *starts, 0.007, night_sd=0.03, night_df=3.0, **options)
    assert found == pytest.approx(told(whole, welch))
    assert mde(0.04, *starts, 0.007, night_sd=0.0, night_df=3.0, **options) == told(
        of_starts, own_df
    )
    # What was taken off to get the nights' part makes it less certain, not larger; and what is cut
    # at 0 is not certain for it.
    doubted = {"night_df": 3.0, "night_error": 0.01**2}
    welch = whole**2 / (of_starts**2 / own_df + (of_nights + 2 * 0.01**2) ** 2 / 3.0)
    found = mde(0.04, *starts, 0.007, night_sd=0.03, **doubted, **options)
    assert found == pytest.approx(told(whole, welch))
    welch = of_starts**2 / (of_starts**2 / own_df + (2 * 0.01**2) ** 2 / 3.0)
    found = mde(0.04, *starts, 0.007, night_sd=0.0, **doubted, **options)
    assert found == pytest.approx(told(of_starts, welch))
    # As the comparison does, which never takes less than one degree.
    doubted = {"night_df": 1.0, "night_error": 1.0}
    assert mde(0.04, *starts, 0.007, night_sd=0.0, **doubted, **options) == told(of_starts, 1.0)


def test_without_noise_the_least_effect_is_found() -> None:
    for options in ({}, {"night_sd": 0.0, "night_df": 3.0}):
        assert mde(0.0, 5, 5, 0.01, min_effect=0.015, **options) == pytest.approx(0.015)


def test_an_mde_is_found_in_95_of_100_unless_told_otherwise() -> None:
    assert mde(0.01, 5, 5, 0.01) == mde(0.01, 5, 5, 0.01, 0.95, min_effect=0.0, prior_df=0.0)
    assert mde(0.01, 5, 5, 0.01) == mde(0.01, 5, 5, 0.01, paired=False)
    assert detectable(0.01, 8, 0.01) == detectable(0.01, 8, 0.01, power=0.95, min_effect=0.0)


def test_starts_needed_reaches_the_most_there_are_and_the_least_that_tell() -> None:
    for enough_from in (2, 3, 100, 101, MAX_STARTS - 1, MAX_STARTS, MAX_STARTS + 1):
        for too_few in (0.04, None):
            needed = starts_needed(0.03, lambda n: 0.03 if n >= enough_from else too_few)  # noqa: B023
            assert needed == (enough_from if enough_from <= MAX_STARTS else None)


def test_one_start_detects_nothing() -> None:
    assert mde(0.01, 1, 5, 0.01) is None
    assert mde(0.01, 5, 0, 0.01) is None
    assert mde(0.01, 2, 2, 0.01) is not None


def test_more_of_everything_detects_less() -> None:
    base = mde(0.01, 5, 5, 0.01)
    assert base is not None
    for better in (
        mde(0.01, 6, 6, 0.01),
        mde(0.005, 5, 5, 0.01),
        mde(0.01, 5, 5, 0.01, prior_df=16),
    ):
        assert better is not None
        assert better < base
    worse = mde(0.01, 5, 5, 0.01, night_sd=0.01)
    unsure = mde(0.01, 5, 5, 0.01, night_sd=0.01, night_df=3)
    assert worse is not None
    assert unsure is not None
    assert base < worse < unsure


def test_starts_needed_turns_mde_round() -> None:
    def alike(sd: float, **options: float) -> Callable[[int], float | None]:
        return lambda starts: mde(sd, starts, starts, 0.01, **options)

    of = alike(0.01, prior_df=16, min_effect=0.015)
    needed = starts_needed(0.03, of)
    assert needed is not None
    assert of(needed) <= 0.03
    assert of(needed - 1) > 0.03
    assert starts_needed(10.0, alike(0.01)) == 2
    assert starts_needed(0.03, alike(1.0)) is None
    assert starts_needed(0.03, alike(0.01, night_sd=0.02)) is None
    assert MAX_STARTS >= 100


@pytest.mark.simulation
def test_the_promise_is_kept() -> None:
    """The planned effect, stored noise of 16 df itself estimated: caught in 95 % of 4000 sessions
    (93.9 % is three standard errors less)."""
    rng = np.random.default_rng(1)
    design, count = design_of(POINTS), len(POINTS)
    sd = math.hypot(0.01, 0.008 / math.sqrt(count))
    effect = mde(sd, 5, 5, 0.01 * design.shares["level"], prior_df=16, min_effect=0.015)
    assert effect is not None
    caught = 0
    for _ in range(200):
        prior = Prior(float(0.01 * np.sqrt(rng.chisquare(16) / 16)), 16, None, 0, "")
        a, b = (
            0.01 * rng.normal(size=(20, 5, 1)) + 0.008 * rng.normal(size=(20, 5, count))
            for _ in range(2)
        )
        joint = estimate(a + np.log1p(effect), b, design, prior, nights=False)
        caught += int(alarm(joint, design, alpha=0.01, min_effect=0.015, sign=1).any.sum())
    assert caught / 4000 >= 0.939
