import math
from types import SimpleNamespace

import numpy as np
import pytest

from append_prefill.errors import InfrastructureError
from append_prefill.probe import warmup
from append_prefill.probe.sample import Sample, Times
from append_prefill.probe.warmup import (
    LONG_TOKENS,
    drift,
    is_heavy,
    is_stationary,
    refuse_nothing_valid,
    warm_up,
)
from append_prefill.workload.points import Point
from append_prefill.workload.traffic import Traffic
from append_prefill.workload.traffic_experiment import Unit

POINTS = [Point(16 * i, 8) for i in range(1, 16)]
A, B, C = POINTS[:3]


def rounds(count, level, rng, noise=0.02):
    return [{p: level(i) * math.exp(rng.normal(0, noise)) for p in POINTS} for i in range(count)]


def two_windows(*changes):
    """Six rounds: three at 10 ms, then three in which each point has changed by a log ratio."""
    before = dict.fromkeys(POINTS[: len(changes)], 10.0)
    last = {p: 10.0 * math.exp(c) for p, c in zip(POINTS, changes, strict=False)}
    return [before] * 3 + [last] * 3


def test_too_few_rounds_say_nothing():
    assert drift([dict.fromkeys(POINTS, 1.0)] * 5) is None
    assert not is_stationary([])


@pytest.mark.parametrize(
    ("change", "stationary"),
    [(0.0, True), (0.0049, True), (-0.0049, True), (0.0051, False), (-0.0051, False)],
)
def test_what_every_point_shares_may_be_half_a_per_cent(change, stationary):
    assert is_stationary(two_windows(change, change)) is stationary


@pytest.mark.parametrize(
    ("apart", "stationary"), [(0.0101, True), (0.0099, False)], ids=["2 se", "more"]
)
@pytest.mark.parametrize("change", [0.02, -0.02])
def test_more_may_be_noise_up_to_two_standard_errors(change, apart, stationary):
    """Two points `apart` either side of their mean have that as its standard error."""
    assert is_stationary(two_windows(change + apart, change - apart)) is stationary


@pytest.mark.parametrize(
    ("change", "stationary"),
    [
        (None, False),
        ((0.005, 0.0), True),
        ((0.02, 0.01), True),
        ((-0.02, 0.01), True),
        ((0.0201, 0.01), False),
        ((0.0201, 0.0101), True),
    ],
)
def test_a_drift_up_to_the_larger_of_both_bounds_is_none(monkeypatch, change, stationary):
    monkeypatch.setattr(warmup, "drift", lambda _: change)
    assert is_stationary([]) is stationary


def test_the_drift_is_the_mean_log_ratio_of_medians_with_its_standard_error():
    mean, error = drift(two_windows(0.01, 0.03, 0.05))
    assert mean == pytest.approx(0.03)
    assert error == pytest.approx(0.02 / math.sqrt(3))


def test_a_window_is_three_rounds_and_ignores_one_outlier_of_each_point():
    old = {A: 500.0, B: 500.0}
    before = [{A: 10.0, B: 20.0}, {A: 900.0, B: 20.0}, {A: 10.0, B: 1.0}]
    last = [{A: 10.0, B: 20.0}, {A: 10.0, B: 800.0}, {A: 2.0, B: 20.0}]
    assert drift([old, *before, *last]) == pytest.approx((0.0, 0.0))


@pytest.mark.parametrize("lacking", range(6))
def test_a_point_counts_that_every_round_of_both_windows_has(lacking):
    measured = [dict(r) for r in two_windows(0.01, 0.01, 5.0)]
    del measured[lacking][C]
    assert drift(measured) == pytest.approx((0.01, 0.0))
    del measured[lacking][B]
    assert drift(measured) is None


def test_a_decline_is_not_stationary_and_a_plateau_is():
    """Fixed seed; on a plateau one interim analysis in twenty asks for more rounds by design."""
    rng = np.random.default_rng(1)
    declining = rounds(6, lambda i: 10 * 0.9**i, rng)
    assert not is_stationary(declining)
    assert is_stationary(declining + rounds(6, lambda _: 5.0, rng))


def test_warm_up_stops_when_stationary(monkeypatch):
    clock = iter([100.0, 107.0])
    monkeypatch.setattr(warmup, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    stream = iter([{A: t, B: t} for t in (40.0, 20.0, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0)])
    ended = warm_up(lambda: next(stream), rounds_max=30)
    # Round 7: the window before is 20, 10, 10, the last 10, 10, 10.
    assert (ended.rounds, ended.stationary, ended.seconds_s) == (7, True, 7.0)


def test_warm_up_that_never_settles_is_bounded_and_says_so():
    level = iter(range(100))
    ended = warm_up(lambda: {p: 100 * 0.9 ** next(level) for p in POINTS[:2]}, rounds_max=12)
    assert (ended.rounds, ended.stationary) == (12, False)


def test_no_round_is_no_warm_up():
    ended = warm_up(lambda: pytest.fail("measured"), rounds_max=0)
    assert (ended.rounds, ended.stationary) == (0, False)


def test_a_round_without_a_valid_sample_is_the_last():
    times = Times(ttft_ms=1.0, e2e_ms=2.0, itl_ms=None, output_tokens=2, cached_tokens=16)
    none = [Sample(A, "HTTP 503: busy"), Sample(B, "HTTP 503: busy"), Sample(C, "no tokens")]
    with pytest.raises(InfrastructureError, match=r"launch 1: no sample .* 2 of 3: HTTP 503: busy"):
        refuse_nothing_valid(none, "launch 1")
    refuse_nothing_valid([*none, Sample(A, times)], "launch 1")


@pytest.mark.parametrize(
    ("task", "heavy"),
    [
        (Point(LONG_TOKENS - 64, 64), False),
        (Point(LONG_TOKENS - 63, 64), True),
        (Unit("turns", Traffic("replied"), (Point(64, 64),)), False),
        (Unit("together", Traffic(company="together:8"), (Point(64, 64),), heavy=True), True),
    ],
)
def test_what_takes_as_long_as_a_round_is_heavy(task, heavy):
    assert is_heavy(task) is heavy
