"""A report folder's history: filled, rebuilt, imported, and followed."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from append_prefill.errors import UsageError
from append_prefill.records.history.rows import Act
from append_prefill.records.store import write_run
from append_prefill.run import folders
from append_prefill.run.history import (
    add_run,
    decide,
    excused,
    follow,
    follow_run,
    load,
    policy_of,
    rebuild,
    records_in,
    told_purpose,
)
from append_prefill.workload.loading import load_profile, shipped_profiles
from tests.records import builders
from tests.records.history import entries


def session(report_dir: Path, day: int, **changes: object):
    run = builders.run(created_at=builders.CREATED + timedelta(days=day), **changes)
    folder = report_dir / f"run-{day}"
    write_run(run, folder / "run.json")
    add_run(run, folder)
    return run


def test_an_entry_holds_what_a_trend_needs(tmp_path: Path) -> None:
    assert load(tmp_path) == []
    run = session(tmp_path, 0, base_ms=20.5)
    (entry,) = load(tmp_path)
    assert (entry.version, entry.verdict, entry.path) == ("0.5.23", "pass", "run-0")
    assert (entry.purpose, entry.whole, entry.launches) == ("try", True, 5)
    floor, level = entry.value_of("floor_ms"), entry.value_of("level")
    assert floor is not None
    assert level is not None
    assert (floor.value, floor.low, floor.high) == (20.5, 20.5 * 0.99, 20.5 * 1.01)
    assert 20.5 < level.low < level.value < level.high < 21.5  # the points add up to 1 ms
    assert entry.points == {point.label for point in builders.POINTS}
    assert follow_run(run, tmp_path).lineage.sessions == (entry,)


def test_rebuilt_from_records_it_is_the_same_and_keeps_what_was_decided(tmp_path: Path) -> None:
    for day in range(3):
        session(tmp_path, day)
    decide(tmp_path, Act("a1", "accept", "kim", "known", entries.CREATED))
    kept = load(tmp_path)
    (tmp_path / "latest").symlink_to("run-2")
    assert [path.name for path in records_in(tmp_path)] == ["run-0", "run-1", "run-2"]
    assert rebuild(tmp_path, records_in(tmp_path)) == (3, [])
    assert load(tmp_path) == kept
    elsewhere = tmp_path / "elsewhere"
    assert rebuild(elsewhere, records_in(tmp_path)) == (3, [])
    found = load(elsewhere)
    assert [e.key for e in found] == [e.key for e in kept]
    assert found[0].path == str((tmp_path / "run-0").resolve())


def test_what_is_no_record_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    session(tmp_path, 0)
    (tmp_path / "run-0" / "run.json").rename(tmp_path / "good.json")
    (tmp_path / "bad.json").write_text("{")
    count, refused = rebuild(tmp_path, [tmp_path / "bad.json", tmp_path / "good.json"])
    assert count == 1
    assert [error.option for error in refused] == ["--rebuild"]


def test_hosts_that_measured_at_one_moment_are_two_runs(tmp_path: Path) -> None:
    for host in ("a", "b"):
        run = builders.run(state={"replicated": True, "host": host})
        add_run(run, tmp_path / f"run-{host}")
    assert [entry.host for entry in load(tmp_path)] == ["a", "b"]


def test_an_older_suites_lines_are_read_once_and_left(tmp_path: Path) -> None:
    run = builders.run()
    write_run(run, tmp_path / "there" / "run.json")
    line = {
        "created_at": run.created_at.isoformat(),
        "version": "0.5.23",
        "reference": None,
        "verdict": "pass",
        "floor_ms": 20.0,
        "points": [{"context_tokens": 64, "append_tokens": 128, "median_ms": 20.1}],
        "path": "there",
        "identity": run.identity,
    }
    gone = line | {"path": "gone", "version": "0.5.9", "created_at": "2026-01-01T00:00:00Z"}
    path = tmp_path / "history.jsonl"
    path.write_text(f"{json.dumps(line)}\n{json.dumps(gone)}\n")
    before = path.read_bytes()
    older, newer = load(tmp_path)
    assert (older.path, older.whole, older.points) == ("gone", False, {"L64-m128"})
    assert (newer.path, newer.whole, newer.launches) == ("there", True, 5)
    assert path.read_bytes() == before
    path.write_text("no line at all\n")
    assert len(load(tmp_path)) == 2


def test_a_broken_line_of_theirs_is_named(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text('{"version": "0.5.23"}\n')
    with pytest.raises(UsageError, match=r"history\.jsonl:1: is no history line"):
        load(tmp_path)
    (tmp_path / "history.jsonl").unlink()
    assert load(tmp_path) == []


def test_a_run_of_a_part_is_no_session(tmp_path: Path) -> None:
    session(tmp_path, 0)
    part = session(tmp_path, 1, suite={"version": "1", "purpose": "partial"})
    assert follow_run(part, tmp_path) is None
    (followed,) = follow(tmp_path)
    assert [len(followed.lineage.runs), len(followed.lineage.sessions)] == [2, 1]


def test_another_machine_or_definition_is_another_history(tmp_path: Path) -> None:
    session(tmp_path, 0)
    session(tmp_path, 1, identity=builders.identity(driver="590.1"))
    session(tmp_path, 2, definition="e" * 64)
    session(tmp_path, 3)
    assert [len(one.lineage.runs) for one in follow(tmp_path)] == [2, 1, 1]


def test_where_some_are_nightly_tries_are_not_followed(tmp_path: Path) -> None:
    session(tmp_path, 0)
    nightly = {"version": "1", "purpose": "nightly"}
    run = session(tmp_path, 1, suite=nightly)
    assert len(follow_run(run, tmp_path).lineage.sessions) == 1
    late = session(tmp_path, 2)
    assert follow_run(late, tmp_path) is None


@pytest.mark.parametrize(
    ("environment", "part", "purpose"),
    [
        ({}, False, "try"),
        ({"APPEND_PREFILL_PURPOSE": "nightly"}, False, "nightly"),
        ({"GITHUB_EVENT_NAME": "schedule"}, False, "nightly"),
        ({"CI_PIPELINE_SOURCE": "schedule"}, False, "nightly"),
        ({"GITHUB_EVENT_NAME": "pull_request"}, False, "try"),
        ({"GITHUB_EVENT_NAME": "schedule", "APPEND_PREFILL_PURPOSE": "try"}, False, "try"),
        ({"APPEND_PREFILL_PURPOSE": "nightly"}, True, "partial"),
    ],
)
def test_purpose_is_told_by_the_environment(environment, part, purpose) -> None:
    assert told_purpose(environment, part=part) == purpose


def test_a_purpose_there_is_not_is_refused() -> None:
    with pytest.raises(UsageError, match="APPEND_PREFILL_PURPOSE.*weekly"):
        told_purpose({"APPEND_PREFILL_PURPOSE": "weekly"}, part=False)


def test_shipped_profiles_have_one_policy_of_what_is_followed() -> None:
    """So that a profile which is not at hand may be followed by any of them."""
    followed = {(p.min_effect, p.false_alarm_rate) for p in map(policy_of, shipped_profiles())}
    assert followed == {(policy_of("mine").min_effect, policy_of("mine").false_alarm_rate)}
    assert list(excused("mine")) == []
    assert excused("cpu-nano") == load_profile("cpu-nano").identity_not_binding


def test_what_is_wrong_with_the_history_costs_no_report(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "history.sqlite").write_text("no database, and long enough to be taken for one" * 9)
    run = builders.run()
    kept = folders._keep(run, tmp_path / "run")
    assert kept.followed is None
    assert kept.problem is not None
    assert "history.sqlite" in kept.problem
    monkeypatch.setattr(folders, "add_run", lambda *_: 1 / 0)
    assert "ZeroDivisionError" in (folders._keep(run, tmp_path / "run").problem or "")
