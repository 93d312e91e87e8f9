"""Histories: whose runs belong together, which are followed, what the suite achieved."""

from __future__ import annotations

from datetime import timedelta

from append_prefill.analysis.trend.alerts import Alert
from append_prefill.analysis.trend.lineages import achieved_of, lineage_with, lineages_of
from append_prefill.analysis.trend.table import Moment
from append_prefill.records.history.entry import Yardstick
from tests.records.history import entries

DRIVER = {"device": "H100", "driver": "590.1", "protocol": {"version": 1}}
OTHER = {"device": "H100", "driver": "580.2", "protocol": {"version": 1}}


def binding(profile: str) -> tuple[str, ...]:
    return ()


def test_runs_of_one_identity_definition_and_profile_belong_together() -> None:
    runs = [
        entries.entry(0, identity=DRIVER),
        entries.entry(1, identity=OTHER),
        entries.entry(2, identity=dict(DRIVER)),
        entries.entry(3, identity=DRIVER, definition="e" * 64),
        entries.entry(4, identity=DRIVER, profile="mine"),
    ]
    found = lineages_of(runs, binding)
    assert [[run.path for run in one.runs] for one in found] == [
        ["run-4"],
        ["run-3"],
        ["run-0", "run-2"],
        ["run-1"],
    ]
    assert len({one.id for one in found}) == 4
    assert lineage_with(found, "key-2") is found[2]
    assert lineage_with(found, "nothing") is None


def test_a_field_that_does_not_bind_parts_no_histories() -> None:
    runs = [entries.entry(0, identity=DRIVER), entries.entry(1, identity=OTHER)]
    (together,) = lineages_of(runs, lambda _: ("driver",))
    assert len(together.runs) == 2
    (again,) = lineages_of(runs[1:], lambda _: ("driver",))
    assert again.id == together.id


def test_sessions_are_the_whole_runs_and_the_nightly_ones_where_there_are_some() -> None:
    tries = [entries.entry(i, purpose="try") for i in range(2)]
    part = entries.entry(2, purpose="partial", whole=False)
    nightly = entries.entry(3)
    (one,) = lineages_of([*tries, part], binding)
    assert one.sessions == tuple(tries)
    (one,) = lineages_of([*tries, part, nightly], binding)
    assert one.sessions == (nightly,)


def test_what_the_suite_achieved() -> None:
    wide = Yardstick("side-by-side", "chosen", "0.5.17", "pass", 0.04)
    runs = [
        entries.entry(0, minutes=8.0, yardstick=wide),
        entries.entry(1, minutes=None, invalid_blocks=3),
        entries.entry(2, minutes=10.0),
        entries.entry(3, purpose="partial", whole=False, minutes=99.0),
        entries.entry(4, verdict="infrastructure", whole=False),
    ]

    def alert(state: str, sightings: int) -> Alert:
        moment = Moment("key", entries.CREATED + timedelta(days=1), "0.5.24")
        return Alert(
            "a1",
            "level",
            "step",
            0.05,
            "0.5.17",
            moment,
            moment,
            sightings,
            state,  # type: ignore[arg-type]
        )

    (lineage,) = lineages_of(runs, binding)
    found = achieved_of(lineage, [alert("fixed", 9), alert("invalid", 1), alert("new", 1)])
    assert found.runs == {"nightly": 4, "partial": 1}
    assert (found.sessions, found.failed) == (3, 1)
    assert (found.alarms, found.confirmed, found.withdrawn) == (3, 1, 1)
    assert (found.detectable, found.minutes) == (0.02, 9.0)
    assert (found.invalid_blocks, found.blocks) == (5 / 3, 130)


def test_a_history_without_sessions_achieved_nothing_yet() -> None:
    (lineage,) = lineages_of([entries.entry(0, whole=False)], binding)
    found = achieved_of(lineage, [])
    assert (found.sessions, found.detectable, found.minutes, found.blocks) == (0, None, None, None)
