"""What is known of the noise before a run, and how much it counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from append_prefill.analysis.prior import Prior, prior_of, with_nights
from append_prefill.records.grounds import NoiseSource
from append_prefill.records.noise import NoiseRecord, PairComponents
from append_prefill.workload.policy import PairNoise
from tests.analysis.factory import NOISE


def test_what_is_known_of_pairs_and_of_starts_is_kept_apart() -> None:
    prior = Prior(0.01, 16.0, 0.02, 3.0, "a record", pair_sd=0.03, pair_df=12.0)
    assert (prior.level_sd(paired=True), prior.level_df(paired=True)) == (0.03, 12.0)
    assert (prior.level_sd(paired=False), prior.level_df(paired=False)) == (0.01, 16.0)
    none = Prior(None, 16.0, 0.02, 3.0, "a record", pair_sd=None, pair_df=12.0)
    assert (none.level_sd(paired=True), none.level_df(paired=True)) == (None, 0.0)
    assert (none.level_sd(paired=False), none.level_df(paired=False)) == (None, 0.0)


def record(**changes) -> NoiseRecord:
    made = {"starts": 20, "nights": 4, "start_sd": 0.02, "within_sd": 0.03, "night_sd": 0.01}
    return NoiseRecord(**{**made, "pair_sd": 0.04, "pairs": 12, "points": []} | changes)


def stored(starts=20, nights=4, night_assumed=False) -> NoiseSource:
    return NoiseSource(kind="stored", starts=starts, nights=nights, night_assumed=night_assumed)


def test_a_profiles_assumption_counts_like_two_launches_and_its_sessions_like_five() -> None:
    noise = NOISE.model_copy(update={"pair_sd": 0.05, "start_sd": 0.02, "night_sd": 0.03})
    assert prior_of(noise) == Prior(
        0.02, 1.0, 0.03, 4.0, NoiseSource(kind="profile"), 0.0, pair_sd=0.05, pair_df=1.0
    )


@pytest.mark.parametrize(
    ("made", "prior"),
    [
        # 0.02^2 of a start's level is a fifth of that in a night's mean.
        (record(), Prior(0.02, 16.0, 0.01, 3.0, stored(), 0.02**2 / 5, 0.04, 12.0)),
        (
            record(starts=500, pairs=100),
            Prior(0.02, 30.0, 0.01, 3.0, stored(500), 0.02**2 * 4 / 500, 0.04, 30.0),
        ),
        (
            record(night_assumed=True),
            Prior(0.02, 16.0, 0.01, 4.0, stored(night_assumed=True), 0.0, 0.04, 12.0),
        ),
        (
            record(starts=5, nights=4),
            Prior(0.02, 1.0, 0.01, 3.0, stored(5), 0.02**2 * 4 / 5, 0.04, 12.0),
        ),
        (
            record(starts=4, nights=4),
            Prior(None, 0.0, 0.01, 3.0, stored(4), 0.02**2, 0.04, 12.0),
        ),
        (
            record(starts=4, nights=2),
            Prior(0.02, 2.0, 0.01, 1.0, stored(4, 2), 0.02**2 / 2, 0.04, 12.0),
        ),
        (
            record(starts=4, nights=1),
            Prior(0.02, 3.0, None, 0.0, stored(4, 1), 0.02**2 / 4, 0.04, 12.0),
        ),
        (
            record(starts=1, nights=1),
            Prior(None, 0.0, None, 0.0, stored(1, 1), 0.02**2, 0.04, 12.0),
        ),
        (
            record(start_sd=None),
            Prior(None, 16.0, 0.01, 3.0, stored(), 0.0, 0.04, 12.0),
        ),
        (
            record(starts=0, nights=0, start_sd=None, night_sd=None, pair_sd=None, pairs=0),
            Prior(None, 0.0, None, -1.0, stored(0, 0), 0.0, None, 0.0),
        ),
    ],
)
def test_a_record_counts_by_its_launches_and_nights(made, prior) -> None:
    assert prior_of(made) == prior


def test_a_record_of_one_day_borrows_how_nights_differ() -> None:
    known = record()
    assert with_nights(known, NOISE) is known
    borrowed = with_nights(record(night_sd=None), NOISE)
    assert borrowed == record(night_sd=NOISE.night_sd, night_assumed=True)


def stratum(pair_sd: float | None) -> PairComponents:
    return PairComponents(
        request_sd=0.1,
        block_sd=0.02,
        launch_point_sd=0.01,
        launch_sd=0.01,
        round_sd=0.05,
        pair_sd=pair_sd,
    )


def test_a_stratum_has_its_own_noise_on_as_many_pairs() -> None:
    known = prior_of(record(strata={"floor": stratum(0.03), "compute": stratum(0.007)}))
    assert known.of_stratum("floor", paired=True) == (0.03, 12.0)
    assert known.of_stratum("compute", paired=True) == (0.007, 12.0)
    assert prior_of(record(strata={"floor": stratum(0.0)}, pairs=99)).of_stratum(
        "floor", paired=True
    ) == (0.0, 30.0)
    pairs = {"floor": PairNoise(pair_sd=0.02, round_sd=0.1)}
    assumed = prior_of(NOISE.model_copy(update={"pair_sd": 0.05, "strata": pairs}))
    assert assumed.of_stratum("floor", paired=True) == (0.02, 1.0)
    assert assumed.strata == {"floor": 0.02}


def test_of_an_unknown_stratum_the_levels_noise_is_taken() -> None:
    """As far as launches that followed each other are concerned, every stratum is unknown."""
    known = prior_of(record(strata={"floor": stratum(0.03), "compute": stratum(None)}))
    assert known.strata == {"floor": 0.03}
    assert known.of_stratum("compute", paired=True) == (0.04, 12.0)
    assert known.of_stratum("floor", paired=False) == (0.02, 16.0)
    blind = prior_of(record(pair_sd=None, strata={}))
    assert blind.of_stratum("floor", paired=True) == (None, 0.0)


CONTROLLED = Prior(
    0.01,
    16.0,
    0.02,
    3.0,
    stored(),
    0.5,
    0.03,
    12.0,
    {"floor": 0.04},
    ratio_night_sd=0.004,
    ratio_night_df=5.0,
    ratio_night_error=1e-6,
)


def test_through_a_control_a_pair_is_the_launch_and_the_sessions_are_those_of_its_ratio() -> None:
    assert CONTROLLED.through_control() == replace(
        CONTROLLED,
        start_sd=0.03,
        start_df=12.0,
        night_sd=0.004,
        night_df=5.0,
        night_error=1e-6,
        of_ratios=True,
    )


def test_how_ratios_of_sessions_differ_is_assumed_where_it_is_not_known() -> None:
    unknown = replace(CONTROLLED, ratio_night_sd=None).through_control()
    assert (unknown.night_sd, unknown.night_df) == (pytest.approx(0.3 * 0.03), 4.0)
    assert unknown.night_error == 0.0  # it is no rest of a difference
    nothing = replace(CONTROLLED, ratio_night_sd=None, pair_sd=None).through_control()
    assert (nothing.night_sd, nothing.night_df, nothing.night_error) == (None, 5.0, 1e-6)


@pytest.mark.parametrize(
    ("made", "df", "error"),
    [
        # 0.04^2 of a pair's ratio is a third of that in a session's mean of three.
        (record(ratio_night_sd=0.003), 3.0, 0.04**2 / 3),
        (record(ratio_night_sd=0.003, nights=1), 1.0, 0.04**2 / 12),
        (record(ratio_night_sd=0.003, pairs=0), 3.0, 0.04**2 * 4),
        (record(ratio_night_sd=0.003, pair_sd=None), 3.0, 0.0),
    ],
)
def test_a_stored_ratio_is_as_uncertain_as_its_sessions(
    made: NoiseRecord, df: float, error: float
) -> None:
    prior = prior_of(made)
    assert (prior.ratio_night_sd, prior.ratio_night_df) == (0.003, df)
    assert prior.ratio_night_error == pytest.approx(error)
