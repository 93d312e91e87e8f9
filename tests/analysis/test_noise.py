import numpy as np
import pytest

from append_prefill.analysis.components import components_of, pairs_of
from append_prefill.analysis.noise import (
    components,
    effective_n,
    lag1,
    level_error,
    noise_of,
    robust_sd,
    traffic_noise,
)
from append_prefill.analysis.summary import faster_half
from append_prefill.records.launch import Start, TrafficSeries
from append_prefill.workload.points import Point
from append_prefill.workload.policy import Plane
from append_prefill.workload.traffic_experiment import TrafficExperiment
from tests.analysis.factory import POINTS, start, starts_of

P = len(POINTS)


def nights(rng, count, starts):
    start_sd, night_sd, cell = 0.02, 0.03, 0.01
    return [
        starts_of(
            3
            + night_sd * rng.normal()
            + start_sd * rng.normal(size=(starts, 1))
            + cell * rng.normal(size=(starts, P))
        )
        for _ in range(count)
    ]


@pytest.mark.simulation
def test_planted_components_come_back() -> None:
    found = noise_of(nights(np.random.default_rng(0), 60, 5))
    assert (found.starts, found.nights) == (300, 60)
    assert found.start_sd == pytest.approx(0.02, rel=0.1)
    assert found.night_sd == pytest.approx(0.03, rel=0.2)
    assert {p.point for p in found.points} == set(POINTS)
    # A single point's statistic scatters by the common level and its own part.
    sds = [p.start_sd for p in found.points]
    assert np.median(sds) == pytest.approx(np.hypot(0.02, 0.01), rel=0.1)


@pytest.mark.parametrize(
    ("sizes", "starts", "night_known", "start_known"),
    [
        ([], 0, False, False),
        ([1], 1, False, False),
        ([2], 2, False, True),
        ([1, 1], 2, False, False),
        ([2, 1], 3, True, True),
        ([3, 2], 5, True, True),
    ],
)
def test_small_numbers(sizes, starts, night_known, start_known) -> None:
    rng = np.random.default_rng(1)
    found = noise_of([night for size in sizes for night in nights(rng, 1, size)])
    assert found.starts == starts
    assert found.nights == len(sizes)
    assert (found.night_sd is not None) is night_known
    assert (found.start_sd is not None) is start_known


def test_equal_starts_have_no_noise() -> None:
    found = noise_of([starts_of(np.zeros((3, P))), starts_of(np.zeros((3, P)))])
    assert (found.start_sd, found.night_sd) == (0.0, 0.0)


@pytest.mark.simulation
def test_unequal_nights_are_unbiased() -> None:
    """Mean of 2000 estimates from sessions of 2, 3 and 7 launches: within 5 % of the truth."""
    rng = np.random.default_rng(2)
    found = []
    for _ in range(2000):
        groups = [3 * rng.normal() + 2 * rng.normal(size=n) for n in (2, 3, 7)]
        part = components(groups)
        found.append((part.within, part.between))
    within, between = np.mean(found, axis=0)
    assert within == pytest.approx(4, rel=0.05)
    # Cutting negative estimates at 0 leaves some bias upwards.
    assert between == pytest.approx(9, rel=0.1)


def test_within_sd_is_robust_against_outliers() -> None:
    rng = np.random.default_rng(3)
    samples = 20 * np.exp(0.02 * rng.normal(size=(6, 200)))
    samples[:, ::50] *= 3
    found = noise_of([[start(i, {Point(512, 128): list(row)}) for i, row in enumerate(samples)]])
    point = found.points[0]
    assert point.within_sd == pytest.approx(0.02, rel=0.1)
    assert found.within_sd == point.within_sd
    assert robust_sd(np.array([0.0, 0.0, 0.0, 99.0])) == 0.0


def test_autocorrelation_and_effective_number() -> None:
    rng = np.random.default_rng(4)
    sequences = []
    for _ in range(40):
        noise = rng.normal(size=100)
        for k in range(1, 100):
            noise[k] = 0.5 * noise[k - 1] + np.sqrt(0.75) * noise[k]
        sequences.append(noise)
    found = lag1(sequences)
    assert found == pytest.approx(0.5, abs=0.05)
    assert effective_n(100, found) == pytest.approx(33, abs=4)
    assert lag1([rng.normal(size=10) for _ in range(500)]) == pytest.approx(0, abs=0.04)
    assert effective_n(10, -0.5) == 10
    assert effective_n(10, None) is None
    assert lag1([]) is None
    assert lag1([np.ones(3)]) is None
    assert lag1([np.ones(10)]) is None


def test_one_sample_a_point_has_no_spread_within() -> None:
    found = noise_of(nights(np.random.default_rng(5), 2, 3))
    assert found.within_sd is None
    assert all(p.within_sd is None and p.effective_n is None for p in found.points)


def test_a_start_that_lacks_points_is_no_trap() -> None:
    rng = np.random.default_rng(6)
    one = nights(rng, 1, 4)[0]
    one[0].series[:] = one[0].series[:2]
    found = noise_of([one, nights(rng, 1, 3)[0]])
    assert found.starts == 6
    assert found.start_sd is not None


def test_the_ratio_within_interleaved_pairs_is_known_apart_from_the_levels() -> None:
    rng = np.random.default_rng(7)
    night = []
    machine = 0.14 * rng.normal(size=(40, 1))
    for side in ("candidate", "reference"):
        table = 3 + machine + 0.03 * rng.normal(size=(40, 1)) + 0.01 * rng.normal(size=(40, P))
        night += [
            s.model_copy(update={"pair": i, "interleaved": True})
            for i, s in enumerate(starts_of(table, side=side))
        ]
    found = noise_of([night])
    assert found.pairs == 40
    assert found.pair_sd == pytest.approx(0.03 * np.sqrt(2), rel=0.3)
    assert found.start_sd > 0.1
    assert noise_of([night[:40]]).pair_sd is None


# Each step on few launches, to the digit.


@pytest.mark.parametrize(
    ("groups", "within", "between"),
    [
        ([], None, None),
        ([[1.0]], None, None),
        ([[1.0], [2.0]], None, None),
        ([[1.0, 3.0]], 2.0, None),
        ([[1.0, 3.0], []], 2.0, None),
        # Squares within: 2 and 0, so 2 over one degree; between them 13.5 of one degree.
        ([[1.0, 3.0], [8.0]], 2.0, (16 * 2 / 3 + 32 * 2 / 3 - 8 - 2.0) / (3 - 5 / 3)),
        ([[1.0, 3.0], [2.0, 2.0]], 1.0, 0.0),
    ],
)
def test_components_are_the_moments(groups, within, between) -> None:
    found = components([np.array(group) for group in groups])
    assert found.within == within
    if between is None or between == 0.0:
        assert found.between == between
        return
    arrays = [np.array(group) for group in groups]
    grand = np.concatenate(arrays).mean()
    square = sum(len(g) * (g.mean() - grand) ** 2 for g in arrays) / (len(arrays) - 1)
    count = sum(map(len, arrays))
    size = (count - sum(len(g) ** 2 for g in arrays) / count) / (len(arrays) - 1)
    assert found.between == pytest.approx((square - found.within) / size)


def test_three_nights_share_two_degrees_of_freedom() -> None:
    arrays = [np.array([1.0, 3.0, 2.0]), np.array([8.0, 9.0]), np.array([4.0])]
    found = components(arrays)
    within = (2.0 + 0.5) / 3
    assert found.within == pytest.approx(within)
    square = (3 * (2 - 4.5) ** 2 + 2 * (8.5 - 4.5) ** 2 + (4 - 4.5) ** 2) / 2
    assert found.between == pytest.approx((square - within) / ((6 - 14 / 6) / 2))


def test_lag_one_pools_centred_products_and_gives_back_the_bias() -> None:
    one, two = np.array([1.0, 2.0, 4.0, 5.0]), np.array([3.0, 3.0, 9.0, 1.0, 4.0])
    products = power = 0.0
    for values in (one, two):
        centred = values - values.mean()
        products += (centred[1:] * centred[:-1]).sum()
        power += (centred**2).sum()
    assert lag1([one, two, np.array([1.0, 9.0, 1.0])]) == pytest.approx(products / power + 1 / 4.5)
    assert lag1([np.ones(3), one]) == lag1([one])
    assert lag1([np.arange(100.0)]) == pytest.approx(0.98, abs=0.01)
    assert lag1([np.array([0.0, 0.0, 9.0, 9.0])]) == 0.5
    # A short run of alternating samples: -0.75 and a quarter.
    assert lag1([np.array([1.0, -1.0, 1.0, -1.0])]) == pytest.approx(-0.5)


@pytest.mark.parametrize(
    ("correlation", "worth"), [(None, None), (0.0, 10.0), (0.5, 10 / 3), (1.0, 0.0), (-1.0, 10.0)]
)
def test_alike_samples_are_worth_fewer(correlation, worth) -> None:
    assert effective_n(10, correlation) == (None if worth is None else pytest.approx(worth))


def test_an_autocorrelation_is_no_more_than_one() -> None:
    """A slow wave of a hundred samples has 0.998, and gives back a hundredth of bias."""
    assert lag1([np.sin(2 * np.pi * np.arange(100) / 100)]) == 1.0


def test_a_robust_sd_is_the_normals() -> None:
    assert robust_sd(np.array([-2.0, -1.0, 0.0, 1.0, 2.0])) == pytest.approx(1.4826, abs=1e-4)


A, B, C = POINTS[:3]


def test_a_points_noise_is_within_nights_and_within_launches() -> None:
    samples = [[10.0, 11.0, 12.0, 14.0], [20.0, 24.0, 22.0, 21.0, 26.0], [15.0]]
    nights = [
        [start(0, {A: samples[0]}), start(1, {A: samples[1]}), start(2, {A: [9.0]}, failure="x")],
        [start(0, {A: samples[2]}), start(1, {B: [5.0]})],
    ]
    row = noise_of(nights).points[0]
    logs = [np.log(s) for s in samples[:2]]
    residuals = np.concatenate([s - np.median(s) for s in logs])
    within = 1.482602 * np.median(np.abs(residuals - np.median(residuals))) * np.sqrt(9 / 7)
    figures = [np.array([faster_half(s) for s in logs]), np.array([np.log(15.0)])]
    assert row.model_dump() == {
        "context_tokens": A.context_tokens,
        "append_tokens": A.append_tokens,
        "start_sd": pytest.approx(np.sqrt(components(figures).within)),
        "within_sd": pytest.approx(within, rel=1e-5),
        "lag1": pytest.approx(lag1(logs)),
        "effective_n": pytest.approx(effective_n(4.5, lag1(logs))),
    }
    lone = noise_of(nights).points[1]
    assert (lone.point, lone.start_sd, lone.within_sd, lone.lag1, lone.effective_n) == (
        B,
        None,
        None,
        None,
        None,
    )


def test_two_samples_are_a_sequence_and_one_is_none() -> None:
    (row,) = noise_of([[start(0, {A: [10.0, 12.0]}), start(1, {A: [10.0]})]]).points
    half = np.log(12 / 10) / 2
    assert row.within_sd == pytest.approx(1.482602 * half * np.sqrt(2), rel=1e-5)
    assert (row.lag1, row.effective_n) == (None, None)


TABLE = np.array([[3.0, 3.1, 3.3], [3.2, 3.2, 3.4], [2.9, 3.3, 3.1], [3.1, 3.0, 3.6]])


def point_error(tables) -> float:
    """Variance that the points' scatter beyond a launch's level leaves in its mean over points."""
    squares, df, points = 0.0, 0, tables[0].shape[1]
    for table in tables:
        for s in range(len(table)):
            for p in range(points):
                fitted = table[s].mean() + table[:, p].mean() - table.mean()
                squares += (table[s, p] - fitted) ** 2
        df += (len(table) - 1) * (points - 1)
    return squares / df / points


def test_a_level_is_freed_of_its_points_scatter() -> None:
    common = TABLE + np.array([[0.0], [0.5], [-0.4], [0.9]])
    tables = [common[:3], common[2:] + 0.3]
    found = noise_of([starts_of(table, (A, B, C)) for table in tables])
    levels = [table.mean(axis=1) for table in tables]
    spread = components(levels)
    assert found.start_sd == pytest.approx(np.sqrt(spread.within - point_error(tables)))
    assert found.night_sd == pytest.approx(np.sqrt(spread.between))
    assert (found.starts, found.nights, found.pairs, found.pair_sd) == (5, 2, 0, None)


def test_launches_that_lack_points_and_points_that_launches_lack_are_cut() -> None:
    """C is measured by one launch of eight; the first night's last and the last one's first launch
    have A alone."""
    nights = [TABLE[:3].copy(), TABLE[1:].copy() + 0.2, TABLE[2:].copy() - 0.1]
    nights[0][:, 2] = nights[1][1:, 2] = nights[2][:, 2] = np.nan
    nights[0][2, 1] = nights[2][0, 1] = np.nan
    found = noise_of([starts_of(night, (A, B, C)) for night in nights])
    tables = [nights[0][:2, :2], nights[1][:, :2], nights[2][1:, :2]]
    spread = components([table.mean(axis=1) for table in tables])
    assert (found.starts, found.nights) == (6, 3)
    assert found.night_sd == pytest.approx(np.sqrt(spread.between))
    variance = max(0.0, spread.within - point_error(tables))
    assert found.start_sd == pytest.approx(np.sqrt(variance))


def test_a_launch_goes_before_a_point_that_more_than_half_have() -> None:
    first = TABLE[:3, :2].copy()
    first[0, 1] = np.nan
    assert noise_of([starts_of(first, (A, B))]).starts == 2


def test_nights_without_a_sample_have_no_level() -> None:
    nothing = noise_of([[start(0, {A: []}), start(1, {A: []})]])
    assert (nothing.starts, nothing.nights, nothing.start_sd) == (0, 0, None)
    assert [p.point for p in nothing.points] == [A]


def test_the_spread_within_launches_is_the_median_points() -> None:
    one = start(0, {A: [10.0, 10.1, 10.2], B: [10.0, 11.0, 12.0], C: [10.0, 15.0, 20.0]})
    found = noise_of([[one]])
    assert found.within_sd == found.points[1].within_sd
    assert found.within_sd > found.points[0].within_sd
    assert [p.point for p in found.points] == [A, B, C]


def pair(index: int, a, b, *, interleaved=True, points=(A, B, C)):
    return [
        starts_of(np.array([row]), points, side=side)[0].model_copy(
            update={"index": index, "pair": index, "interleaved": interleaved}
        )
        for side, row in (("candidate", a), ("reference", b))
    ]


def test_pairs_differ_by_their_ratio() -> None:
    """Over all nights; B, which one half of a pair lacks, is left out. One round tells nothing of
    its own error, so nothing is taken off."""
    rows = [([3.4, 3.0, 3.9], [3.0, np.nan, 3.5]), ([3.0, 3.0, 3.1], [3.3, 3.0, 3.3]),
            ([3.0, 3.0, 3.3], [3.0, 3.0, 3.0])]  # fmt: skip
    pairs = [pair(n, *row) for n, row in enumerate(rows)]
    found = noise_of([[*pairs[0], *pairs[1]], pairs[2]])
    apart = np.array([np.array(a) - np.array(b) for a, b in rows])[:, [0, 2]]
    assert found.pairs == 3
    assert found.pair_sd == pytest.approx(np.sqrt((apart.mean(axis=1) ** 2).mean()))
    assert (found.rounds, found.components.round_sd) == (1.0, None)


def test_points_that_each_session_drew_for_itself_cost_no_pair() -> None:
    """Of a night's two pairs each has a point of its own beside those of all."""
    drawn = [Point(77, 7 + night) for night in range(3)]
    nights = []
    for night, own in enumerate(drawn):
        points = (*POINTS[:3], own)
        rows = [(3 + 0.01 * (night + k), 3.0) for k in range(2)]
        nights.append([
            launch
            for k, (a, b) in enumerate(rows)
            for launch in pair(2 * night + k, [a] * 4, [b] * 4, points=points)
        ])  # fmt: skip
    found = noise_of(nights)
    assert found.pairs == 6
    ratios = np.array([0.01 * (night + k) for night in range(3) for k in range(2)])
    assert found.pair_sd == pytest.approx(np.sqrt((ratios**2).mean()))


def test_a_pair_that_lacks_most_points_is_none() -> None:
    """It would take the points from all others, and is not counted as what the noise rests on."""
    torn = pair(2, [3.5, np.nan, np.nan], [3.0, np.nan, np.nan])
    rest = [launch for n in range(2) for launch in pair(n, [3.1] * 3, [3.0] * 3)]
    found = noise_of([[*rest, *torn]])
    assert (found.pairs, found.pair_sd) == (2, pytest.approx(0.1))


PLANE = Plane(floor_append_tokens=256, argument="Of these six points three are at the floor.")
SIX = [Point(512, m) for m in (32, 128, 256, 512, 820, 1024)]


def alternating(rng, count: int, rounds: int, sds: tuple[float, float], round_sd: float):
    """Pairs that alternated by sample: their ratio by `sds` at the floor and beyond, and a round's
    by `round_sd`; all else is in both halves."""
    night = []
    for index in range(count):
        ratio = np.repeat([sd * rng.normal() for sd in sds], 3)
        shared = 3 + 0.2 * rng.normal(size=(rounds, 6))
        both = shared + ratio + round_sd * rng.normal(size=(rounds, 1)), shared
        for side, table in zip(("candidate", "reference"), both, strict=True):
            made = start(index, dict(zip(SIX, np.exp(table).T.tolist(), strict=True)), side=side)
            night.append(
                made.model_copy(update={"pair": index, "interleaved": True, "alternated": "sample"})
            )
    return night


def test_what_rounds_explain_is_no_scatter_of_pairs_and_strata_have_their_own() -> None:
    rng = np.random.default_rng(8)
    found = noise_of([alternating(rng, 200, 12, (0.03, 0.006), 0.02)], PLANE)
    assert (found.pairs, found.rounds) == (200, 12)
    floor, compute = found.strata["floor"], found.strata["compute"]
    assert floor.pair_sd == pytest.approx(0.03, rel=0.15)
    assert compute.pair_sd == pytest.approx(0.006, rel=0.3)
    assert found.pair_sd == found.components.pair_sd
    assert found.pair_sd == pytest.approx(np.hypot(0.03, 0.006) / 2, rel=0.2)
    # The middle half of the rounds' differences, 1.2 times as variable as a mean.
    for part in (found.components, floor, compute):
        assert part.round_sd == pytest.approx(np.sqrt(1.2) * 0.02, rel=0.1)
    alike = noise_of([alternating(rng, 3, 12, (0.03, 0.006), 0.05)])
    assert alike.strata == {}


def test_two_pairs_a_stratum_tell_and_one_does_not() -> None:
    rng = np.random.default_rng(9)
    one, two = (noise_of([alternating(rng, n, 4, (0.03, 0.01), 0.05)], PLANE) for n in (1, 2))
    assert (one.pairs, one.pair_sd, one.rounds) == (0, None, 4)
    assert {part.pair_sd for part in one.strata.values()} == {None}
    assert (two.pairs, set(two.strata)) == (2, {"floor", "compute"})
    none = noise_of([starts_of(TABLE, (A, B, C))], PLANE)
    assert (none.rounds, none.components, none.strata) == (None, None, {})


def test_sessions_ratios_differ_beyond_their_pairs() -> None:
    """The candidate 0, 10 and 20 % above its control in three sessions of two pairs each."""
    nights, groups = [], []
    for night in range(3):
        ratios = np.array([0.1 * night, 0.1 * night + 0.02])
        groups.append(ratios)
        nights.append([
            launch
            for k, ratio in enumerate(ratios)
            for launch in pair(2 * night + k, [3 + ratio] * 3, [3.0] * 3)
        ])  # fmt: skip
    found = noise_of(nights)
    assert found.ratio_night_sd == pytest.approx(np.sqrt(components(groups).between))
    assert noise_of(nights[:1]).ratio_night_sd is None
    # Sessions of one pair each cannot tell sessions from pairs.
    assert noise_of([night[:2] for night in nights]).ratio_night_sd is None


@pytest.mark.parametrize(
    ("night", "pairs"),
    [
        (lambda ps: [*ps[0], *ps[1]], 2),
        (lambda ps: ps[0], 0),
        (lambda ps: [*ps[0], *pair(1, [3, 3, 3], [3, 3, 3], interleaved=False)], 0),
        (lambda ps: [*ps[0], *ps[1], ps[2][0]], 2),
        (lambda ps: [*ps[0], *ps[1], ps[2][0], ps[2][1].model_copy(update={"failure": "x"})], 2),
    ],
    ids=["two", "one", "one after the other", "half a pair", "half of it failed"],
)
def test_what_counts_as_a_pair(night, pairs) -> None:
    three = [pair(n, [3.0, 3.1, 3.2 + n / 10], [3.0, 3.0, 3.0]) for n in range(3)]
    found = noise_of([night(three)])
    assert found.pairs == pairs
    assert (found.pair_sd is None) == (pairs == 0)


TURNS = TrafficExperiment.model_validate(
    {
        "id": "turns",
        "title": "Turns",
        "context": "replied",
        "conversation": {
            "turns": 3,
            "first_tokens": 100,
            "append_tokens": 20,
            "reply_tokens": 50,
        },
        "argument": "An argument of at least twenty letters.",
    }
)
BURST = TURNS.model_copy(update={"id": "burst", "context": "primed", "conversation": None})


def talked(pairs: int, rounds: int, *, seed: int = 0, missing: tuple[int, ...] = ()) -> list[Start]:
    """Launches of one version, up in pairs, with samples of both turns; of the last turn the pairs
    `missing` have none. Their points have samples as well, which are no part of it.
    """
    rng = np.random.default_rng(seed)
    made = []
    for pair in range(pairs):
        for side in ("candidate", "reference"):
            series = [
                TrafficSeries(
                    context_tokens=condition.point.context_tokens,
                    append_tokens=condition.point.append_tokens,
                    ttft_ms=[] if gone else list(20 * np.exp(0.03 * rng.normal(size=rounds))),
                    e2e_ms=[] if gone else [30.0] * rounds,
                    itl_ms=[] if gone else [None] * rounds,
                    output_tokens=[] if gone else [2] * rounds,
                    cached_tokens=[] if gone else [100] * rounds,
                    block=[] if gone else list(range(rounds)),
                    context="replied",
                )
                for condition in TURNS.conditions
                for gone in [pair in missing and condition == TURNS.conditions[-1]]
            ]
            one = start(pair, {Point(512, 32): [20.0] * (rounds + 2)}, side=side)
            made.append(
                one.model_copy(update={"pair": pair, "interleaved": True, "traffic": series})
            )
    return made


def test_of_other_traffic_an_experiment_has_the_noise_of_its_own_samples() -> None:
    first, second = talked(3, 4), talked(2, 8, seed=1)
    (found,) = traffic_noise([first, second], [BURST, TURNS])
    assert (found.experiment, found.traffic) == ("turns", TURNS.traffic.label)
    points = sorted(c.point for c in TURNS.conditions)
    assert found.points == [(p.context_tokens, p.append_tokens) for p in points]
    assert (found.pairs, found.rounds) == (5, (3 * 4 + 2 * 8) / 5)
    conditions = frozenset(TURNS.conditions)
    own = [(a.within(conditions), b.within(conditions)) for a, b in pairs_of([first, second])]
    assert found.components == components_of(own, points, np.ones(2, dtype=bool))
    assert found.components.pair_sd is not None


def test_a_condition_that_a_pair_lacks_is_left_out_of_all() -> None:
    (found,) = traffic_noise([talked(5, 4, missing=(2, 3, 4))], [TURNS])
    first = TURNS.conditions[0].point
    assert found.points == [(first.context_tokens, first.append_tokens)]
    assert found.pairs == 5


@pytest.mark.parametrize("sessions", [[], [talked(1, 4)]])
def test_fewer_than_two_pairs_tell_nothing_of_traffic(sessions) -> None:
    assert traffic_noise(sessions, [TURNS]) == []


def test_a_robust_sd_is_about_the_median_wherever_that_is() -> None:
    residuals = np.array([-3.0, -1.0, 0.0, 1.0, 2.0, 8.0, 1.0])
    assert robust_sd(residuals + 40) == pytest.approx(robust_sd(residuals))


@pytest.mark.parametrize("shape", [(3, 1), (1, 4)])
def test_one_point_or_one_launch_gives_the_level_no_error(shape) -> None:
    assert level_error([np.ones(shape)]) == 0.0
