from __future__ import annotations

from pathlib import Path

from append_prefill.records.store import RUN_FILE, write_run
from append_prefill.run.recorder import Recorder
from tests.records import builders


def test_a_run_that_is_resumed_keeps_its_purpose(tmp_path: Path) -> None:
    recorder = Recorder(None, None, tmp_path, builders.CREATED, None, 1)
    nightly = builders.run(suite={"version": "1", "purpose": "nightly"})
    write_run(nightly, tmp_path / RUN_FILE)
    assert recorder._purpose == "nightly"
