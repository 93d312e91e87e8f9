"""What a killed run leaves on disk becomes a record that can be reported, and is not judged."""

from __future__ import annotations

from pathlib import Path

from append_prefill.records.grounds import RunWarning
from append_prefill.records.run import Run
from append_prefill.records.store import write_start
from append_prefill.run.unfinished import with_launches
from append_prefill.workload.loading import load_profile
from tests.records import builders

PROFILE = load_profile("llama-3.1-8b")


def unjudged(**changes: object) -> Run:
    """What a run has written before its first launch."""
    none = {"starts": [], "points": [], "surface": None, "noise": None, "verdict": None}
    return builders.run().model_copy(update={**none, "subject": {"sglang": None}, **changes})


def test_launches_on_disk_join_the_record(tmp_path: Path) -> None:
    launches = builders.run().starts[:3]
    launches[2].measured_s = None
    for launch in launches:
        write_start(launch, tmp_path)
    run = with_launches(unjudged(), tmp_path, PROFILE)
    assert [start.index for start in run.starts] == [0, 1, 2]
    assert (run.verdict, run.comparison, run.findings) == (None, None, [])
    assert run.version == "0.5.23"
    assert {p.starts for p in run.points if p.median_ms is not None} == {2}
    assert run.warnings[-1] == RunWarning(code="not-finished", launches=3, usable_launches=2)


def test_without_a_profile_no_point_is_summarised(tmp_path: Path) -> None:
    write_start(builders.run().starts[0], tmp_path)
    run = with_launches(unjudged(), tmp_path, None)
    assert (len(run.starts), run.points) == (1, [])


def test_launches_in_the_record_alone_are_kept(tmp_path: Path) -> None:
    starts = builders.run().starts
    run = with_launches(unjudged(starts=starts), tmp_path, PROFILE)
    assert run.starts == starts
