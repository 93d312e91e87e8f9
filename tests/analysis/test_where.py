import numpy as np
import pytest

from append_prefill.analysis.where import regions
from append_prefill.records.grounds import Region
from append_prefill.workload.points import Point
from tests.analysis.factory import POINTS

M = np.array([p.append_tokens for p in POINTS], dtype=float)
CONTEXT = np.array([p.context_tokens for p in POINTS], dtype=float)
P = len(POINTS)
AT = POINTS.index(Point(512, 128))


def found(effect, points=POINTS, reference_ms=None) -> list[Region]:
    return regions(
        points,
        np.log1p(effect),
        reference_ms=np.ones(len(points)) if reference_ms is None else reference_ms,
        level_variance=4e-5,
        residual_variance=1.6e-5,
        min_effect=0.015,
    )


def sizes(effect, points=POINTS, reference_ms=None) -> dict[str, float]:
    """Kind of region to the size found, in per cent to one decimal."""
    return {r.kind: round(100 * r.size, 1) for r in found(effect, points, reference_ms)}


@pytest.mark.parametrize(
    ("effect", "expected"),
    [
        (np.full(P, 0.031), {"everywhere": 3.1}),
        (np.full(P, -0.05), {"everywhere": -5.0}),
        (np.expm1(0.08 * M / 1024), {"append": 8.3}),
        (np.expm1(-0.08 * M / 1024), {"append": -7.7}),
        (np.expm1(0.06 * CONTEXT / 2048), {"context": 6.2}),
        (0.05 * np.eye(P)[AT], {"point": 5.0}),
        (np.expm1(0.03 + 0.06 * M / 1024), {"everywhere": 3.0, "append": 9.4}),
        (np.zeros(P), {}),
    ],
)
def test_the_planted_shape_is_found_with_its_size(effect, expected) -> None:
    assert sizes(effect) == expected


def test_a_region_says_where_it_is_whole() -> None:
    [append] = found(np.expm1(0.08 * M / 1024))
    assert (append.append_tokens, append.context_tokens) == (1024, None)
    [context] = found(np.expm1(0.06 * CONTEXT / 2048))
    assert (context.context_tokens, context.from_tokens) == (2048, 1024)
    [point] = found(0.05 * np.eye(P)[AT])
    assert (point.context_tokens, point.append_tokens) == (512, 128)


def test_a_change_at_the_floor_is_called_that() -> None:
    before = np.maximum(20.0, 0.026 * M)
    small = int(M[before <= 22].max())
    assert small < M.max()
    for effect in (0.10, -0.45):
        [region] = found(np.where(before <= 22, effect, 0.0), reference_ms=before)
        assert (region.kind, region.append_tokens) == ("floor", small)
        assert region.size == pytest.approx(effect, abs=1e-3)


def test_sizes_are_of_the_whole_effect_where_a_pattern_is_whole() -> None:
    """A drawn point far out made a fitted slope say +753 % where +3.7 % was measured."""
    points = [*POINTS, Point(58, 3937)]
    m = np.array([p.append_tokens for p in points], dtype=float)
    effect = np.where(m <= 308, -0.43, np.where(m <= 512, -0.14, 0.03))
    said = found(effect, points)
    assert said
    assert all(-0.5 <= region.size <= 0.06 for region in said), said


def test_few_points() -> None:
    assert sizes(np.array([0.05]), [Point(1, 1)]) == {"everywhere": 5.0}
    two = [Point(64, 64), Point(64, 128)]
    assert sizes(np.array([0.05, 0.05]), two) == {"everywhere": 5.0}
