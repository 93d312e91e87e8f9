"""The samples and the candidate's times in shapes that other tools read: CSV, pytest-benchmark
JSON, Bencher. None carries a verdict; the run record does.
"""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from typing import Any

from append_prefill.analysis.summary import samples_of, usable
from append_prefill.records.run import Run
from append_prefill.report.tables import PointRow
from append_prefill.workload.points import Point

CSV_COLUMNS = (
    "side",
    "launch",
    "pair",
    "block",
    "context_tokens",
    "append_tokens",
    "ttft_ms",
    "e2e_ms",
    "itl_ms",
    "output_tokens",
    "cached_tokens",
    "counted",
)
"""`launch`, `pair` and `block` count from 0, as in the record."""

_MS_PER_S = 1e3
_NS_PER_MS = 1e6
# The release whose files and `compare` the shape was checked against.
_PYTEST_BENCHMARK = "5.3.1"


def to_csv(run: Run) -> str:
    """One row a measured sample, of both sides, a header first; what is missing is empty.

    `counted` is 1 where the sample is part of the verdict, 0 where its launch failed or was not
    measured to its end. Invalid samples have no times: the record counts them by reason.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(CSV_COLUMNS)
    for start in run.starts:
        for series in start.series:
            columns = zip(
                series.block,
                series.ttft_ms,
                series.e2e_ms,
                series.itl_ms,
                series.output_tokens,
                series.cached_tokens,
                strict=True,
            )
            for block, *values in columns:
                place = (start.side, start.index, start.pair, block)
                point = (series.context_tokens, series.append_tokens)
                table.writerow((*place, *point, *values, int(start.usable)))
    return text.getvalue()


POINT_COLUMNS = (
    *("context_tokens", "append_tokens", "reference_ms", "candidate_ms", "ratio", "low", "high"),
    *("label", "fitted_change_ms", "mde"),
    *("candidate_p50_ms", "candidate_p90_ms", "candidate_p99_ms", "candidate_samples"),
    *("reference_p50_ms", "reference_p90_ms", "reference_p99_ms", "reference_samples"),
    *("candidate_launches_ms", "reference_launches_ms"),
)
"""What the page's own table holds, and a median per launch, several in a cell by spaces."""


def points_csv(rows: Sequence[PointRow]) -> str:
    """The table of points as CSV, a header first; what is missing is empty."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(POINT_COLUMNS)
    for row in rows:
        e, sides = row.effect, (row.candidate_spread, row.reference_spread)
        compared = (e.reference_ms, e.candidate_ms, e.ratio, e.low, e.high) if e else ()
        cells: list[object] = [row.point.context_tokens, row.point.append_tokens]
        cells += compared or (None, row.median_ms, None, None, None)
        cells += [row.word.word if row.word else None, row.fitted_ms, e.mde if e else None]
        for side in sides:
            cells += (side.p50, side.p90, side.p99, side.samples) if side else (None,) * 4
        cells += [" ".join(f"{v:.6g}" for v in side.launches) if side else None for side in sides]
        table.writerow(f"{c:.6g}" if isinstance(c, float) else c for c in cells)
    return text.getvalue()


def to_bencher(run: Run) -> dict[str, Any]:
    """Bencher Metric Format: TTFT per point under Bencher's built-in `latency`, in nanoseconds.

    Points without a median are left out.
    """
    result: dict[str, Any] = {}
    for p in run.points:
        if p.median_ms is None:
            continue
        metric = {"value": p.median_ms * _NS_PER_MS}
        if p.low_ms is not None and p.high_ms is not None:
            metric |= {"lower_value": p.low_ms * _NS_PER_MS, "upper_value": p.high_ms * _NS_PER_MS}
        result[f"ttft/{p.point.label}"] = {"latency": metric}
    return result


def to_pytest_benchmark(run: Run) -> dict[str, Any]:
    """pytest-benchmark's JSON: one benchmark a point, seconds, the candidate's samples pooled.

    Pooling hides that samples of one launch hang together, so intervals must not be made from
    these numbers. Points with fewer than two valid samples are left out: the shape needs a scatter.
    """
    launches = usable(run.starts, "candidate")
    points = sorted({series.point for start in launches for series in start.series})
    pooled = {
        point: [float(v) / _MS_PER_S for start in launches for v in samples_of(start, point)]
        for point in points
    }
    return {
        "machine_info": run.identity,
        "commit_info": {},
        "benchmarks": [
            _benchmark(point, values) for point, values in pooled.items() if len(values) > 1
        ],
        "datetime": run.created_at.isoformat(),
        "version": _PYTEST_BENCHMARK,
    }


def _benchmark(point: Point, data: list[float]) -> dict[str, Any]:
    ordered = sorted(data)
    mean, stddev = statistics.fmean(ordered), statistics.stdev(ordered)
    q1, median, q3 = statistics.quantiles(ordered, n=4, method="inclusive")
    iqr = q3 - q1
    inside = [v for v in ordered if q1 - 1.5 * iqr <= v <= q3 + 1.5 * iqr]
    far = sum(abs(v - mean) > stddev for v in ordered)
    return {
        "group": "append-prefill",
        "name": f"ttft[{point.label}]",
        "fullname": f"append_prefill::ttft[{point.label}]",
        "params": {"context_tokens": point.context_tokens, "append_tokens": point.append_tokens},
        "param": point.label,
        "extra_info": {},
        "options": {},
        "stats": {
            "min": ordered[0],
            "max": ordered[-1],
            "mean": mean,
            "stddev": stddev,
            "rounds": len(ordered),
            "median": median,
            "iqr": iqr,
            "q1": q1,
            "q3": q3,
            "iqr_outliers": len(ordered) - len(inside),
            "stddev_outliers": far,
            "outliers": f"{far};{len(ordered) - len(inside)}",
            "ld15iqr": inside[0],
            "hd15iqr": inside[-1],
            "ops": 1 / mean,
            "total": sum(ordered),
            "iterations": 1,
            "data": data,
        },
    }
