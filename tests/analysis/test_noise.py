import numpy as np
import pytest

from append_prefill.analysis.noise import components, effective_n, lag1, noise_of, robust_sd
from append_prefill.workload.points import Point
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
    # A single point's figure scatters by the common level and its own part.
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
    """Mean of 2000 estimates from nights of 2, 3 and 7 starts: within 5 % of the truth."""
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
