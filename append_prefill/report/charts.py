"""The charts of the experiments' points: which curve each of them shows."""

from __future__ import annotations

from collections.abc import Sequence

from append_prefill.records.run import PointSummary, Run
from append_prefill.report import format as fmt
from append_prefill.report.curves import (
    Axis,
    Changes,
    Chart,
    Curve,
    Role,
    Value,
    along,
    axis_of,
    chart_of,
)
from append_prefill.report.names import baseline_name, candidate_name, reference_name
from append_prefill.report.spreads import Spread, spreads_of
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile


def experiments_of(run: Run, profile: Profile | None) -> list[tuple[str, str, list[Point]]]:
    """(id, title, measured points) of every experiment with two points or more."""
    measured = {p.point for p in run.points}
    if profile is not None:
        named = [(e.id, e.title, list(e.as_points)) for e in profile.experiments]
    else:
        groups: dict[str, list[Point]] = {}
        for summary in run.points:
            for name in summary.experiment:
                groups.setdefault(name, []).append(summary.point)
        named = [(name, name.replace("_", " "), points) for name, points in groups.items()]
    found = [(i, title, [p for p in points if p in measured]) for i, title, points in named]
    return [entry for entry in found if len(entry[2]) > 1]


def charts_of(run: Run, profile: Profile | None, baseline: Run | None) -> list[Chart]:
    """One chart an experiment, in the profile's order."""
    must_catch = profile.policy.must_catch if profile else None
    charts = []
    for name, title, points in experiments_of(run, profile):
        axis, fixed = axis_of(points)
        charts.append(
            chart_of(
                _curves(run, baseline, points, axis),
                name=name,
                title=title,
                axis=axis,
                fixed=fixed,
                changes=Changes(run.comparison, [(along(axis, p), p) for p in points], must_catch),
            )
        )
    return [chart for chart in charts if chart is not None]


def _curves(run: Run, baseline: Run | None, points: Sequence[Point], axis: Axis) -> list[Curve]:
    ours, theirs = spreads_of(run, "candidate"), spreads_of(run, "reference")

    def values(rows: dict[Point, _Row], spreads: dict[Point, Spread]) -> list[Value]:
        found = [
            Value(
                along(axis, point),
                *rows[point],
                where=fmt.place(point.context_tokens, point.append_tokens),
                spread=spreads.get(point),
            )
            for point in points
            if point in rows
        ]
        return sorted(found, key=lambda value: value.at)

    sides: list[tuple[Role, str, list[Value]]] = [
        ("candidate", candidate_name(run), values(_rows(run.points), ours))
    ]
    comparison = run.comparison
    stored = _rows(baseline.points) if baseline else {}
    if comparison is not None:
        referred: dict[Point, _Row] = {
            e.point: (e.reference_ms, None, None)
            for e in comparison.points
            if e.reference_ms is not None
        }
        if comparison.kind == "baseline" and any(point in stored for point in points):
            # The stored run has the same medians and their intervals besides.
            referred, stored = stored, {}
        sides.append(("reference", reference_name(comparison, run), values(referred, theirs)))
    if baseline is not None:
        sides.append(("baseline", baseline_name(baseline), values(stored, {})))
    return [Curve(*side) for side in sides if side[2]]


_Row = tuple[float, float | None, float | None]


def _rows(summaries: Sequence[PointSummary]) -> dict[Point, _Row]:
    """Median with its interval, by point."""
    return {
        row.point: (row.median_ms, row.low_ms, row.high_ms)
        for row in summaries
        if row.median_ms is not None
    }
