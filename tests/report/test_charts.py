from __future__ import annotations

import itertools

import pytest

from append_prefill.report import charts, curves, panel, plane, tables
from append_prefill.report.scales import (
    Scale,
    Tick,
    round_values,
    round_values_log,
    thinned,
)
from append_prefill.workload.points import Point
from tests.report import parts, samples


def test_charts_come_in_the_profiles_order() -> None:
    made = charts.charts_of(samples.regression(), parts.profile(), None)
    assert [c.id for c in made] == [e.id for e in parts.profile().experiments]
    assert [c.fixed for c in made] == [
        "N = 1024 fixed", "r = 0.50 fixed", "L = 512 fixed", "m = 128 fixed",
    ]  # fmt: skip
    assert "log" in made[2].x_label
    assert all(c.panel is not None for c in made)


def test_without_a_profile_the_records_own_experiments_are_charted() -> None:
    made = charts.charts_of(samples.regression(), None, None)
    assert {c.id for c in made} == {"append", "context", "cache_rate", "scale"}
    assert all(c.panel and c.panel.catch_y is None for c in made)


def test_a_stored_baseline_lends_its_intervals_to_the_reference() -> None:
    bare = charts.charts_of(samples.suspected(), parts.profile(), None)[0]
    full = charts.charts_of(samples.suspected(), parts.profile(), samples.baseline_run())[0]
    assert all(m.low_y is None for m in bare.lines[1].marks)
    assert all(m.low_y is not None for m in full.lines[1].marks)
    assert [line.role for line in full.lines] == ["candidate", "reference"]


def test_a_baseline_beside_a_live_reference_is_a_third_line() -> None:
    made = charts.charts_of(samples.passing(), parts.profile(), samples.baseline_run())[0]
    assert [line.role for line in made.lines] == ["candidate", "reference", "baseline"]
    # One dot a launch and point, on both sides; a stored run's launches are not of this run.
    assert [len(line.dots) for line in made.lines] == [5 * 6, 5 * 6, 0]


def test_a_slower_candidate_is_drawn_above_the_reference_and_above_zero() -> None:
    made = charts.charts_of(samples.regression(), parts.profile(), None)[2]
    candidate, reference = made.lines
    assert candidate.marks[-1].y < reference.marks[-1].y
    assert made.panel is not None
    assert made.panel.marks[-1].y < made.panel.zero_y
    assert made.panel.marks[-1].shape == "up"


def test_wide_spreads_get_a_logarithmic_axis() -> None:
    run = samples.passing()
    points = [
        p.model_copy(update={"median_ms": 900.0, "low_ms": None, "high_ms": None})
        if p.append_tokens == 1024
        else p
        for p in run.points
    ]
    made = charts.charts_of(run.model_copy(update={"points": points}), parts.profile(), None)
    assert made[2].y_label == "TTFT, ms (log)"
    assert made[3].y_label == "TTFT, ms"


def test_the_fitted_change_is_drawn_where_it_was_fitted() -> None:
    run = samples.everywhere()
    assert run.comparison is not None
    assert run.comparison.change is not None
    model = {at.point: at.ratio for at in run.comparison.change.points}
    made = charts.charts_of(run, parts.profile(), None)[2]
    assert made.panel is not None
    assert len(made.panel.fitted) == len(made.panel.marks) == 6
    appended = sorted(p for p in model if p.context_tokens == 512)
    heights = dict(zip(appended, (y for _, y in made.panel.fitted), strict=True))
    assert sorted(appended, key=lambda p: heights[p]) == sorted(appended, key=lambda p: -model[p])
    bare = charts.charts_of(samples.regression(), parts.profile(), None)[2]
    assert bare.panel is not None
    assert bare.panel.fitted == []


def test_records_without_points_have_neither_charts_nor_plane() -> None:
    run = samples.infrastructure()
    assert charts.charts_of(run, parts.profile(), None) == []
    assert plane.plane_of(run) is None


@pytest.mark.parametrize("frame", [plane.WIDE, plane.NARROW], ids=lambda frame: frame.name)
@pytest.mark.parametrize("name", ["regression", "many-points", "study"])
def test_plane_labels_touch_neither_each_other_nor_the_edge(name: str, frame: plane.Frame) -> None:
    made = plane.plane_of(samples.SAMPLES[name]()[0], frame)
    assert made is not None
    boxes = []
    for cell in made.cells:
        if cell.label_x is None or cell.label_y is None:
            continue
        width = len(cell.label) * 7.5
        left = cell.label_x - {"start": 0.0, "end": width, "middle": width / 2}[cell.anchor]
        boxes.append((left, cell.label_y - 11, left + width, cell.label_y + 1))
    assert len(boxes) >= {"wide": 0.9, "narrow": 0.6}[frame.name] * len(made.cells)
    for a, b in itertools.combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    assert min(b[0] for b in boxes) > frame.left
    assert max(b[2] for b in boxes) < frame.right


def test_every_flagged_point_keeps_its_label_in_the_crowd() -> None:
    made = plane.plane_of(samples.many_points())
    assert made is not None
    flagged = [c for c in made.cells if c.shape == "up"]
    assert flagged
    assert all(c.label_x is not None for c in flagged)


def test_point_rows_put_the_worst_first_and_tally_both_sides() -> None:
    rows, forest = tables.point_rows(samples.regression(), None, 0.03)
    assert forest is not None
    assert rows[0].effect is not None
    assert rows[0].effect.verdict == "regression"
    assert rows[0].reference == tables.Tally(5, 50, 0)
    assert all(row.forest is not None for row in rows)


def test_a_record_of_points_alone_keeps_its_own_counts() -> None:
    rows, forest = tables.point_rows(samples.study_run(), None, None)
    assert forest is None
    assert {row.candidate for row in rows} == {tables.Tally(1, 1, 0)}


@pytest.mark.parametrize(
    ("points", "axis"),
    [
        ([Point(512, 32), Point(512, 64)], "append"),
        ([Point(64, 128), Point(256, 128)], "context"),
        ([Point(100, 924), Point(512, 512)], "rate"),
        ([Point(128, 128), Point(256, 256)], "total"),
        ([Point(128, 128), Point(1024, 16)], "total"),
        ([Point(128, 128)], "total"),
    ],
)
def test_axis_is_what_varies(points: list[Point], axis: str) -> None:
    assert curves.axis_of(points)[0] == axis


def test_scale_maps_ends_and_refuses_nonsense() -> None:
    assert Scale(1, 100, 0, 10, logarithmic=True)(10) == 5
    assert Scale(0, 10, 0, 100)(12) == 100
    with pytest.raises(ValueError, match="low < high"):
        Scale(1, 1, 0, 1)
    with pytest.raises(ValueError, match="cannot reach"):
        Scale(0, 1, 0, 1, logarithmic=True)


def test_ticks() -> None:
    assert round_values(0, 23, 4) == [0, 10, 20]
    assert round_values(-0.02, 0.045, 4) == [-0.02, 0.0, 0.02, 0.04]
    assert round_values_log(4, 60) == [5, 10, 20, 50]
    assert [t.at for t in thinned([Tick(x, "") for x in (0, 5, 40, 80, 100)], 30)] == [0, 40, 100]


@pytest.mark.parametrize("shape", ["disc", "up", "down", "diamond", "square", "cross"])
def test_marker_paths_start_with_a_move(shape: str) -> None:
    assert panel.marker_path(shape, 1, 2, 3).startswith("M")
