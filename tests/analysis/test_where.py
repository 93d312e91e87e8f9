import numpy as np
import pytest

from append_prefill.analysis.where import patterns_of, regions
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


FEW = [Point(64, 32), Point(64, 512), Point(256, 32), Point(2048, 64), Point(1024, 32)]
TIMES_MS = np.array([10.0, 30.0, 11.0, 20.0, 12.0])


def described(patterns) -> list[tuple]:
    return [
        (p.kind, p.column.tolist(), p.penalty, p.context_tokens, p.append_tokens, p.from_tokens)
        for p in patterns
    ]


def test_patterns_are_the_shapes_that_the_points_can_tell_apart() -> None:
    penalty = pytest.approx(2 * np.log(5))
    singles = [
        ("point", np.eye(5)[n].tolist(), penalty, p.context_tokens, p.append_tokens, None)
        for n, p in enumerate(FEW)
    ]
    assert described(patterns_of(FEW, TIMES_MS)) == [
        ("everywhere", [1.0] * 5, 0.0, None, None, None),
        ("floor", [1.0, 0.0, 1.0, 0.0, 0.0], 0.0, None, 32, None),  # 11 is within 10 % of 10
        ("append", [1 / 16, 1.0, 1 / 16, 1 / 8, 1 / 16], 0.0, None, 512, None),
        ("context", [1 / 32, 1 / 32, 1 / 8, 1.0, 1 / 2], 0.0, 2048, None, 1024),
        *singles,
    ]


@pytest.mark.parametrize(
    ("points", "times", "kinds"),
    [
        (FEW[:1], [10.0], ["everywhere"]),
        # One point at the floor is that point, all of them are everywhere.
        (FEW[:2], [10.0, 30.0], ["everywhere", "append"]),
        (FEW[:2], [10.0, 10.5], ["everywhere", "append"]),
        (FEW[:3:2], [10.0, 30.0], ["everywhere", "context"]),
        (FEW[:3], [10.0, 30.0, 30.0], ["everywhere", "append", "context", *["point"] * 3]),
        (FEW[:3], [10.0, 30.0, 10.5], ["everywhere", "floor", "append", "context",
                                       *["point"] * 3]),
        (FEW[:3], [10.0, 10.2, 10.5], ["everywhere", "append", "context", *["point"] * 3]),
    ],
)  # fmt: skip
def test_which_patterns_there_are(points, times, kinds) -> None:
    assert [p.kind for p in patterns_of(points, np.array(times))] == kinds


def described_by_hand(delta, *, level_variance, residual_variance, min_effect=0.015):
    """The same choice by generalised least squares with the covariance as it stands."""
    count = len(FEW)
    common = max(level_variance - residual_variance / count, 0.0)
    inverse = np.linalg.inv(common * np.ones((count, count)) + residual_variance * np.eye(count))

    def fit(chosen):
        matrix = np.stack([p.column for p in chosen], axis=1)
        solution = np.linalg.pinv(matrix.T @ inverse @ matrix) @ matrix.T @ inverse @ delta
        rest = delta - matrix @ solution
        return solution, rest @ inverse @ rest

    every, chosen, left = patterns_of(FEW, TIMES_MS), [], np.inf
    while len(chosen) < 3:
        rest = [p for p in every if p not in chosen]
        scores = [fit([*chosen, p])[1] + p.penalty for p in rest]
        best = int(np.argmin(scores))
        if left - scores[best] < 6.63:
            break
        chosen.append(rest[best])
        left = fit(chosen)[1]
    solution, _ = fit(chosen)
    return [
        (p.kind, p.context_tokens, p.append_tokens, pytest.approx(np.expm1(own), abs=1e-9))
        for p, own in zip(chosen, solution, strict=True)
        if abs(np.expm1(own)) >= min_effect
    ]


@pytest.mark.parametrize(
    ("level", "cell"), [(4e-5, 1.6e-5), (1e-6, 1.6e-5), (4e-4, 4e-4), (1e-2, 1e-5)]
)
def test_the_shortest_description_is_least_squares_choice(level, cell) -> None:
    """Sixty tables of log ratios: one or two patterns on noise of the stated size."""
    rng = np.random.default_rng(11)
    every = patterns_of(FEW, TIMES_MS)
    told = set()
    for _ in range(60):
        delta = np.sqrt(level) * rng.normal() + np.sqrt(cell) * rng.normal(size=len(FEW))
        for _ in range(rng.integers(0, 3)):
            delta = delta + 0.03 * rng.normal() * every[rng.integers(len(every))].column
        variances = {"level_variance": level, "residual_variance": cell}
        said = regions(FEW, delta, reference_ms=TIMES_MS, min_effect=0.015, **variances)
        expected = described_by_hand(delta, **variances)
        assert [(r.kind, r.context_tokens, r.append_tokens, r.own) for r in said] == expected
        told.add(len(said))
    assert len(told) > 1


def test_a_part_of_the_least_effect_is_named() -> None:
    one = [Point(64, 32)]
    options = {"reference_ms": np.ones(1), "level_variance": 1e-4, "residual_variance": 1e-4}
    (region,) = regions(one, np.log([1.25]), min_effect=0.0, **options)
    for least, named in ((region.own, 1), (np.nextafter(region.own, 1), 0)):
        assert len(regions(one, np.log([1.25]), min_effect=least, **options)) == named
