"""What a design makes one expect: on a surface, off its form, with cliffs in it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from append_prefill.analysis.cliffs.expected import (
    LOG_BOUND,
    Box,
    _most_alike,
    design_points,
    expected_of,
)
from append_prefill.analysis.steps import Sizes
from append_prefill.analysis.surface_form import PLAIN
from append_prefill.workload.loading import load_profile
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Limits

LIMITS = load_profile("cpu-nano").limits
DESIGN = design_points(LIMITS)
BETWEEN = [Point(37, 11), Point(300, 300), Point(1200, 900)]


def surface_ms(point: Point) -> float:
    return 8 + 0.009 * point.append_tokens + 0.0005 * point.context_tokens


def logs(factor=lambda _: 1.0, noise_sd=0.0):
    rng = np.random.default_rng(1)
    return {
        p: math.log(surface_ms(p) * factor(p)) + noise_sd * rng.standard_normal() for p in DESIGN
    }


def test_the_design_spans_the_rectangle_within_the_total():
    assert all(p.total_tokens <= LIMITS.total_tokens for p in DESIGN)
    assert {p.context_tokens for p in DESIGN} >= {*LIMITS.context_tokens}
    assert {p.append_tokens for p in DESIGN} >= {*LIMITS.append_tokens}
    assert Point(2048, 1536) not in DESIGN


def doubling(total_tokens: int) -> Limits:
    """Six values of L from 2 to 64 are powers of two, and six of m from 1 to 32."""
    return Limits(context_tokens=(2, 64), append_tokens=(1, 32), total_tokens=total_tokens)


def test_the_design_is_a_grid_of_six_by_six_on_the_log_scale():
    grid = [Point(L, m) for L in (2, 4, 8, 16, 32, 64) for m in (1, 2, 4, 8, 16, 32)]
    assert design_points(doubling(96)) == grid


def test_a_point_of_just_the_total_is_in_the_design_and_one_beyond_is_not():
    at_most = [p for p in design_points(doubling(80)) if p.context_tokens == 64]
    assert at_most == [Point(64, m) for m in (1, 2, 4, 8, 16)]


def added_by(sizes: Sizes) -> list[int]:
    """The m of a design that its grid of 4, 8, 16, 32, 64 and 128 does not have."""
    limits = Limits(context_tokens=(2, 64), append_tokens=(4, 128), total_tokens=4096)
    at_least = [p.append_tokens for p in design_points(limits, sizes) if p.context_tokens == 2]
    return [m for m in at_least if m not in (4, 8, 16, 32, 64, 128)]


@pytest.mark.parametrize(
    ("buckets", "added"),
    [
        ((5, 20, 40, 52), [20, 21]),
        # Of equal gaps the first.
        ((6, 18, 30), [6, 7]),
        # A gap may begin at the least m, but not at the largest.
        ((4, 20, 30), [5]),
        ((5, 50, 128, 640), [50, 51]),
        # Nor below the least.
        ((1, 20, 27, 30), [20, 21]),
        ((), []),
        (None, []),
    ],
)
def test_the_design_has_both_sides_of_the_size_that_most_is_padded_behind(buckets, added):
    assert added_by(Sizes(bucket_tokens=buckets)) == added


@pytest.mark.parametrize(
    ("chunk_tokens", "added"), [(50, [50, 51]), (3, []), (32, [33]), (128, []), (2048, [])]
)
def test_the_design_has_both_sides_of_the_first_chunks_edge(chunk_tokens, added):
    assert added_by(Sizes(chunk_tokens=chunk_tokens)) == added


def test_the_design_has_the_steps_of_chunks_and_of_graphs_together():
    sizes = Sizes(chunk_tokens=50, bucket_tokens=(5, 20, 40, 52))
    assert added_by(sizes) == [20, 21, 50, 51]


@pytest.mark.parametrize("point", BETWEEN)
def test_a_surface_is_expected_as_it_is(point):
    expected = expected_of(logs(), (), se=0.01)
    assert expected.log_ms(point) == pytest.approx(math.log(surface_ms(point)), abs=0.005)
    assert expected.slow == ()
    assert expected.steep(LOG_BOUND) == []


@pytest.mark.parametrize("point", BETWEEN)
def test_what_is_smooth_and_of_another_form_is_expected_too(point):
    """Attention costs L x m, which no form of the surface has: 12 % at the far corner."""

    def attention(p):
        return 1 + 0.12 * p.context_tokens * p.append_tokens / (2048 * 1024)

    expected = expected_of(logs(attention), (), se=0.01)
    assert expected.slow == ()
    truth = math.log(surface_ms(point) * attention(point))
    assert abs(expected.log_ms(point) - truth) < LOG_BOUND / 2


def test_points_in_a_cliff_are_off_and_bend_nothing():
    def cliff(p):
        return 1.6 if p.context_tokens >= 512 and p.append_tokens >= 82 else 1.0

    expected = expected_of(logs(cliff, noise_sd=0.01), (), se=0.01)
    assert set(expected.slow) == {p for p in DESIGN if cliff(p) > 1}
    assert expected.log_ms(Point(40, 12)) == pytest.approx(
        math.log(surface_ms(Point(40, 12))), abs=0.03
    )
    box = Box((512, 2048), (82, 1536), math.log(1.6))
    known = expected_of(logs(cliff, noise_sd=0.01), (box,), se=0.01)
    assert known.slow == ()
    inside = Point(700, 700)
    truth = math.log(1.6 * surface_ms(inside))
    assert known.log_ms(inside) == pytest.approx(truth, abs=0.04)


def test_a_step_through_half_of_the_plane_is_steep_somewhere():
    def step(p):
        return 1.5 if p.append_tokens > 60 else 1.0

    expected = expected_of(logs(step), (), se=0.01)
    told = expected.slow or [slower for _, slower in expected.steep(LOG_BOUND)]
    assert told
    assert step(told[0]) > 1


def test_a_column_that_is_slow_is_no_surface_for_the_rest_to_be_below():
    def column(p):
        return 1.5 if p.append_tokens == 354 else 1.0

    expected = expected_of(logs(column, noise_sd=0.01), (), se=0.01)
    assert set(expected.slow) == {p for p in DESIGN if p.append_tokens == 354}


@pytest.mark.parametrize(
    "sizes", [Sizes(chunk_tokens=1024), Sizes(bucket_tokens=(256, 512, 768, 1024, 1536))]
)
def test_a_step_that_the_servers_sizes_make_is_expected(sizes):
    """A further chunk pays the floor again; behind 1,024 tokens a graph pads to 1,536."""

    def more(p):
        if sizes.chunk_tokens is not None:
            return 1 + 8 * (p.append_tokens > 1024) / surface_ms(p)
        padded = next(b for b in sizes.bucket_tokens if b >= p.append_tokens)
        padded = padded if padded <= 2 * p.append_tokens else p.append_tokens
        return 1 + 0.009 * (padded - p.append_tokens) / surface_ms(p)

    design = design_points(LIMITS, sizes)
    assert {p.append_tokens for p in design} >= {1024, 1025}
    log_ms = {p: math.log(surface_ms(p) * more(p)) for p in design}
    expected = expected_of(log_ms, (), se=0.01, sizes=sizes)
    assert expected.slow == ()
    slow, fast = Point(300, 1025), Point(300, 1024)
    truth = math.log(surface_ms(slow) * more(slow) / (surface_ms(fast) * more(fast)))
    assert truth > LOG_BOUND
    assert expected.step(slow, fast) == pytest.approx(truth, abs=0.01)


def test_too_few_points_tell_nothing():
    assert expected_of({Point(2, 2): 1.0, Point(4, 4): 1.1}, (), se=0.01) is None


def test_the_step_of_two_points_is_the_surfaces():
    expected = expected_of(logs(), (), se=0.01)
    slow, fast = Point(100, 201), Point(100, 200)
    truth = math.log(surface_ms(slow) / surface_ms(fast))
    assert expected.step(slow, fast) == pytest.approx(truth, abs=1e-4)


def test_a_ttft_below_a_millisecond_is_expected_as_it_is():
    def short_ms(p):
        return 0.1 + 0.001 * p.append_tokens

    expected = expected_of({p: math.log(short_ms(p)) for p in DESIGN}, (), se=0.01)
    assert expected.step(Point(10, 300), Point(10, 100)) == pytest.approx(math.log(2), abs=1e-4)
    assert expected.residuals[DESIGN[0]] == pytest.approx(0, abs=1e-4)


def test_slow_points_come_with_the_farthest_first():
    factors = {DESIGN[8]: 1.4, DESIGN[14]: 2.0, DESIGN[20]: 1.7}
    expected = expected_of(logs(lambda p: factors.get(p, 1.0)), (), se=0.01)
    assert expected.slow == (DESIGN[14], DESIGN[20], DESIGN[8])


def test_a_point_that_is_too_fast_is_not_slow():
    expected = expected_of(logs(lambda p: 0.6 if p == DESIGN[14] else 1.0), (), se=0.01)
    assert expected.residuals[DESIGN[14]] == pytest.approx(math.log(0.6), abs=1e-3)
    assert expected.slow == ()


def steep(residuals, least):
    return replace(expected_of(logs(), (), se=0.01), residuals=residuals).steep(least)


def test_of_two_neighbours_the_slower_is_named_second_whichever_comes_first():
    low, high = Point(2, 1), Point(2, 8)
    assert steep({low: 0.25, high: 1.0}, 0.5) == [(low, high)]
    assert steep({low: 1.0, high: 0.25}, 0.5) == [(high, low)]


def test_neighbours_have_to_differ_by_more_than_the_least():
    low, high = Point(2, 1), Point(2, 8)
    assert steep({low: 0.5, high: 0.75}, 0.25) == []
    assert steep({low: 0.5, high: 0.75}, 0.2) == [(low, high)]
    assert steep({low: -0.5, high: 0.75}, 1.0) == [(low, high)]


def test_the_steepest_neighbours_come_first():
    a, b, c, d = (Point(2, m) for m in (1, 2, 4, 8))
    assert steep({a: 0.0, b: 0.5, c: 2.0, d: 1.0}, 0.25) == [(b, c), (d, c), (a, b)]


def test_neighbours_are_next_to_each_other_at_equal_l_or_at_equal_m():
    """Neither on a diagonal nor with another point between; where one is missing, across it."""
    rows = {2: {1: 0, 2: 1, 4: 3}, 4: {1: 7, 4: 15}, 8: {1: 31, 4: 63}}
    residuals = {Point(L, m): float(r) for L, row in rows.items() for m, r in row.items()}
    assert steep(residuals, 0.5) == [
        (Point(4, 4), Point(8, 4)),
        (Point(8, 1), Point(8, 4)),
        (Point(4, 1), Point(8, 1)),
        (Point(2, 4), Point(4, 4)),
        (Point(4, 1), Point(4, 4)),
        (Point(2, 1), Point(4, 1)),
        (Point(2, 2), Point(2, 4)),
        (Point(2, 1), Point(2, 2)),
    ]


def test_what_a_point_is_off_the_surface_is_expected_but_for_its_noise():
    """Four corners of a square, in turns 0.05 above and below, which no surface follows.

    The weights of -r are +w and -w then. With a side d = ln 9 and a smoothing of 0.1, w is
    0.05 / ((2 - sqrt 2) d + 0.1), and at a corner w (2 - sqrt 2) d is left: 0.928 of 0.05.
    """
    above, below = [Point(1, 1), Point(9, 9)], [Point(1, 9), Point(9, 1)]
    middle = math.log(10)
    log_ms = dict.fromkeys(above, middle + 0.05) | dict.fromkeys(below, middle - 0.05)
    expected = expected_of(log_ms, (), se=0.01)
    assert [expected.log_ms(p) - middle for p in above] == pytest.approx([0.0464] * 2, abs=2e-4)
    assert [expected.log_ms(p) - middle for p in below] == pytest.approx([-0.0464] * 2, abs=2e-4)
    assert expected.log_ms(Point(3, 3)) == pytest.approx(middle, abs=1e-4)


def test_a_single_point_of_another_m_is_enough_for_a_surface():
    """Hardly any draw of ten has it, so that all points have to be one of the starts."""
    points = [*(Point(L, 1) for L in range(1, 1001)), Point(1, 500)]
    log_ms = {p: math.log(surface_ms(p)) for p in points}
    expected = expected_of(log_ms, (), se=0.01)
    assert expected is not None
    assert expected.step(points[-1], points[0]) == pytest.approx(
        math.log(surface_ms(points[-1]) / surface_ms(points[0])), abs=1e-4
    )


def test_most_points_are_on_the_surface_though_others_are_near_it():
    """All are within the bound of least squares' surface, which is no reason to prefer it."""
    off = {p for i, p in enumerate(DESIGN) if i % 10 in (2, 5, 8)}
    values = np.array([math.log(surface_ms(p) * (1.1 if p in off else 1.0)) for p in DESIGN])
    residuals = _most_alike(DESIGN, values, PLAIN, LOG_BOUND)
    wanted = [math.log(1.1) if p in off else 0.0 for p in DESIGN]
    assert residuals == pytest.approx(np.array(wanted), abs=1e-3)
