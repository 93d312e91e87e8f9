"""Which shapes a change may have, and which of them are taken."""

import numpy as np
import pytest

from append_prefill.analysis.design import design_of
from append_prefill.analysis.shapes import (
    AT_FLOOR,
    GAIN,
    PLAINER,
    Shape,
    by_point,
    fit_of,
    select,
    shapes_of,
    single_points,
)
from append_prefill.workload.points import Point
from append_prefill.workload.policy import Plane
from tests.analysis.factory import POINTS

PLANE = Plane(floor_append_tokens=308, argument="As the shipped profile says it.")
M = np.array([float(p.append_tokens) for p in POINTS])
L = np.array([float(p.context_tokens) for p in POINTS])
TIMES = np.maximum(15.0, 0.026 * M) + 0.0004 * L


def named(shapes):
    return {shape.kind: shape for shape in shapes if shape.kind != "point"}


def test_each_shape_has_its_milliseconds_its_points_and_what_it_pays():
    found = named(shapes_of(design_of(POINTS, PLANE), TIMES, (1024, 512)))
    expected = {
        "everywhere": (1 + 0 * M, 0.0, None),
        "proportional": (TIMES, PLAINER, None),
        "floor": (1.0 * (M <= 308), 0.0, 308),
        "compute": (1.0 * (M > 308), PLAINER, 512),
        "append": (M / 1000, 0.0, None),
        "context": (L / 1000, 0.0, None),
        "chunk": (1.0 * (M > 512), PLAINER, 513),
    }
    assert found.keys() == expected.keys()
    for kind, (column, penalty, append_tokens) in expected.items():
        shape = found[kind]
        np.testing.assert_array_equal(shape.column, column)
        about = column > 0 if kind in ("floor", "compute", "chunk") else M > 0
        np.testing.assert_array_equal(shape.where, about)
        assert (shape.penalty, shape.append_tokens) == (penalty, append_tokens)


def test_a_single_point_pays_for_having_been_picked_of_all():
    for at, shape in enumerate(single_points(POINTS)):
        assert shape.penalty == 2 * np.log(len(POINTS))
        assert (shape.context_tokens, shape.append_tokens) == (L[at], M[at])
        assert shape.column.nonzero()[0].tolist() == shape.where.nonzero()[0].tolist() == [at]


@pytest.mark.parametrize(("count", "points"), [(2, 0), (3, 3)])
def test_two_points_are_told_apart_by_no_single_one(count, points):
    kinds = [s.kind for s in shapes_of(design_of(POINTS[:count]), TIMES[:count])]
    assert kinds.count("point") == points


@pytest.mark.parametrize(("at_floor", "there"), [(1, False), (2, True), (3, True), (4, False)])
def test_without_a_plane_the_floor_is_what_is_near_the_least(at_floor, there):
    """Of one point it is that point, of all of them no part of the plane."""
    points = [Point(512, m) for m in (128, 256, 512, 1024)]
    times = np.where(np.arange(4) < at_floor, 15.0 * AT_FLOOR, 20.0)
    times[0] = 15.0
    shape = named(shapes_of(design_of(points), times)).get("floor")
    assert (shape is not None) is there
    if shape is not None:
        assert shape.append_tokens == points[at_floor - 1].append_tokens


@pytest.mark.parametrize("chunks", [(None, 512), (512, None), (16, 16), (4096, 4096), (4096, 8192)])
def test_where_no_chunk_tells_points_apart_there_is_no_such_shape(chunks):
    assert "chunk" not in named(shapes_of(design_of(POINTS), TIMES, chunks))


def shape(*column):
    return Shape("everywhere", np.array(column, dtype=float), np.array(column) != 0)


def test_a_shape_that_later_ones_have_made_needless_is_left_out():
    """The first is like both others together, and fits best alone."""
    both, left, right = shape(1, 1, 0.2, 0.2), shape(1, 0, 0, 0), shape(0, 1, 0, 0)
    fit = select([both, left, right], np.array([10.0, 11.0, 0.0, 0.0]), np.eye(4) * 100)
    of = dict(zip(map(id, fit.shapes), fit.coefficients, strict=True))
    assert of == {id(left): pytest.approx(10.0), id(right): pytest.approx(11.0)}


def test_a_shape_that_later_ones_have_not_made_needless_stays():
    first, second = shape(1, 1, 1, 1), shape(0, 0, 1, 1)
    fit = select([first, second], np.array([10.0, 10.0, 13.0, 13.0]), np.eye(4))
    assert fit.shapes == [first, second]


@pytest.mark.parametrize(("beyond", "taken"), [(1.02, 2), (0.98, 1)])
def test_a_further_shape_betters_the_fit_by_more_than_chance(beyond, taken):
    """A step of 2 d over two of four points takes 4 d² from what is left."""
    step = np.sqrt(GAIN * beyond) / 2
    first, second = shape(1, 1, 1, 1), shape(0, 0, 1, 1)
    delta_ms = 10 + step * np.array([-1.0, -1.0, 1.0, 1.0])
    assert len(select([first, second], delta_ms, np.eye(4)).shapes) == taken


def test_what_was_measured_at_each_point_leaves_nothing_over():
    fit = by_point(POINTS, 0.01 * M, np.diag(M))
    assert fit.chi_squared == 0.0
    np.testing.assert_allclose(fit.fitted, 0.01 * M)


def test_a_fit_weighs_by_precision_and_tells_what_it_leaves():
    fit = fit_of([shape(1, 1)], np.array([1.0, 4.0]), np.diag([2.0, 1.0]))
    assert fit.coefficients == pytest.approx([2.0])
    assert fit.covariance == pytest.approx(np.array([[1 / 3]]))
    assert fit.chi_squared == pytest.approx(2.0 * 1 + 1.0 * 4)


def test_where_all_shapes_are_taken_there_is_none_left_to_try():
    """As of milliseconds everywhere and a factor, which are all that a sure mean may be."""
    both = [shape(1, 1, 1, 1), shape(1, 2, 3, 5)]
    fit = select(both, np.array([13.0, 16.0, 19.0, 25.0]), np.eye(4) * 100)
    assert fit.shapes == both
    assert fit.coefficients == pytest.approx([10.0, 3.0])
