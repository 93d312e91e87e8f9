import re

import numpy as np
import pytest

from append_prefill.analysis.where import describe, percent
from append_prefill.workload.points import Point
from tests.analysis.factory import POINTS

M = np.array([p.append_tokens for p in POINTS], dtype=float)
CONTEXT = np.array([p.context_tokens for p in POINTS], dtype=float)
P = len(POINTS)
AT = POINTS.index(Point(512, 128))


def words(effect, points=POINTS, reference_ms=None) -> str:
    return describe(
        points,
        np.log1p(effect),
        reference_ms=np.ones(len(points)) if reference_ms is None else reference_ms,
        level_variance=4e-5,
        residual_variance=1.6e-5,
        min_effect=0.015,
    )


@pytest.mark.parametrize(
    ("effect", "expected"),
    [
        (np.full(P, 0.031), "everywhere (+3.1 %)"),
        (np.full(P, -0.05), "everywhere (−5.0 %)"),
        (np.expm1(0.08 * M / 1024), "grows with m: +8.3 % at m = 1024"),
        (np.expm1(-0.08 * M / 1024), "shrinks with m: −7.7 % at m = 1024"),
        (np.expm1(0.06 * CONTEXT / 2048), "long contexts (L >= 1024): +6.2 % at L = 2048"),
        (0.05 * np.eye(P)[AT], "only at L512-m128 (+5.0 %)"),
        (
            np.expm1(0.03 + 0.06 * M / 1024),
            "everywhere (+3.0 %) and more at large m (+9.4 % at m = 1024)",
        ),
        (np.zeros(P), "nowhere"),
    ],
)
def test_words(effect, expected) -> None:
    assert words(effect) == expected


def test_a_change_at_the_floor_is_called_that() -> None:
    before = np.maximum(20.0, 0.026 * M)
    small = int(M[before <= 22].max())
    assert small < M.max()
    for effect, size in ((0.10, "+10.0"), (-0.45, "−45.0")):
        said = words(np.where(before <= 22, effect, 0.0), reference_ms=before)
        assert said == f"at the floor ({size} % at m <= {small})"


def test_sizes_are_of_the_whole_effect_where_a_pattern_is_whole() -> None:
    """A drawn point far out made a fitted slope say +753 % where +3.7 % was measured."""
    points = [*POINTS, Point(58, 3937)]
    m = np.array([p.append_tokens for p in points], dtype=float)
    effect = np.where(m <= 308, -0.43, np.where(m <= 512, -0.14, 0.03))
    said = words(effect, points)
    sizes = [float(x.replace("−", "-")) for x in re.findall(r"([+−][\d.]+) %", said)]
    assert all(-50 <= size <= 6 for size in sizes), said


def test_few_points() -> None:
    assert words(np.array([0.05]), [Point(1, 1)]) == "everywhere (+5.0 %)"
    two = [Point(64, 64), Point(64, 128)]
    assert words(np.array([0.05, 0.05]), two) == "everywhere (+5.0 %)"


def test_percent_uses_a_real_minus() -> None:
    assert percent(-0.0312) == "−3.1 %"
