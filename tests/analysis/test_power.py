import math
from typing import Any

import pytest

from append_prefill.analysis import power
from append_prefill.analysis.detection import mde, starts_needed
from append_prefill.analysis.power import points_error, rounds_variance
from append_prefill.analysis.prior import ASSUMED_NIGHT_DF, RATIO_NIGHT_SHARE
from append_prefill.analysis.summary import FIGURE_VARIANCE
from append_prefill.records.noise import NoisePoint, NoiseRecord, PairComponents
from append_prefill.workload.policy import Noise, PairNoise, Plane
from tests.analysis.factory import NOISE, POINTS, POLICY, profile

RECORD = NoiseRecord(
    starts=20,
    nights=4,
    start_sd=0.02,
    within_sd=0.03,
    night_sd=0.04,
    pair_sd=0.05,
    pairs=12,
    points=[],
)
ALPHA = POLICY.false_alarm_rate * 0.76


def needed(effect: float, sd: float, alpha: float, **options: Any) -> int | None:
    """Launches a side, alike on both, whose `mde` is the effect."""
    return starts_needed(effect, lambda n: mde(sd, n, n, alpha, **options))


@pytest.mark.parametrize("scale", [1.0, 0.2, 0.05, 0.02])
@pytest.mark.parametrize("interleave", [False, True])
def test_a_plans_power_is_the_levels(interleave: bool, scale: float) -> None:
    """On a loud site the noise limits what is found, on a quiet one the least effect."""
    sds = ("start_sd", "within_sd", "night_sd", "pair_sd")
    record = RECORD.model_copy(update={name: scale * getattr(RECORD, name) for name in sds})
    plan = profile().plan.model_copy(update={"interleave": interleave})
    # A least effect so near to what must be caught that it decides how many launches that takes.
    policy = POLICY.model_copy(update={"min_effect": 0.025})
    of = profile().model_copy(update={"plan": plan, "policy": policy})
    least = policy.min_effect
    error = points_error(record, POINTS, 10)
    assert error is not None
    level = math.sqrt((0.02 * scale) ** 2 + error)
    together = math.sqrt((0.05 * scale) ** 2 + 2 * error) if interleave else level
    options = {"paired": interleave, "prior_df": 12.0 if interleave else 16.0, "min_effect": least}
    found = power.power_of(of, record, POINTS, starts=7, samples=10)
    assert found == pytest.approx(
        {
            "mde_side_by_side": mde(together, 7, 7, ALPHA, **options),
            "mde_floor": None,
            "mde_compute": None,
            # A pair is the launch then; how sessions differ is assumed.
            "mde_control": mde(
                together,
                7,
                7,
                ALPHA,
                night_sd=RATIO_NIGHT_SHARE * 0.05 * scale,
                night_df=ASSUMED_NIGHT_DF,
                prior_df=12.0,
                min_effect=least,
            )
            if interleave
            else None,
            "mde_baseline": mde(
                level,
                7,
                7,
                ALPHA,
                night_sd=0.04 * scale,
                night_df=3.0,
                night_error=(0.02 * scale) ** 2 / 5,
                prior_df=16.0,
                min_effect=least,
            ),
            "starts_needed_side_by_side": needed(POLICY.must_catch, together, ALPHA, **options),
        }
    )


def components(pair_sd: float | None, round_sd: float | None) -> PairComponents:
    unknown = dict.fromkeys(("request_sd", "block_sd", "launch_point_sd", "launch_sd"))
    return PairComponents(**unknown, pair_sd=pair_sd, round_sd=round_sd)


STRATA_RECORD = RECORD.model_copy(
    update={
        "components": components(0.05, 0.2),
        "strata": {"floor": components(0.06, 0.3), "compute": components(0.006, 0.03)},
    }
)
STRATA_NOISE = Noise(
    start_sd=0.02,
    within_sd=0.03,
    night_sd=0.04,
    pair_sd=0.05,
    round_sd=0.2,
    strata={
        "floor": PairNoise(pair_sd=0.06, round_sd=0.3),
        "compute": PairNoise(pair_sd=0.006, round_sd=0.03),
    },
    argument="The record's figures, assumed.",
)
PLANE = Plane(floor_append_tokens=308, argument="Of the profile these points are of.")


@pytest.mark.parametrize("noise", [STRATA_NOISE, STRATA_RECORD], ids=["assumed", "stored"])
def test_what_rounds_leave_of_a_pairs_scatter(noise) -> None:
    assert rounds_variance(noise, None, 10) == pytest.approx(0.2**2 / 10)
    assert rounds_variance(noise, "floor", 10) == pytest.approx(0.3**2 / 10)
    assert rounds_variance(noise, "compute", 40) == pytest.approx(0.03**2 / 40)


def test_rounds_of_which_nothing_is_known_tell_nothing() -> None:
    assert rounds_variance(NOISE, None, 10) is None
    assert rounds_variance(NOISE, "floor", 10) is None
    assert rounds_variance(RECORD, None, 10) is None
    few = RECORD.model_copy(
        update={"components": components(0.1, None), "strata": {"floor": components(0.1, None)}}
    )
    assert rounds_variance(few, None, 10) is None
    assert rounds_variance(few, "floor", 10) is None


def of_strata(**policy):
    of = profile().model_copy(update={"plane": PLANE})
    plan = of.plan.model_copy(update={"interleave": True})
    policy = of.policy.model_copy(update={"must_catch": 0.2} | policy)
    return of.model_copy(update={"plan": plan, "policy": policy})


def test_a_plan_with_strata_finds_by_the_quieter_what_the_level_buries() -> None:
    """Each by its own noise and its own part of the rate; an effect everywhere by the best."""
    found = power.power_of(of_strata(), STRATA_NOISE, POINTS, starts=5, samples=10)
    rate, known = POLICY.false_alarm_rate, {"paired": True, "prior_df": 1.0, "min_effect": 0.015}
    floor, compute = (
        (math.sqrt(sd**2 + round_sd**2 / 10), 0.25 * rate)
        for sd, round_sd in ((0.06, 0.3), (0.006, 0.03))
    )
    assert found["mde_floor"] == mde(floor[0], 5, 5, floor[1], **known)
    assert found["mde_compute"] == mde(compute[0], 5, 5, compute[1], **known)
    assert found["mde_side_by_side"] == found["mde_compute"] < 0.2 * found["mde_floor"]
    level = mde(math.sqrt(0.05**2 + 0.2**2 / 10), 5, 5, 0.26 * rate, **known)
    assert found["mde_side_by_side"] < level
    of_compute = needed(0.2, *compute, **known)
    assert found["starts_needed_side_by_side"] == of_compute
    assert of_compute < needed(0.2, *floor, **known)
    # Where the level is the quietest, as where both scatter alike and apart, it is the best.
    quiet = STRATA_NOISE.model_copy(update={"pair_sd": 0.001, "round_sd": 0.001})
    best = power.power_of(of_strata(), quiet, POINTS, starts=5, samples=10)
    level = math.sqrt(0.001**2 + 0.001**2 / 10)
    assert best["mde_side_by_side"] == mde(level, 5, 5, 0.26 * rate, **known)
    assert best["mde_compute"] == found["mde_compute"]


def test_more_rounds_shrink_what_rounds_scatter_by_alone() -> None:
    few, many, endless = (
        power.power_of(of_strata(), STRATA_NOISE, POINTS, starts=5, samples=samples)["mde_compute"]
        for samples in (5, 20, 10**9)
    )
    assert few > many > endless
    known = {"paired": True, "prior_df": 1.0, "min_effect": 0.015}
    assert endless == pytest.approx(mde(0.006, 5, 5, 0.0025, **known), rel=1e-4)


def test_of_a_stratum_whose_noise_is_not_known_no_effect_is_told() -> None:
    noise = STRATA_NOISE.model_copy(update={"strata": {"floor": STRATA_NOISE.strata["floor"]}})
    found = power.power_of(of_strata(), noise, POINTS, starts=5, samples=10)
    assert found["mde_floor"] is not None
    assert found["mde_compute"] is None
    # Neither of strata that launches one after the other have no noise of.
    apart = of_strata()
    plan = apart.plan.model_copy(update={"interleave": False})
    found = power.power_of(
        apart.model_copy(update={"plan": plan}), STRATA_NOISE, POINTS, starts=5, samples=10
    )
    assert (found["mde_floor"], found["mde_compute"]) == (None, None)
    assert found["mde_side_by_side"] is not None


OF_TEN_ROUNDS = RECORD.model_copy(
    update={
        "rounds": 10.0,
        "components": components(0.02, 0.06),
        "strata": {"floor": components(0.03, 0.09), "compute": components(0.005, 0.02)},
    }
)


def at_the_floor(record: NoiseRecord, samples: int) -> float | None:
    return power.power_of(of_strata(), record, POINTS, starts=6, samples=samples)["mde_floor"]


@pytest.mark.parametrize("samples", [5, 10])
def test_a_record_is_worth_its_pairs_at_no_more_rounds_than_it_has(samples: int) -> None:
    sd = math.sqrt(0.03**2 + 0.09**2 / samples)
    options = {"paired": True, "prior_df": 12.0, "min_effect": POLICY.min_effect}
    alpha = 0.25 * POLICY.false_alarm_rate
    assert at_the_floor(OF_TEN_ROUNDS, samples) == pytest.approx(mde(sd, 6, 6, alpha, **options))


def test_a_record_of_few_rounds_vouches_little_for_many() -> None:
    """A pair's scatter beyond its rounds is a difference: as uncertain as all of it."""
    variance, seen = 0.03**2 + 0.09**2 / 90, 0.03**2 + 0.09**2 / 10
    alpha = 0.25 * POLICY.false_alarm_rate
    options = {"paired": True, "min_effect": POLICY.min_effect}
    df = 12 * (variance / seen) ** 2
    expected = mde(math.sqrt(variance), 6, 6, alpha, prior_df=df, **options)
    assert at_the_floor(OF_TEN_ROUNDS, 90) == pytest.approx(expected)
    # Where it was cut at 0 little is known, and the run's own pairs decide.
    cut = OF_TEN_ROUNDS.model_copy(update={"strata": {"floor": components(0.0, 0.09)}})
    expected = mde(0.09 / math.sqrt(1000), 6, 6, alpha, prior_df=12 / 100**2, **options)
    assert at_the_floor(cut, 1000) == pytest.approx(expected)


def test_pairs_and_rounds_that_do_not_scatter_at_all_find_the_least_effect() -> None:
    still = OF_TEN_ROUNDS.model_copy(update={"strata": {"floor": components(0.0, 0.0)}})
    assert at_the_floor(still, 10) == pytest.approx(POLICY.min_effect)


def test_what_sessions_differ_by_beside_a_control_is_as_unsure_as_it_was_measured() -> None:
    """From eight nights' ratios to it, of twelve pairs: what those scatter by was taken off."""
    known = OF_TEN_ROUNDS.model_copy(
        update={"nights": 8, "ratio_night_sd": 0.004, "pair_sd": 0.006}
    )
    options = {
        "night_sd": 0.004,
        "night_df": 7.0,
        "night_error": 0.006**2 * 8 / 12,
        "min_effect": POLICY.min_effect,
    }
    found = power.power_of(of_strata(), known, POINTS, starts=6, samples=10)["mde_control"]
    rate, strata = POLICY.false_alarm_rate, {"level": (0.006, 0.06), "compute": (0.005, 0.02)}
    each = [
        mde(math.sqrt(pair_sd**2 + round_sd**2 / 10), 6, 6, share * rate, prior_df=12.0, **options)
        for (pair_sd, round_sd), share in zip(strata.values(), (0.26, 0.25), strict=True)
    ]
    assert found == pytest.approx(min(each))


def test_one_launch_finds_nothing_by_any_mean() -> None:
    known = OF_TEN_ROUNDS.model_copy(update={"ratio_night_sd": 0.004})
    found = power.power_of(of_strata(), known, POINTS, starts=1, samples=10)
    assert (found["mde_side_by_side"], found["mde_control"]) == (None, None)


NOTHING = dict.fromkeys(
    (
        "mde_side_by_side",
        "mde_baseline",
        "mde_control",
        "starts_needed_side_by_side",
        "mde_floor",
        "mde_compute",
    )
)
WITHOUT_STRATA = {"mde_floor", "mde_compute"}


@pytest.mark.parametrize(
    ("lacking", "interleave", "unknown"),
    [
        ({"start_sd": None}, False, set(NOTHING) - WITHOUT_STRATA),
        ({"within_sd": None}, False, set(NOTHING) - WITHOUT_STRATA),
        ({"night_sd": None}, False, {"mde_baseline", "mde_control"}),
        ({"night_sd": None}, True, {"mde_baseline"}),
        (
            {"pair_sd": None},
            True,
            {"mde_side_by_side", "mde_control", "starts_needed_side_by_side"},
        ),
        ({"pair_sd": None}, False, {"mde_control"}),
    ],
)
def test_what_is_not_known_of_the_noise_is_not_told_of_the_power(
    lacking, interleave, unknown
) -> None:
    plan = profile().plan.model_copy(update={"interleave": interleave})
    of = profile().model_copy(update={"plan": plan})
    policy = of.policy.model_copy(update={"must_catch": 0.2})
    of = of.model_copy(update={"policy": policy})
    known = RECORD.model_copy(update=lacking)
    found = power.power_of(of, known, POINTS, starts=7, samples=10)
    assert {name for name, figure in found.items() if figure is None} == unknown | WITHOUT_STRATA
    assert set(found) == set(NOTHING)


def test_points_leave_their_scatter_in_the_level() -> None:
    one, many = POINTS[:1], POINTS[:18]
    assert points_error(NOISE, one, 10) == pytest.approx(FIGURE_VARIANCE * 0.02**2 / 10)
    assert points_error(NOISE, many, 10) == pytest.approx(FIGURE_VARIANCE * 0.02**2 / 180)


def test_a_record_knows_how_alike_samples_are_and_how_far_points_stray() -> None:
    def record(lag1: float | None, start_sd: float) -> NoiseRecord:
        row = NoisePoint(
            context_tokens=POINTS[0].context_tokens,
            append_tokens=POINTS[0].append_tokens,
            start_sd=start_sd,
            within_sd=0.02,
            lag1=lag1,
            effective_n=None,
        )
        return NoiseRecord(
            starts=20, nights=4, start_sd=0.01, within_sd=0.5, night_sd=None, points=[row]
        )

    plain = FIGURE_VARIANCE * 0.02**2 / 10
    assert points_error(record(None, 0.01), POINTS[:1], 10) == pytest.approx(plain)
    assert points_error(record(-0.5, 0.01), POINTS[:1], 10) == pytest.approx(plain)
    # A point that the record does not know, or whose spread it does not, has the record's.
    other = FIGURE_VARIANCE * 0.5**2 / 10
    assert points_error(record(0.5, 0.01), POINTS[1:2], 10) == pytest.approx(other)
    both = points_error(record(0.5, 0.01), POINTS[:2], 10)
    assert both == pytest.approx((3 * plain + other) / 4)
    blank = record(None, 0.01)
    blank.points[0].within_sd = None
    assert points_error(blank, POINTS[:1], 10) == pytest.approx(other)
    blank = record(None, 0.05)
    blank.start_sd = None
    assert points_error(blank, POINTS[:1], 10) == pytest.approx(plain)
    blank = record(None, 0.05)
    blank.points[0].start_sd = None
    assert points_error(blank, POINTS[:1], 10) == pytest.approx(plain)
    assert points_error(record(0.5, 0.01), POINTS[:1], 10) == pytest.approx(3 * plain)
    assert points_error(record(1.0, 0.01), POINTS[:1], 10) == pytest.approx(19 * plain)
    assert points_error(record(None, 0.05), POINTS[:1], 10) == pytest.approx(0.05**2 - 0.01**2)
    unknown = record(None, 0.01).model_copy(update={"within_sd": None})
    assert points_error(unknown, POINTS[:1], 10) is None


def test_without_points_nothing_of_them_is_promised() -> None:
    of = profile()
    powers = power.power_of(of, RECORD, [], starts=3, samples=5)
    assert set(powers.values()) == {None}
    assert set(power.side_by_side(of, RECORD, [], starts=3, samples=5).values()) == {None}
    with_points = power.power_of(of, RECORD, POINTS, starts=3, samples=5)
    assert powers.keys() == with_points.keys()
    assert with_points["mde_side_by_side"] is not None
