"""Launches against samples: what a comparison side by side spends its minutes on."""

import math

import pytest

from append_prefill.analysis.detection import MAX_STARTS
from append_prefill.analysis.power import side_by_side
from append_prefill.analysis.rounds import ROUNDS_MIN
from append_prefill.analysis.split import NEIGHBOURS, SAMPLES_MAX, Costs, for_effect, for_minutes
from append_prefill.workload.loading import load_profile
from append_prefill.workload.policy import PairNoise

COSTS = Costs(launch_s=60.0, round_s=2.0)


def power(pair_sd=0.01, round_sd=0.03):
    """Of a mean of pairs that is known for certain, so that the optimum can be reckoned."""

    def effects(starts: int, samples: int) -> dict[str, float | None]:
        se = math.sqrt((pair_sd**2 + round_sd**2 / samples) / starts)
        return {"mde_side_by_side": 4 * se, "mde_floor": None, "mde_compute": 3 * se}

    return effects


def test_minutes_are_spent_whole_and_no_more() -> None:
    choice = for_minutes(power(), COSTS, 10)
    assert [split.starts for split in choice.splits] == list(range(2, 10))
    for split in choice.splits:
        assert split.minutes <= 10 < COSTS.seconds(split.starts, split.samples + 1) / 60
        assert split.minutes == pytest.approx(COSTS.seconds(split.starts, split.samples) / 60)
    assert for_minutes(power(), COSTS, 2 * (60 + 2 * ROUNDS_MIN) / 60).splits[0].samples == 3
    assert for_minutes(power(), COSTS, 2 * (60 + 2 * ROUNDS_MIN) / 60 - 0.01).best is None


def test_the_best_split_is_where_a_second_buys_as_much_by_either() -> None:
    """Cochran, Sampling Techniques, 10.6: samples = round_sd / pair_sd * sqrt(launch / round)."""
    # Loud, so that a tenth of a per cent tells splits apart.
    best = for_minutes(power(pair_sd=0.1, round_sd=0.3), COSTS, 120).best
    assert best is not None
    assert best.samples == pytest.approx(3 * math.sqrt(30), rel=0.1)
    fewest = for_effect(power(), COSTS, 0.01).best
    assert fewest is not None
    assert fewest.samples == pytest.approx(3 * math.sqrt(30), rel=0.1)
    assert fewest.mde_side_by_side is not None
    assert fewest.mde_side_by_side <= 0.01


def test_louder_pairs_ask_for_launches_and_louder_rounds_for_samples() -> None:
    def samples(**sds: float) -> int:
        best = for_minutes(power(**sds), COSTS, 30).best
        assert best is not None
        return best.samples

    assert samples(pair_sd=0.03) < samples() < samples(round_sd=0.09)


def test_the_fewest_minutes_are_the_fewest() -> None:
    choice = for_effect(power(), COSTS, 0.015)
    assert choice.best is not None
    assert choice.best.minutes == min(split.minutes for split in choice.splits)
    for split in choice.splits:
        assert split.mde_side_by_side <= 0.015
        if split.samples > ROUNDS_MIN:
            assert power()(split.starts, split.samples - 1)["mde_side_by_side"] > 0.015
    # Neither more nor fewer launches are left out that would do it in less.
    for starts in range(2, MAX_STARTS):
        for samples in (ROUNDS_MIN, 5, 10, 20, 40, 80):
            if COSTS.seconds(starts, samples) / 60 < choice.best.minutes:
                assert power()(starts, samples)["mde_side_by_side"] > 0.015


def test_the_best_is_shown_with_its_neighbours() -> None:
    for choice in (for_minutes(power(), COSTS, 30), for_effect(power(), COSTS, 0.015)):
        assert choice.best in choice.around
        assert len(choice.around) == 2 * NEIGHBOURS + 1
    few = for_minutes(power(), COSTS, 2.5)
    assert few.around == few.splits == (few.best,)


def test_what_no_session_holds_is_not_chosen() -> None:
    assert for_effect(power(pair_sd=1.0), COSTS, 0.01).best is None
    assert for_effect(power(round_sd=40.0), COSTS, 0.01).best is None
    assert for_effect(power(), COSTS, 0.01).around
    assert for_effect(power(pair_sd=1.0), COSTS, 0.01).around == ()
    slow = for_minutes(power(), COSTS, 600)
    assert max(split.samples for split in slow.splits) == SAMPLES_MAX


def test_samples_that_show_less_again_hide_no_fewer_ones() -> None:
    """A record of few rounds vouches little for many."""

    def doubtful(starts: int, samples: int) -> dict[str, float | None]:
        doubt = 0.01 if samples > 30 else 0.0
        return {name: effect + doubt for name, effect in power()(starts, samples).items()
                if effect is not None} | {"mde_floor": None}  # fmt: skip

    best, plain = for_effect(doubtful, COSTS, 0.015).best, for_effect(power(), COSTS, 0.015).best
    assert best is not None
    assert plain is not None
    assert best == plain
    assert for_effect(doubtful, COSTS, 0.04 / math.sqrt(3)).best is not None


def test_unknown_noise_chooses_nothing() -> None:
    def unknown(*_: int) -> dict[str, float | None]:
        return dict.fromkeys(("mde_side_by_side", "mde_floor", "mde_compute"))

    assert for_minutes(unknown, COSTS, 30).best is None
    assert for_minutes(unknown, COSTS, 30).splits
    assert for_effect(unknown, COSTS, 0.03).best is None


def test_of_splits_that_see_alike_the_one_with_more_at_the_floor_is_taken() -> None:
    def alike(starts: int, samples: int) -> dict[str, float | None]:
        at_floor = 0.05 if starts == 4 else 0.06
        return {"mde_side_by_side": 0.0203 - starts * 1e-5, "mde_floor": at_floor,
                "mde_compute": None}  # fmt: skip

    best = for_minutes(alike, COSTS, 10).best
    assert best is not None
    assert best.starts == 4


def test_the_suites_own_power_grows_with_launches_and_samples() -> None:
    """What both searches rest on."""
    profile = load_profile("llama-3.1-8b")
    quiet = PairNoise(pair_sd=0.005, round_sd=0.02)
    loud = PairNoise(pair_sd=0.01, round_sd=0.03)
    noise = profile.noise.model_copy(update={"strata": {"floor": loud, "compute": quiet}})

    def sees(starts: int, samples: int) -> float:
        effects = side_by_side(profile, noise, profile.points, starts=starts, samples=samples)
        assert effects["mde_side_by_side"] is not None
        return effects["mde_side_by_side"]

    for few, many in (((3, 10), (4, 10)), ((6, 3), (6, 5)), ((6, 20), (6, 80)), ((6, 9), (20, 9))):
        assert sees(*many) < sees(*few)


def needs(least: dict[int, int]):
    """An effect of 1 % is seen by so many launches of at least so many samples, by no others."""

    def effects(starts: int, samples: int) -> dict[str, float | None]:
        seen = samples >= least.get(starts, SAMPLES_MAX + 1)
        return {"mde_side_by_side": 0.01 if seen else 0.02, "mde_floor": None, "mde_compute": None}

    return effects


def chosen(least: dict[int, int], costs: Costs) -> list[tuple[int, int]]:
    choice = for_effect(needs(least), costs, 0.01)
    return [(split.starts, split.samples) for split in choice.splits]


def test_where_the_fewest_will_do_two_more_are_looked_at_and_no_other() -> None:
    every = dict.fromkeys(range(2, MAX_STARTS + 1), 1)
    assert chosen(every, COSTS) == [(2, ROUNDS_MIN), (3, ROUNDS_MIN), (4, ROUNDS_MIN)]


def test_it_ends_where_more_launches_cannot_take_less() -> None:
    """Two launches of 99 take 320 s, and five of the fewest samples as much."""
    costs = Costs(launch_s=61.0, round_s=1.0)
    assert ROUNDS_MIN == 3
    assert chosen({2: 99, 3: 50, 4: 20, 5: 3}, costs) == [(2, 99), (3, 50), (4, 20)]
    # Where five take less than that, they are the best.
    cheaper = Costs(launch_s=60.0, round_s=1.0)
    assert chosen({2: 99, 3: 50, 4: 20, 5: 3}, cheaper)[-1] == (5, 3)


def test_no_more_launches_than_a_session_holds() -> None:
    assert chosen({MAX_STARTS: 40}, COSTS) == [(MAX_STARTS, 40)]
    assert chosen({MAX_STARTS + 1: 40}, COSTS) == []
    splits = for_minutes(power(), Costs(launch_s=1.0, round_s=0.1), 600).splits
    assert [split.starts for split in splits] == list(range(2, MAX_STARTS + 1))
