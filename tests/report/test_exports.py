from __future__ import annotations

import statistics

import pytest

from append_prefill.report.exports import to_bencher, to_pytest_benchmark
from append_prefill.workload.points import Point
from tests.report import samples


def test_bencher_has_a_latency_in_ns_with_its_interval() -> None:
    run = samples.passing()
    made = to_bencher(run)
    assert len(made) == len(run.points)
    first = run.points[0]
    latency = made[f"ttft/{first.point.label}"]["latency"]
    assert first.median_ms is not None
    assert latency["value"] == pytest.approx(first.median_ms * 1e6)
    assert latency["lower_value"] < latency["value"] < latency["upper_value"]


def test_a_missing_interval_is_left_out_not_zero() -> None:
    made = to_bencher(samples.study_run())
    assert all(set(entry["latency"]) == {"value"} for entry in made.values())


def test_pytest_benchmark_pools_the_candidate_alone_in_seconds() -> None:
    run = samples.passing()
    made = to_pytest_benchmark(run)
    point = Point(512, 1024)
    entry = next(b for b in made["benchmarks"] if b["param"] == point.label)
    values = [
        v / 1e3
        for s in run.starts
        if s.side == "candidate"
        for x in s.series
        if x.point == point
        for v in x.ttft_ms
    ]
    stats = entry["stats"]
    assert stats["rounds"] == len(values) == 50
    assert stats["median"] == pytest.approx(statistics.median(values))
    assert stats["min"] <= stats["q1"] <= stats["median"] <= stats["q3"] <= stats["max"]
    assert stats["data"] == values


def test_a_summary_without_samples_exports_no_benchmark() -> None:
    assert to_pytest_benchmark(samples.study_run())["benchmarks"] == []
