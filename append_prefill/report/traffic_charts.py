"""The charts of experiments in other traffic: TTFT over the turns, or over what its points vary."""

from __future__ import annotations

from append_prefill.analysis.summary import geometric_interval
from append_prefill.records.grounds import Method
from append_prefill.records.run import Run
from append_prefill.records.traffic import TrafficPoint
from append_prefill.report.curves import (
    Axis,
    Changes,
    Chart,
    Curve,
    Value,
    along,
    axis_of,
    chart_of,
)
from append_prefill.report.names import candidate_name, reference_name
from append_prefill.report.traffic import point_name, turns_of
from append_prefill.report.traffic_tables import ConditionRow, TrafficRow, cached_words
from append_prefill.workload.points import Point


def traffic_charts(run: Run, rows: list[TrafficRow], baseline: Run | None) -> list[Chart]:
    """One for every experiment of two conditions or more; of a single one the table says all.

    `baseline`: the stored run that was compared with, which has its own intervals.
    """
    charts = [_chart(run, row, baseline) for row in rows if len(row.conditions) > 1]
    return [chart for chart in charts if chart is not None]


def _chart(run: Run, row: TrafficRow, baseline: Run | None) -> Chart | None:
    result, comparison = row.result, row.result.comparison
    axis, fixed = _axis(row)
    curves = [Curve("candidate", candidate_name(run), _ours(row, axis))]
    if comparison is not None:
        theirs = _theirs(row, axis, _stored(row, baseline))
        curves.append(Curve("reference", reference_name(comparison, run), theirs))
    method = None if comparison is None else comparison.method
    return chart_of(
        [curve for curve in curves if curve.values],
        name=f"traffic-{result.experiment}",
        title=result.experiment,  # its row says what that is
        axis=axis,
        fixed=fixed,
        changes=Changes(
            comparison,
            [(_at(axis, row.measured), row.measured.point) for row in row.conditions],
            method.must_catch if isinstance(method, Method) else None,
            lambda point: point_name(result, point),
        ),
    )


def _axis(row: TrafficRow) -> tuple[Axis, str]:
    points = [condition.measured.point for condition in row.conditions]
    axis, fixed = axis_of(points)
    if not turns_of(row.result):
        return axis, fixed
    return "turn", fixed if axis == "context" else ""


def _at(axis: Axis, measured: TrafficPoint) -> float:
    if axis == "turn":
        return float(measured.turn or 0)
    return along(axis, measured.point)


def _ours(row: TrafficRow, axis: Axis) -> list[Value]:
    values = []
    for condition in row.conditions:
        p = condition.measured
        if p.median_ms is None:
            continue
        note = ""
        if p.cached_tokens is not None:
            note = f"; {cached_words(p)} tokens cached"
        values.append(
            Value(
                _at(axis, p),
                p.median_ms,
                p.low_ms,
                p.high_ms,
                where=point_name(row.result, p.point),
                spread=condition.candidate,
                note=note,
            )
        )
    return sorted(values, key=lambda value: value.at)


def _theirs(row: TrafficRow, axis: Axis, stored: dict[Point, TrafficPoint]) -> list[Value]:
    values = []
    for condition in row.conditions:
        p = condition.measured
        if condition.reference_ms is None:
            continue
        low, high = _interval(condition, stored.get(p.point))
        values.append(
            Value(
                _at(axis, p),
                condition.reference_ms,
                low,
                high,
                where=point_name(row.result, p.point),
                spread=condition.reference,
            )
        )
    return sorted(values, key=lambda value: value.at)


def _interval(
    condition: ConditionRow, stored: TrafficPoint | None
) -> tuple[float | None, float | None]:
    """The reference's, over its launches: those of this run, or as the stored run has it."""
    if condition.reference is not None:
        interval = geometric_interval(condition.reference.launches)
        return interval.low, interval.high
    return (None, None) if stored is None else (stored.low_ms, stored.high_ms)


def _stored(row: TrafficRow, baseline: Run | None) -> dict[Point, TrafficPoint]:
    same = [] if baseline is None else baseline.traffic
    own = [result for result in same if result.traffic == row.result.traffic]
    return {point.point: point for result in own for point in result.points}
