"""A slow-down that came at once is told from one that crept in."""

from __future__ import annotations

import numpy as np
import pytest

from append_prefill.analysis.trend.ramps import creeps_on, crept

AGES = np.arange(32.0)


def noisy(shape: np.ndarray, seed: int) -> np.ndarray:
    return (shape + np.random.default_rng(seed).normal(0, 0.004, 32))[:, None]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("at", [12, 28, 31])
def test_a_step_is_none(at: int, seed: int) -> None:
    assert not crept(noisy(0.03 * (at <= AGES), seed), AGES)


@pytest.mark.parametrize("seed", range(5))
def test_a_ramp_is(seed: int) -> None:
    assert crept(noisy(0.001 * np.maximum(AGES - 8, 0), seed), AGES)


@pytest.mark.parametrize("seed", range(5))
def test_a_ramp_goes_on_and_a_second_step_does_not(seed: int) -> None:
    assert creeps_on(noisy(0.001 * AGES, seed), AGES, 15, 30)
    steps = 0.02 * (AGES >= 15) + 0.03 * (AGES >= 30)
    assert not creeps_on(noisy(steps, seed), AGES, 15, 30)


@pytest.mark.parametrize("sessions", [0, 1, 4])
def test_too_few_sessions_show_no_ramp(sessions: int) -> None:
    rows, ages = np.linspace(0, 0.1, sessions)[:, None], np.arange(float(sessions))
    assert not crept(rows, ages)
    assert not creeps_on(rows, ages, 0, 1)
