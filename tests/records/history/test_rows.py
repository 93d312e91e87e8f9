"""Entries and acts survive the file, value by value."""

from dataclasses import replace
from datetime import timedelta

from append_prefill.records.confirmation import Confirmation
from append_prefill.records.history import rows, schema
from append_prefill.records.history.entry import Value
from append_prefill.records.history.rows import Act
from tests.records.history import entries


def test_an_entry_comes_back_as_it_was(tmp_path):
    whole = entries.entry(
        3,
        [
            entries.ratio("level", 0.03, slower=True),
            Value("own", "floor_ms", None),
            Value("own", "point:L512-m32", 16.25, 15.5, None, None),
        ],
        host=None,
        minutes=None,
        yardstick=None,
        verdict=None,
        confirmations=(
            Confirmation(
                run="again", folder="later", at=entries.CREATED, answers={"points": "withdrawn"}
            ),
        ),
    )
    with schema.opened(tmp_path) as connection:
        rows.put(connection, whole)
    with schema.opened(tmp_path) as connection:
        (found,) = rows.entries(connection)
    assert replace(found, values=()) == replace(whole, values=())
    assert set(found.values) == set(whole.values)
    assert found.points == {"L512-m32"}


def test_a_run_that_is_judged_again_replaces_itself(tmp_path):
    with schema.opened(tmp_path) as connection:
        rows.put(connection, entries.entry(0))
        rows.put(connection, entries.entry(0, [entries.ratio("level", 0.1)], verdict="regression"))
        (found,) = rows.entries(connection)
    assert found.verdict == "regression"
    assert [value.quantity for value in found.values] == ["level"]


def test_order_is_by_time_and_not_by_writing(tmp_path):
    with schema.opened(tmp_path) as connection:
        for session in (2, 0, 1):
            rows.put(connection, entries.entry(session))
        assert [e.path for e in rows.entries(connection)] == ["run-0", "run-1", "run-2"]


def test_acts_come_back_in_their_order(tmp_path):
    made = [
        Act("a1", "accept", "kim", "the trade-off of #123", entries.CREATED + timedelta(hours=1)),
        Act("a1", "reopen", "lee", "it grew", entries.CREATED),
    ]
    with schema.opened(tmp_path) as connection:
        for act in made:
            rows.add_act(connection, act)
    with schema.opened(tmp_path) as connection:
        assert list(rows.acts(connection)) == made
