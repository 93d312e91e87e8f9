"""An alert's life: opened once, closed by the session that fixes it, told from chance and from odd
sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from append_prefill.analysis.trend.alerts import Alert, decided
from append_prefill.analysis.trend.table import ANCHORED, table_of
from append_prefill.analysis.trend.watch import alerts_of
from append_prefill.records.history.entry import Entry, Value, Yardstick
from append_prefill.records.history.rows import Act
from append_prefill.workload.loading import load_profile
from tests.records.history import entries

POLICY = load_profile("llama-3.1-8b").policy
SD = 0.004


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, SD, count)


def followed(sessions: Sequence[Entry]) -> list[Alert]:
    return alerts_of(table_of(sessions), POLICY, "history")


def of(logs: Sequence[float | Mapping[str, float]]) -> list[Alert]:
    return followed(entries.history(logs))


def at(alert: Alert) -> tuple[int, int | None]:
    """The sessions that opened and closed it."""
    first = entries.CREATED
    closed = None if alert.closed is None else (alert.closed.at - first).days
    return (alert.opened.at - first).days, closed


def step(*changes: tuple[int, float], count: int = 60, seed: int = 0) -> np.ndarray:
    log = noise(count, seed)
    for since, size in changes:
        log[since:] += size
    return log


def test_a_step_alarms_once_and_the_session_that_fixes_it_closes_it() -> None:
    (alert,) = of(step((20, 0.04), (40, -0.04)))
    assert (alert.quantity, alert.kind, alert.state) == ("level", "step", "fixed")
    assert at(alert) == (20, 40)
    assert alert.size == pytest.approx(0.04, abs=0.005)
    assert alert.sightings == 20


@pytest.mark.parametrize(("count", "state"), [(21, "new"), (22, "standing"), (60, "standing")])
def test_it_is_new_by_its_first_session_alone(count: int, state: str) -> None:
    (alert,) = of(step((20, 0.04), count=count))
    assert alert.state == state
    assert alert.open


def test_what_one_session_alone_showed_was_that_sessions() -> None:
    log = step()
    log[30] += 0.08
    (alert,) = of(log)
    assert (alert.state, alert.sightings, at(alert)) == ("invalid", 1, (30, 31))
    assert alert.size > 0.06


def test_one_odd_session_explains_no_fall_of_another_alert() -> None:
    log = step((20, 0.06))
    log[40] += 0.08
    standing, odd = of(log)
    assert (standing.state, odd.state) == ("standing", "invalid")


def test_a_second_step_is_a_second_alert_and_each_is_closed_by_its_own_fix() -> None:
    first, second = of(step((15, 0.06), (30, 0.03), (45, -0.06)))
    assert (at(first), at(second)) == ((15, 45), (30, None))
    assert second.size == pytest.approx(0.03, abs=0.006)


def test_half_a_fix_leaves_half_an_alert() -> None:
    (alert,) = of(step((20, 0.08), (40, -0.05)))
    assert alert.state == "standing"
    assert alert.size == pytest.approx(0.03, abs=0.01)


def test_a_gain_that_is_lost_again_is_a_regression() -> None:
    (alert,) = of(step((20, -0.05), (40, 0.05)))
    assert at(alert) == (40, None)


def test_one_fast_session_makes_no_regression_of_the_next() -> None:
    log = step()
    log[30] -= 0.08
    assert of(log) == []


@pytest.mark.parametrize("seed", range(6))
def test_a_creep_alarms_once_however_far_it_goes(seed: int) -> None:
    log = noise(100, seed)
    log[40:] += 0.001 * np.minimum(np.arange(1, 61), 40)
    (alert,) = of(log)
    assert (alert.kind, alert.state) == ("creep", "standing")
    opened, _ = at(alert)
    # The mean of the last four is there at session 57; chance may be sooner or later.
    assert 45 <= opened <= 60
    assert alert.size == pytest.approx(0.04, abs=0.006)


def test_a_step_on_top_of_a_creep_is_an_alert_of_its_own() -> None:
    log = noise(120)
    log[30:] += 0.001 * np.minimum(np.arange(1, 91), 40)
    log[100:] += 0.03
    creep, on_top = of(log)
    assert (creep.kind, on_top.kind, at(on_top)) == ("creep", "step", (100, None))
    assert on_top.size == pytest.approx(0.03, abs=0.006)


def test_what_the_run_calls_a_regression_is_an_alert_from_the_first_session() -> None:
    values = [entries.ratio("level", 0.05, 0.02, slower=True)]
    (alert,) = followed([entries.entry(0, values)])
    assert (alert.state, alert.size) == ("new", pytest.approx(0.05))


def test_a_part_is_named_where_it_shows_far_more_than_the_whole() -> None:
    def session(size: float, wobble: float) -> Mapping[str, float]:
        return {
            "level": 0.4 * size + wobble,
            "compute_points": size + wobble,
            "floor_points": wobble,
        }

    logs = [session(0.06 * (i >= 20), wobble) for i, wobble in enumerate(noise(40))]
    (alert,) = of(logs)
    assert alert.quantity == "compute_points"


def test_nothing_alarms_where_nothing_changed() -> None:
    """At one session in a hundred 200 would bring two; what is asked is a shift worth a name."""
    assert sum(len(of(noise(20, seed))) for seed in range(10)) == 0


def test_without_a_reference_the_first_sessions_are_one() -> None:
    levels = 16 * np.exp(step((30, 0.05)))
    sessions = [
        entries.entry(i, [Value("own", "level", level, 0.98 * level, 1.02 * level)], yardstick=None)
        for i, level in enumerate(levels)
    ]
    (alert,) = followed(sessions)
    assert (alert.reference, at(alert)) == (ANCHORED, (30, None))


def test_a_reference_that_moves_on_takes_what_it_has_with_it() -> None:
    log = step((20, 0.05), count=40)
    log[30:] -= 0.05  # against a reference that has it
    sessions = entries.history(log)
    moved = Yardstick("side-by-side", "chosen", "0.5.20", "pass", 0.02)
    sessions[30:] = [replace(entry, yardstick=moved) for entry in sessions[30:]]
    (alert,) = followed(sessions)
    assert (alert.state, alert.reason, alert.who) == ("accepted", "0.5.20", None)
    assert at(alert) == (20, 30)


def test_a_stored_references_own_luck_is_no_creep() -> None:
    """It is in all sessions alike; side by side the same offset is one of the version."""
    log = noise(60) + 0.017
    stored = Yardstick("baseline", "pinned", "0.5.17", "pass", 0.05)
    wide = [
        entries.entry(i, [entries.ratio("level", x, 0.01)], yardstick=stored)
        for i, x in enumerate(log)
    ]
    assert followed(wide) == []
    assert len(of(log)) == 1


def test_a_finding_alarms_once_and_is_closed_where_it_holds() -> None:
    said = [None, True, None, True, False, True, False, True]
    sessions = [
        entries.entry(i, [Value("own", "finding:flat", 1.3, 1.2, 1.4, broken)])
        for i, broken in enumerate(said)
    ]
    found = followed(sessions)
    assert [(a.state, *at(a)) for a in found] == [
        ("fixed", 1, 4),
        ("invalid", 5, 6),
        ("new", 7, None),
    ]
    assert {alert.quantity for alert in found} == {"finding:flat"}


def test_the_last_decision_counts_while_an_alert_stands() -> None:
    log = step((20, 0.05), count=40)
    (alert,) = of(log)

    def act(kind: str, reason: str) -> Act:
        return Act(alert.id, kind, "kim", reason, entries.CREATED)

    (accepted,) = decided([alert], [act("accept", "known")])
    assert (accepted.state, accepted.who, accepted.reason) == ("accepted", "kim", "known")
    (again,) = decided([alert], [act("accept", "known"), act("reopen", "it grew")])
    assert (again.state, again.reason) == ("standing", None)
    (fixed,) = of(step((20, 0.05), (30, -0.05), count=40))
    assert fixed.id == alert.id
    assert decided([fixed], [act("accept", "known")]) == [fixed]
