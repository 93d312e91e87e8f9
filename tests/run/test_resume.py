"""What a folder of a run that was cut off says, and what is refused before anything is measured."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from filelock import FileLock

import append_prefill
from append_prefill.errors import UsageError
from append_prefill.records.grounds import RunWarning
from append_prefill.records.store import RUN_FILE, write_run, write_start
from append_prefill.run.queue import WORK, PairQueue, QueueState, Resumption, read_state
from append_prefill.run.resume import begun, hold, read_cut
from tests.records import builders

SUITE = {"version": append_prefill.__version__, "options": "--sglang 0.5.23 --seed 1"}


def left(folder: Path, state: QueueState, **changes: object) -> Path:
    """A run's folder as it was left."""
    made = builders.run(suite=SUITE, verdict=None)
    write_run(made.model_copy(update=changes), folder / RUN_FILE)
    (folder / WORK).mkdir()
    (folder / WORK / "queue.json").write_text(state.model_dump_json())
    return folder


def test_it_tells_how_many_pairs_are_whole_and_how_long_it_lay(tmp_path: Path) -> None:
    left(tmp_path, QueueState(planned=5, done=[0, 1], failed="KeyboardInterrupt: "))
    write_start(builders.start(0), tmp_path)
    for path in tmp_path.rglob("*.json"):
        os.utime(path, (0, datetime.now(UTC).timestamp() - 600))
    resumed = read_cut(tmp_path)
    assert resumed.folder == tmp_path
    assert resumed.resumption.pairs == 2
    assert 600 <= resumed.resumption.paused_s < 660
    assert read_cut(tmp_path / RUN_FILE).folder == tmp_path
    assert not begun(resumed)


def test_going_on_forgets_what_ended_it_and_keeps_what_was_done(tmp_path: Path) -> None:
    state = QueueState(
        planned=5, done=[0, 1], failed="KeyboardInterrupt: ", interrupted=True, judging_failed=True
    )
    resumed = read_cut(left(tmp_path, state))
    queue = PairQueue(tmp_path / WORK, 5, lambda state: state)
    assert queue.resume(resumed.resumption)
    # Another worker of the same resumption finds it done.
    assert not queue.resume(resumed.resumption)
    now = queue.state()
    assert (now.failed, now.interrupted, now.judging_failed) == (None, False, False)
    assert (now.done, now.planned) == ([0, 1], 5)
    assert now.resumed == [resumed.resumption]
    assert begun(resumed)


CLOSED = QueueState(planned=2, done=[0, 1], closed="settled")
JUDGING = RunWarning(code="judging-failed", text="Judging failed: of nothing.")


@pytest.mark.parametrize(
    ("state", "changes", "problem"),
    [
        (CLOSED, {"verdict": "pass"}, "is finished: pass."),
        (CLOSED, {"verdict": "infrastructure"}, "is finished: infrastructure."),
        (QueueState(planned=2), {"suite": {"version": "0.0.1"}}, "was begun by append-prefill 0"),
        (QueueState(planned=2), {"suite": {}}, "was begun by append-prefill None"),
    ],
    ids=["judged", "worthless", "older", "untold"],
)
def test_what_cannot_be_gone_on_with_is_said(tmp_path, state, changes, problem) -> None:
    with pytest.raises(UsageError, match=problem):
        read_cut(left(tmp_path, state, **changes))


@pytest.mark.parametrize(
    ("state", "changes"),
    [
        (CLOSED, {"verdict": None}),
        (CLOSED, {"verdict": "infrastructure", "warnings": [JUDGING]}),
        (QueueState(planned=2, done=[0], failed="it died"), {"verdict": "infrastructure"}),
    ],
    ids=["killed while judging", "judging failed", "server died"],
)
def test_what_is_measured_and_not_judged_can_be_gone_on_with(tmp_path, state, changes) -> None:
    assert read_cut(left(tmp_path, state, **changes)).resumption.pairs == len(state.done)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({}, "no such file"),
        ({"progress.log": ""}, "was cut off before it measured anything"),
        ({RUN_FILE: "{"}, "is not JSON"),
        ({RUN_FILE: None}, "is a record without the run's queue"),
        ({RUN_FILE: None, "work/queue.json": "[]"}, "does not validate"),
        ({RUN_FILE: None, "work/queue.json": '{"planned": "<b>"}'}, "planned"),
        ({RUN_FILE: None, "work/queue.json": '{"planned": 2}', "starts/x.json": "{"}, "not JSON"),
    ],
    ids=["empty", "nothing yet", "cut", "copied", "list", "word", "launch"],
)
def test_a_folder_that_holds_something_else_is_named(tmp_path, files, problem) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if text is None:
            write_run(builders.run(suite=SUITE, verdict=None), path)
        else:
            path.write_text(text)
    with pytest.raises(UsageError, match=problem):
        read_cut(tmp_path)


@pytest.mark.parametrize("name", ["run.lock", "pair-3.lock"])
def test_a_run_that_still_goes_on_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / WORK).mkdir()
    with (
        FileLock(tmp_path / WORK / name, thread_local=False, is_singleton=True),
        pytest.raises(UsageError, match="is still being measured"),
    ):
        hold(tmp_path)
    hold(tmp_path).release()


def test_without_a_queue_there_is_no_state(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None


def test_a_resumption_survives_its_file() -> None:
    one = Resumption(at=datetime.now(UTC), pairs=3, paused_s=0.1 + 0.2)
    assert Resumption.model_validate_json(one.model_dump_json()) == one
