"""Experiments in other traffic as a family: rates, what they scatter by, their mean."""

import numpy as np
import pytest

from append_prefill.analysis.family import (
    FAMILY_WORTH,
    MEAN_SHARE,
    Common,
    Level,
    Levels,
    common_of,
    expected,
    level_of,
    mean_change,
    part_of_each,
)
from append_prefill.analysis.moderation import Spread
from append_prefill.analysis.prior import ASSUMED_DF
from append_prefill.workload.points import Point
from benchmarks import traffic_rule
from tests.analysis.factory import start


def levels(ratios, *, inside=1e-4, known=None):
    ratios = np.asarray(ratios)
    count = ratios.shape[-1]
    unknown = np.full(count, np.nan)
    stored = unknown if known is None else np.where(np.arange(count) == 0, known, np.nan)
    df = np.where(np.isfinite(stored), 12.0, np.nan)
    return Levels(ratios, np.full(count, inside), stored, df)


def drawn(count, *, sd=0.03, pairs=3, runs=400):
    return np.random.default_rng(2).normal(0, sd, (runs, pairs, count))


A, B = Point(512, 128), Point(512, 512)


def pair_of(number, log_ratios):
    """Two launches whose samples took turns; `log_ratios` has shape (rounds, 2 points)."""
    table = dict(zip((A, B), np.asarray(log_ratios).T, strict=True))
    candidate = start(2 * number, {point: 20 * np.exp(column) for point, column in table.items()})
    reference = start(
        2 * number + 1, {point: [20.0] * len(log_ratios) for point in table}, side="reference"
    )
    turns = {"interleaved": True, "alternated": "sample"}
    return tuple(one.model_copy(update=turns) for one in (candidate, reference))


def test_a_pairs_level_is_its_mean_and_what_two_rounds_leave_open():
    scattered = pair_of(0, [[0.1, 0.0], [0.3, 0.2]])
    steady = pair_of(4, [[0.4, 0.4], [0.4, 0.4]])
    told = level_of([scattered, steady], [A, B])
    assert told.ratios == {0: pytest.approx(0.15), 4: pytest.approx(0.4)}
    # Without one of two rounds either point is 0.1 off, at once: 1 / 2 (0.01 + 0.01) of the first.
    assert told.inside == pytest.approx(0.01 / 2)


def test_a_pair_of_one_round_leaves_open_what_rounds_do():
    told = level_of([pair_of(0, [[0.1, 0.0], [0.3, 0.2]]), pair_of(1, [[0.5, 0.7]])], [A, B])
    assert told.ratios == {0: pytest.approx(0.15), 1: pytest.approx(0.6)}
    assert told.inside is None
    assert level_of([], [A, B]) == Level({}, None)


def test_the_rates_add_up_to_the_whole_and_pass_on():
    whole = 0.01
    first = part_of_each(whole, 4, 0, mean_rejects=False)
    assert 4 * first + MEAN_SHARE * whole == pytest.approx(whole)
    assert 4 * part_of_each(whole, 4, 0, mean_rejects=True) == pytest.approx(whole)
    assert 3 * part_of_each(whole, 4, 1, mean_rejects=False) == pytest.approx(4 * first)
    assert 2 * part_of_each(whole, 2, 0, mean_rejects=False) == pytest.approx(whole / 2)
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


def test_four_alike_are_a_family_that_counts_twice_and_three_are_none():
    """Of three pairs each, all with 9 times the variance that was expected."""
    alike = np.array([-0.03, 0.0, 0.03])[:, None] * np.ones(4)
    common = Common(np.asarray(1e-4), ASSUMED_DF)
    four = expected(levels(alike, inside=0.0), common)
    # Worth 4 / 2 times two degrees. The mean log of a variance by two degrees is below that of one
    # by four by digamma(2) - log(2) - (digamma(1) - log(1)) = 1 - log(2).
    assert four.df == pytest.approx([4.0] * 4)
    assert four.variance == pytest.approx([9e-4 * np.e / 2] * 4)
    three = expected(levels(alike[:, :3], inside=0.0), common)
    assert three.variance == pytest.approx([1e-4] * 3)
    assert three.df == pytest.approx([ASSUMED_DF] * 3)


def test_what_one_draw_does_not_tell_is_of_no_family():
    """Shape (draws, experiments): the last one's rounds tell nothing in the second draw."""
    alike = np.array([-0.03, 0.0, 0.03])[:, None] * np.ones((2, 3, 5))
    inside, unknown = np.zeros((2, 5)), np.full(5, np.nan)
    inside[1, 4] = np.nan
    common = Common(np.full(2, 1e-4), ASSUMED_DF)
    found = expected(Levels(alike, inside, unknown, unknown), common)
    assert found.df == pytest.approx(np.array([[4.0] * 4 + [ASSUMED_DF]] * 2))
    assert found.variance[:, 4] == pytest.approx([1e-4] * 2)


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


def test_two_pairs_tell_what_they_have_in_common_and_one_does_not():
    two = common_of(None, np.array([-0.03, 0.03]))
    assert (float(two.variance), two.df) == (pytest.approx(18e-4), 1)
    assert common_of(None, np.array([0.03])) is None
    assert common_of(0.01, np.array([0.03])).variance == pytest.approx(1e-4)
    draws = common_of(None, np.array([[-0.06, 0.0, 0.06], [-0.03, 0.0, 0.03]]))
    assert draws.variance == pytest.approx([36e-4, 9e-4])


def test_the_mean_is_known_by_what_its_parts_are():
    """Two experiments that scatter against each other, so that their mean does not at all."""
    against = np.array([[-0.03, 0.03], [0.0, 0.0], [0.03, -0.03]])
    known = Spread(np.full(2, 9e-4), np.full(2, 2.0))
    part, weights = mean_change(levels(against), known, Common(np.asarray(4.5e-4), 1.0))
    assert weights == pytest.approx([0.5, 0.5])
    assert part.estimate == pytest.approx([0.0])
    # Of each 9e-4 / 4 by 2 + 2 degrees, 4.5e-4 together, and 4.5e-4 by one in common: after
    # Satterthwaite 4 / (1 / 8 + 1) degrees, beside the two of the mean's own scatter, of nothing.
    df = 32 / 9
    assert part.spread.df == pytest.approx([df + 2])
    assert part.spread.variance == pytest.approx([df * (9e-4 / 3) / (df + 2)])


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
