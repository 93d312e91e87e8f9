"""The candidate's figures in two shapes other tools read: pytest-benchmark JSON, Bencher.

Neither carries a verdict; the run record does.
"""

from __future__ import annotations

import statistics
from typing import Any

from append_prefill.records.run import Run
from append_prefill.workload.points import Point

_MS_PER_S = 1e3
_NS_PER_MS = 1e6


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
    """pytest-benchmark's JSON: one benchmark a point, seconds, all candidate samples pooled.

    Pooling hides that samples of one start hang together, so intervals must not be made from
    these figures. Points with fewer than two samples are left out: the shape needs a spread.
    """
    pooled: dict[Point, list[float]] = {}
    for start in run.starts:
        if start.side == "candidate":
            for series in start.series:
                values = [v / _MS_PER_S for v in series.ttft_ms]
                pooled.setdefault(series.point, []).extend(values)
    return {
        "machine_info": run.identity,
        "commit_info": {},
        "benchmarks": [
            _benchmark(point, values) for point, values in sorted(pooled.items()) if len(values) > 1
        ],
        "datetime": run.created_at.isoformat(),
        "version": "5.1.0",
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
