import math

import numpy as np

from append_prefill.probe.warmup import drift, is_stationary, warm_up
from append_prefill.workload.points import Point

POINTS = [Point(16 * i, 8) for i in range(1, 16)]


def rounds(count, level, rng, noise=0.02):
    return [{p: level(i) * math.exp(rng.normal(0, noise)) for p in POINTS} for i in range(count)]


def test_too_few_rounds_say_nothing():
    assert drift([dict.fromkeys(POINTS, 1.0)] * 5) is None
    assert not is_stationary([])


def test_a_decline_is_not_stationary_and_a_plateau_is():
    """Fixed seed; on a plateau one look in twenty asks for more rounds by design."""
    rng = np.random.default_rng(1)
    declining = rounds(6, lambda i: 10 * 0.9**i, rng)
    assert not is_stationary(declining)
    assert is_stationary(declining + rounds(6, lambda _: 5.0, rng))


def test_warm_up_stops_when_stationary():
    rng = np.random.default_rng(2)
    stream = iter(rounds(30, lambda i: 10 + 20 * 0.5**i, rng, noise=0.01))
    ended = warm_up(lambda: next(stream), rounds_max=30)
    assert ended.stationary
    assert 6 < ended.rounds < 25


def test_warm_up_that_never_settles_is_bounded_and_says_so():
    level = iter(range(100))
    ended = warm_up(lambda: {p: 100 * 0.9 ** next(level) for p in POINTS[:2]}, rounds_max=12)
    assert (ended.rounds, ended.stationary) == (12, False)
