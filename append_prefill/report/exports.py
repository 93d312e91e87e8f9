"""The samples and the candidate's times in shapes that other tools read: CSV, pytest-benchmark
JSON, Bencher. None carries a verdict; the run record does.
"""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import asdict, astuple
from typing import Any

from append_prefill.analysis.summary import usable
from append_prefill.records.comparison import PointEffect
from append_prefill.records.launch import TrafficSeries
from append_prefill.records.run import PointSummary, Run
from append_prefill.records.traffic import TrafficPoint
from append_prefill.report.spreads import Spread
from append_prefill.report.tables import PointRow
from append_prefill.report.traffic_tables import TrafficRow
from append_prefill.report.words import Word
from append_prefill.workload.points import Point
from append_prefill.workload.traffic import DEFAULT, Condition

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
    "context",
    "form",
    "company",
    "state",
    "planned_cached_tokens",
    "boundary_merged_tokens",
)
"""`launch`, `pair` and `block` count from 0, as in the record. The traffic's columns, from
`context` on, stand last, so that those before them stay where they were."""

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
        for series in (*start.series, *start.traffic):
            traffic, planned = DEFAULT, None
            merged: Sequence[int | None] = ()
            if isinstance(series, TrafficSeries):
                traffic, planned = series.traffic, series.planned_cached_tokens
                merged = series.boundary_merged_tokens
            columns = zip(
                series.block,
                series.ttft_ms,
                series.e2e_ms,
                series.itl_ms,
                series.output_tokens,
                series.cached_tokens,
                merged or [None] * len(series.block),
                strict=True,
            )
            for block, *values, merged_tokens in columns:
                place = (start.side, start.index, start.pair, block)
                point = (series.context_tokens, series.append_tokens)
                said = (int(start.usable), *astuple(traffic), planned, merged_tokens)
                table.writerow((*place, *point, *values, *said))
    return text.getvalue()


POINT_COLUMNS = (
    *("context_tokens", "append_tokens", "reference_ms", "candidate_ms", "ratio", "low", "high"),
    *("label", "fitted_change_ms", "mde"),
    *("candidate_p50_ms", "candidate_p90_ms", "candidate_p99_ms", "candidate_samples"),
    *("reference_p50_ms", "reference_p90_ms", "reference_p99_ms", "reference_samples"),
    *("candidate_launches_ms", "reference_launches_ms"),
    *("experiment", "traffic", "turn", "cached_tokens", "planned_cached_tokens"),
)
"""What the page's own tables hold, and a median per launch, several in a cell by spaces. Of a point
the last five are empty: its traffic is the default."""


def points_csv(rows: Sequence[PointRow], traffic: Sequence[TrafficRow] = ()) -> str:
    """The tables of points and of other traffic as CSV, a header first; missing is empty."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(POINT_COLUMNS)
    for row in rows:
        sides = (row.candidate_spread, row.reference_spread)
        said = (row.effect, row.word, row.fitted_ms)
        cells = _cells(row.point, row.median_ms, said, sides)
        table.writerow(_rounded([*cells, *(None,) * 5]))
    for group in traffic:
        for c in group.conditions:
            p = c.measured
            said = (c.effect, c.word, c.fitted_ms)
            cells = _cells(p.point, p.median_ms, said, (c.candidate, c.reference))
            cells += [group.result.experiment, group.result.traffic.label, p.turn]
            table.writerow(_rounded([*cells, p.cached_tokens, p.planned_cached_tokens]))
    return text.getvalue()


def _cells(
    point: Point,
    median_ms: float | None,
    said: tuple[PointEffect | None, Word | None, float | None],
    sides: tuple[Spread | None, Spread | None],
) -> list[object]:
    """What points and conditions of other traffic have alike; `said`: effect, word, fitted ms."""
    e, word, fitted_ms = said
    compared = (e.reference_ms, e.candidate_ms, e.ratio, e.low, e.high) if e else ()
    cells: list[object] = [point.context_tokens, point.append_tokens]
    cells += compared or (None, median_ms, None, None, None)
    cells += [word.word if word else None, fitted_ms, e.mde if e else None]
    for side in sides:
        cells += (side.p50, side.p90, side.p99, side.samples) if side else (None,) * 4
    cells += [" ".join(f"{v:.6g}" for v in side.launches) if side else None for side in sides]
    return cells


def _rounded(cells: Sequence[object]) -> list[object]:
    return [f"{c:.6g}" if isinstance(c, float) else c for c in cells]


def to_bencher(run: Run) -> dict[str, Any]:
    """Bencher Metric Format: TTFT per condition under Bencher's `latency`, in nanoseconds.

    Conditions without a median are left out. That of a point is `ttft/L512-m128`, one of other
    traffic `ttft/L512-m128/replied`.
    """
    result: dict[str, Any] = {}
    named: list[tuple[str, PointSummary | TrafficPoint]] = [(p.point.label, p) for p in run.points]
    named += [(f"{p.point.label}/{t.traffic.label}", p) for t in run.traffic for p in t.points]
    for name, p in named:
        if p.median_ms is None:
            continue
        metric = {"value": p.median_ms * _NS_PER_MS}
        if p.low_ms is not None and p.high_ms is not None:
            metric |= {"lower_value": p.low_ms * _NS_PER_MS, "upper_value": p.high_ms * _NS_PER_MS}
        result[f"ttft/{name}"] = {"latency": metric}
    return result


def to_pytest_benchmark(run: Run) -> dict[str, Any]:
    """pytest-benchmark's JSON: one benchmark a condition, seconds, the candidate's samples pooled.

    Pooling hides that samples of one launch hang together, so intervals must not be made from
    these numbers. Conditions with fewer than two valid samples are left out: the shape needs a
    scatter.
    """
    pooled: dict[Condition, list[float]] = {}
    for start in usable(run.starts, "candidate"):
        own = [(Condition(DEFAULT, series.point), series) for series in start.series]
        for condition, series in (*own, *((s.condition, s) for s in start.traffic)):
            pooled.setdefault(condition, []).extend(v / _MS_PER_S for v in series.ttft_ms)
    return {
        "machine_info": run.identity,
        "commit_info": {},
        "benchmarks": [
            _benchmark(condition, values)
            for condition, values in sorted(pooled.items(), key=_default_first)
            if len(values) > 1
        ],
        "datetime": run.created_at.isoformat(),
        "version": _PYTEST_BENCHMARK,
    }


def _default_first(pooled: tuple[Condition, list[float]]) -> tuple[bool, Condition]:
    condition, _ = pooled
    return not condition.traffic.is_default, condition


def _benchmark(condition: Condition, data: list[float]) -> dict[str, Any]:
    ordered = sorted(data)
    mean, stddev = statistics.fmean(ordered), statistics.stdev(ordered)
    q1, median, q3 = statistics.quantiles(ordered, n=4, method="inclusive")
    iqr = q3 - q1
    inside = [v for v in ordered if q1 - 1.5 * iqr <= v <= q3 + 1.5 * iqr]
    point, traffic = condition.point, asdict(condition.traffic)
    far = sum(abs(v - mean) > stddev for v in ordered)
    return {
        "group": "append-prefill",
        "name": f"ttft[{condition.label}]",
        "fullname": f"append_prefill::ttft[{condition.label}]",
        "params": {
            "context_tokens": point.context_tokens,
            "append_tokens": point.append_tokens,
            **({} if condition.traffic.is_default else traffic),
        },
        "param": condition.label,
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
