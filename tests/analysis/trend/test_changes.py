"""Change points: found where they are, not where nothing changed."""

from __future__ import annotations

import numpy as np
import pytest

from append_prefill.analysis.trend.changes import (
    PAGE_RATE,
    SHORTEST,
    change_points,
    scatter_of,
)

SD = 0.004


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, SD, count)


def test_steps_are_found_with_their_sizes() -> None:
    log = noise(120)
    log[40:] += 0.04
    log[90:] -= 0.03
    up, down = change_points(log, series=40)
    assert abs(up.at - 40) <= 1
    assert abs(down.at - 90) <= 1
    assert up.low < 0.04 < up.high
    assert down.low < -0.03 < down.high
    assert up.high - up.low < 0.006


def test_a_session_on_a_bad_device_is_no_change() -> None:
    log = noise(60)
    log[30] += 0.08
    assert change_points(log, series=40) == []


@pytest.mark.parametrize("count", [0, 1, 2 * SHORTEST - 1])
def test_too_few_sessions_show_nothing(count: int) -> None:
    assert change_points(np.arange(count) * 0.01, series=1) == []


def test_sessions_without_scatter_show_nothing() -> None:
    assert change_points(np.zeros(50), series=1) == []


def test_the_rate_is_that_of_the_page() -> None:
    """Of 200 pages of 30 sessions and ten series a tenth at the most: 1 in 1000 are more."""
    shown = sum(
        any(change_points(noise(30, 10 * page + one), series=10) for one in range(10))
        for page in range(200)
    )
    assert shown <= 0.1 * 200
    assert PAGE_RATE == 0.05


def test_scatter_sees_no_step() -> None:
    log = noise(2000)
    assert scatter_of(log) == pytest.approx(SD, rel=0.1)
    log[1000:] += 1
    assert scatter_of(log) == pytest.approx(SD, rel=0.1)
