"""Other tools' formats, held against what those tools document or read."""

from __future__ import annotations

import csv
import io
import math
import statistics
from typing import Any

import pytest

from append_prefill.records.run import Run
from append_prefill.report.exports import CSV_COLUMNS, to_bencher, to_csv, to_pytest_benchmark
from append_prefill.workload.points import Point
from tests.report import samples

POINT = Point(512, 1024)

# Of a file that pytest-benchmark 5.3.1 saved; its `compare` reads what is here and no more.
BENCHMARK_FILE = {"machine_info", "commit_info", "benchmarks", "datetime", "version"}
BENCHMARK = {
    "group", "name", "fullname", "params", "param", "extra_info", "options", "stats",
}  # fmt: skip
BENCHMARK_STATS = {
    "min", "max", "mean", "stddev", "rounds", "median", "iqr", "q1", "q3", "iqr_outliers",
    "stddev_outliers", "outliers", "ld15iqr", "hd15iqr", "ops", "total", "iterations",
}  # fmt: skip


def test_bencher_has_a_latency_in_ns_with_its_interval() -> None:
    run = samples.passing()
    made = to_bencher(run)
    assert len(made) == len(run.points)
    first = run.points[0]
    latency = made[f"ttft/{first.point.label}"]["latency"]
    assert first.median_ms is not None
    assert latency["value"] == pytest.approx(first.median_ms * 1e6)
    assert latency["lower_value"] < latency["value"] < latency["upper_value"]


@pytest.mark.parametrize("run", [samples.passing(), samples.study_run()])
def test_bencher_is_what_its_schema_says(run: Run) -> None:
    """https://bencher.dev/bmf.json: benchmark -> measure -> value, lower_value, upper_value."""
    made = to_bencher(run)
    assert made
    for name, measures in made.items():
        assert 0 < len(name) <= 1024  # longest name it takes
        for measure, metric in measures.items():
            assert 0 < len(measure) <= 64
            assert "value" in metric
            assert set(metric) <= {"value", "lower_value", "upper_value"}
            assert all(isinstance(v, float) and math.isfinite(v) for v in metric.values())


def test_a_missing_interval_is_left_out_not_zero() -> None:
    made = to_bencher(samples.study_run())
    assert all(set(entry["latency"]) == {"value"} for entry in made.values())


def benchmark_of(run: Run) -> dict[str, Any]:
    made = to_pytest_benchmark(run)
    return next(b for b in made["benchmarks"] if b["param"] == POINT.label)


def test_pytest_benchmark_has_the_keys_of_its_files() -> None:
    made = to_pytest_benchmark(samples.passing())
    assert set(made) == BENCHMARK_FILE
    for entry in made["benchmarks"]:
        assert set(entry) == BENCHMARK
        assert set(entry["stats"]) == BENCHMARK_STATS | {"data"}  # as with --benchmark-save-data
    names = [entry["fullname"] for entry in made["benchmarks"]]
    assert len(set(names)) == len(names)


def test_pytest_benchmark_pools_the_candidate_alone_in_seconds() -> None:
    run = samples.passing()
    values = [
        v / 1e3
        for s in run.starts
        if s.side == "candidate"
        for x in s.series
        if x.point == POINT
        for v in x.ttft_ms
    ]
    stats = benchmark_of(run)["stats"]
    assert stats["rounds"] == len(values) == 50
    assert stats["median"] == pytest.approx(statistics.median(values))
    assert stats["min"] <= stats["q1"] <= stats["median"] <= stats["q3"] <= stats["max"]
    assert stats["data"] == values


def with_an_unfinished_launch() -> Run:
    run = samples.passing()
    assert run.starts[0].side == "candidate"
    run.starts[0].measured_s = None
    return run


def test_pytest_benchmark_leaves_out_what_no_verdict_counts() -> None:
    assert benchmark_of(with_an_unfinished_launch())["stats"]["rounds"] == 50 - 10


def test_a_summary_without_samples_exports_no_benchmark_and_no_row() -> None:
    assert to_pytest_benchmark(samples.study_run())["benchmarks"] == []
    assert to_csv(samples.study_run()) == ",".join(CSV_COLUMNS) + "\n"


def rows_of(run: Run) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(run))))


def test_csv_has_a_row_a_sample_of_both_sides() -> None:
    run = samples.passing()
    run.starts[0].series[0].itl_ms[1] = 2.5
    rows = rows_of(run)
    assert len(rows) == sum(len(x.ttft_ms) for s in run.starts for x in s.series)
    assert {row["side"] for row in rows} == {"candidate", "reference"}
    series = run.starts[0].series[0]
    assert rows[1] == {
        "side": "candidate",
        "launch": "0",
        "pair": "0",
        "block": "1",
        "context_tokens": str(series.context_tokens),
        "append_tokens": str(series.append_tokens),
        "ttft_ms": str(series.ttft_ms[1]),
        "e2e_ms": str(series.e2e_ms[1]),
        "itl_ms": "2.5",
        "output_tokens": "2",
        "cached_tokens": str(series.context_tokens),
        "counted": "1",
        "context": "primed",
        "form": "ids",
        "company": "alone",
        "state": "fresh",
        "planned_cached_tokens": "",
        "boundary_merged_tokens": "",
    }
    assert rows[0]["itl_ms"] == ""


def test_csv_says_which_samples_count() -> None:
    run = with_an_unfinished_launch()
    left_out = [row for row in rows_of(run) if row["counted"] == "0"]
    assert len(left_out) == len(run.starts[0].series) * 10
    assert {(row["side"], row["launch"]) for row in left_out} == {("candidate", "0")}
