"""What a design makes one expect: on a surface, off its form, with cliffs in it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from append_prefill.analysis.cliffs.expected import (
    LOG_BOUND,
    Box,
    design_points,
    expected_of,
)
from append_prefill.analysis.steps import Sizes
from append_prefill.workload.loading import load_profile
from append_prefill.workload.points import Point

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
