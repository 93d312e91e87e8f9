"""One line a run, and the last K of one identity."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from append_prefill.errors import UsageError
from append_prefill.records.definition import UNTOLD
from append_prefill.records.history import (
    append_history,
    last_of_identity,
    load_history,
    load_runs,
    with_protocols,
)
from append_prefill.records.store import write_run
from tests.records import builders


def _night(report_dir: Path, day: int, **changes: object) -> None:
    run = builders.run(created_at=builders.CREATED + timedelta(days=day), **changes)
    folder = report_dir / f"night-{day}"
    write_run(run, folder / "run.json")
    append_history(run, folder)


def test_line_holds_what_a_trend_needs(tmp_path: Path) -> None:
    assert load_history(tmp_path) == []
    _night(tmp_path, 0, base_ms=20.5)
    (entry,) = load_history(tmp_path)
    assert (entry.version, entry.verdict, entry.floor_ms) == ("0.5.23", "pass", 20.5)
    first = entry.points[0]
    assert (first.context_tokens, first.append_tokens, first.median_ms) == (64, 128, 20.5)
    assert entry.path == "night-0"
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 1


def test_order_is_by_time_not_by_line(tmp_path: Path) -> None:
    for day in (2, 0, 1):
        _night(tmp_path, day)
    assert [entry.path for entry in load_history(tmp_path)] == ["night-0", "night-1", "night-2"]


def test_rolling_window_is_of_one_identity(tmp_path: Path) -> None:
    for day in range(4):
        _night(tmp_path, day)
    _night(tmp_path, 4, identity=builders.identity(driver="590.1"))
    _night(tmp_path, 5, verdict="infrastructure")
    entries = load_history(tmp_path)

    def window(count: int, **options: object) -> list[str]:
        found = last_of_identity(entries, builders.identity(), count, **options)
        return [entry.path for entry in found]

    assert window(2) == ["night-2", "night-3"]
    assert window(0) == []
    assert window(2, not_binding=["driver"]) == ["night-3", "night-4"]
    assert window(9, before=builders.CREATED + timedelta(days=2)) == ["night-0", "night-1"]


def test_runs_that_were_pruned_are_left_out(tmp_path: Path) -> None:
    for day in range(3):
        _night(tmp_path, day)
    (tmp_path / "night-1" / "run.json").unlink()
    runs = load_runs(load_history(tmp_path), tmp_path)
    assert [run.created_at.day for run in runs] == [2, 4]


def test_a_line_that_tells_no_protocol_takes_its_records(tmp_path: Path) -> None:
    """One of selected experiments gives nothing away; another of its definition does."""
    partial = [(p.context_tokens, p.append_tokens) for p in builders.POINTS[:1]]
    for day in range(4):
        run = builders.run(created_at=builders.CREATED + timedelta(days=day))
        if day == 1:
            run = run.model_copy(update={"plan": run.plan.model_copy(update={"points": partial})})
            run = run.model_copy(update={"points": run.points[:1]})
        if day < 3:
            run = builders.as_before_protocols(run)
        folder = tmp_path / f"night-{day}"
        write_run(run, folder / "run.json")
        append_history(run, folder)
    path = tmp_path / "history.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines[:3]:
        line["identity"].pop("protocol", None)  # as an older suite wrote it
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    bare = load_history(tmp_path)
    told = with_protocols(bare, tmp_path)
    assert [entry.identity.get("protocol") for entry in told] == [UNTOLD] * 4
    assert last_of_identity(told, builders.identity(), 9) == told
    assert last_of_identity(bare, builders.identity(), 9) == bare[3:]
    for day in range(3):
        (tmp_path / f"night-{day}" / "run.json").unlink()
    assert with_protocols(bare, tmp_path) == bare


def test_broken_line_is_named(tmp_path: Path) -> None:
    _night(tmp_path, 0)
    path = tmp_path / "history.jsonl"
    path.write_text(path.read_text() + json.dumps({"version": "0.5.23"}) + "\n")
    with pytest.raises(UsageError, match=r"history\.jsonl:2: is no history line"):
        load_history(tmp_path)
