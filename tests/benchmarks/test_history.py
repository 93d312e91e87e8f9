"""The benchmark's year: what happens in it is in its records."""

from __future__ import annotations

import pytest

from append_prefill.analysis.trend.values import entry_of
from benchmarks.history import Event, Machine, odds_of, year


def test_a_creep_grows_and_stops() -> None:
    creep = Event("creep", 10, 100, 0.001, creep=True)
    assert [round(creep.of(i), 4) for i in (9, 10, 19, 49, 80, 100)] == [
        0.0,
        0.001,
        0.01,
        0.04,
        0.04,
        0.0,
    ]


def test_bad_devices_are_apart_from_what_happens() -> None:
    events = year(365)
    odds = odds_of(events, 365, 1)
    assert len(odds.failed | odds.slow) == 10
    borders = {edge for event in events for edge in (event.at, event.until)}
    assert all(abs(i - edge) > 2 for i in odds.failed | odds.slow for edge in borders)


def test_an_effect_is_in_the_record_and_a_session_is_whole() -> None:
    entry = entry_of(Machine().run(3, [Event("slow", 0, 9, 0.1)], seed=1), "run")
    level = entry.value_of("level", "reference")
    assert level is not None
    assert level.value == pytest.approx(1.1, abs=0.03)
    assert (entry.verdict, entry.purpose, entry.whole) == ("regression", "nightly", True)
    failed = entry_of(Machine().failed(4), "run")
    assert (failed.verdict, failed.whole) == ("infrastructure", False)
