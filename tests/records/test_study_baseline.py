"""The study's tables, as they are in the report, are the first baseline."""

from __future__ import annotations

from pathlib import Path

from append_prefill.records.baselines import baseline_path
from append_prefill.records.selecting import select_baseline
from append_prefill.records.store import read_run, run_text
from append_prefill.workload.loading import load_profile
from append_prefill.workload.points import Point
from tests.records import builders

ROOT = Path(__file__).parents[2] / "baselines"
FILE = ROOT / "nvidia-h100-80gb-hbm3" / "llama-3.1-8b-instruct" / "0.5.5.post3.json"

# (L, m): TTFT in ms, table by table.
TABLES = {
    "cache_rate": {
        (102, 922): 24.0, (204, 820): 21.7, (307, 717): 23.0,
        (512, 512): 20.9, (716, 308): 20.4, (922, 102): 20.9,
    },
    "scale": {(128, 128): 20.7, (256, 256): 20.8, (512, 512): 19.6, (1024, 1024): 23.7},
    "append": {
        (512, 32): 20.9, (512, 64): 19.5, (512, 128): 19.3,
        (512, 256): 19.5, (512, 512): 19.6, (512, 1024): 21.3,
    },
    "context": {
        (64, 128): 19.6, (256, 128): 19.1, (512, 128): 19.2, (1024, 128): 19.6, (2048, 128): 24.7,
    },
}  # fmt: skip


def test_all_21_medians_are_there() -> None:
    run = read_run(FILE)
    found = {
        (experiment, (p.context_tokens, p.append_tokens)): p.median_ms
        for p in run.points
        for experiment in p.experiment
    }
    expected = {
        (experiment, pair): value
        for experiment, rows in TABLES.items()
        for pair, value in rows.items()
    }
    assert found == expected
    assert len(run.points) == len(expected) == 21


def test_it_claims_no_more_than_the_study_has() -> None:
    run = read_run(FILE)
    assert run.provenance == "study"
    assert run.starts == []
    assert all((p.low_ms, p.high_ms, p.samples) == (None, None, 1) for p in run.points)
    assert f"{run.created_at:%Y-%m-%d}" == "2025-11-26"
    assert "cannot reach a verdict" in run.warnings[0]


def test_points_are_the_shipped_profiles() -> None:
    profile = load_profile("llama-3.1-8b")
    studys = {p for name in TABLES for p in profile.experiment(name).as_points}
    assert {p.point for p in read_run(FILE).points} == studys
    for experiment, rows in TABLES.items():
        assert {Point(*pair) for pair in rows} == set(profile.experiment(experiment).as_points)


def test_file_is_as_the_store_writes_it() -> None:
    assert FILE.read_text(encoding="utf-8") == run_text(read_run(FILE))


def test_a_run_on_an_h100_finds_it_and_a_real_baseline_goes_first(tmp_path: Path) -> None:
    run = read_run(FILE)
    device = builders.identity(device="NVIDIA H100 80GB HBM3")
    assert baseline_path(ROOT, device, "0.5.5.post3") == FILE
    profile = load_profile("llama-3.1-8b")
    found = select_baseline(ROOT, "auto", identity=device, version="0.5.23", profile=profile)
    assert found is not None
    assert found.provenance == "study"
    assert found == run
