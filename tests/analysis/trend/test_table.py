"""Sessions as arrays: ratios, their scatter, what the reference itself brings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from append_prefill.analysis.trend.table import (
    ANCHOR,
    ANCHORED,
    LEAST_STEPS,
    MEDIAN_VARIANCE,
    SCATTER_SESSIONS,
    table_of,
)
from append_prefill.records.history.entry import Value, Yardstick
from tests.records.history import entries

STORED = Yardstick("baseline", "pinned", "0.5.17", "pass", 0.05)


def test_the_level_comes_first_and_holes_are_no_values() -> None:
    logs = [{"append_end": 0.02, "point:L1-m1": 0.03}, {"level": 0.01}]
    table = table_of(entries.history(logs))
    assert table.quantities == ("level", "append_end", "point:L1-m1")
    assert np.isnan(table.log[0, 0])
    assert table.log[1, 0] == pytest.approx(0.01)
    assert np.isnan(table.log[1, 1:]).all()
    assert table.references == ("0.5.17", "0.5.17")


def test_scatter_is_the_intervals_until_enough_sessions_are_there() -> None:
    """And never less than them."""
    log = np.random.default_rng(0).normal(0, 0.02, 200)
    table = table_of(entries.history(list(log)))
    assert table.scatter[LEAST_STEPS - 1, 0] == pytest.approx(0.004)
    assert table.scatter[150, 0] == pytest.approx(0.02, rel=0.4)
    assert table.steps[150, 0] == SCATTER_SESSIONS
    quiet = table_of(entries.history([0.0, 1e-6] * 20))
    assert quiet.scatter[-1, 0] == pytest.approx(0.004)


def test_another_reference_is_no_scatter() -> None:
    log = np.where(np.arange(40) < 20, 0.0, 1.0)
    sessions = entries.history(list(log))
    moved = replace(entries.SIDE_BY_SIDE, reference="0.5.20")
    sessions[20:] = [replace(entry, yardstick=moved) for entry in sessions[20:]]
    table = table_of(sessions)
    assert table.steps[-1, 0] == 38


def test_a_stored_reference_is_one_session_and_half_of_the_interval() -> None:
    table = table_of(entries.history([0.0], yardstick=STORED))
    assert table.shared.tolist() == [1.0]
    assert table.scatter[0, 0] == pytest.approx(0.004 / np.sqrt(2))
    assert table_of(entries.history([0.0])).shared.tolist() == [0.0]


def test_without_a_reference_the_first_sessions_median_is_one() -> None:
    levels = [16.0, 17.0, 15.0, 16.0, 40.0, 16.0, 16.0, 16.0 * np.e]
    sessions = [
        entries.entry(i, [Value("own", "level", level, level * 0.9, level * 1.1)], yardstick=None)
        for i, level in enumerate(levels)
    ]
    table = table_of(sessions)
    assert table.log[-1, 0] == pytest.approx(1.0)
    assert set(table.references) == {ANCHORED}
    assert table.shared[0] == pytest.approx(MEDIAN_VARIANCE / ANCHOR)
    assert np.isnan(table.scatter[-1, 0])  # launches do not say how sessions differ
    assert np.isnan(table_of(sessions[: ANCHOR - 1]).log).all()


@pytest.mark.parametrize("ends", [(None, None), (1.1, 0.9), (0.0, 1.0)])
def test_what_is_no_interval_says_nothing_of_scatter(ends) -> None:
    table = table_of([entries.entry(0, [Value("reference", "level", 1.0, *ends)])])
    assert np.isnan(table.scatter[0, 0])
