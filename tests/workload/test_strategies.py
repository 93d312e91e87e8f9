from hypothesis import find, given, settings
from hypothesis import strategies as st

from append_prefill.workload.profile import Limits
from append_prefill.workload.strategies import drawn_points, points, spread_points

LIMITS = Limits(context_tokens=(2, 2048), append_tokens=(1, 1536), total_tokens=3072)


@given(points(LIMITS, 1024))
def test_points_stay_inside_the_limits(point):
    assert 2 <= point.context_tokens <= 2048
    assert 1 <= point.append_tokens <= 1536
    assert point.total_tokens <= 3072


def test_page_and_chunk_boundaries_are_reached():
    quick = settings(max_examples=2000, database=None)
    assert find(points(LIMITS, 1024), lambda p: p.append_tokens == 1025, settings=quick)
    assert find(points(LIMITS, 1024), lambda p: p.context_tokens == 127, settings=quick)
    assert find(points(LIMITS, 1024), lambda p: p.context_tokens == 129, settings=quick)


@given(spread_points(LIMITS, 1024))
def test_spread_points_stay_inside_the_limits(point):
    assert 2 <= point.context_tokens <= 2048
    assert 1 <= point.append_tokens <= 1536
    assert point.total_tokens <= 3072


def test_spread_points_reach_boundaries_and_any_other_value():
    quick = settings(max_examples=3000, database=None)
    assert find(spread_points(LIMITS, 1024), lambda p: p.append_tokens == 1025, settings=quick)
    assert find(spread_points(LIMITS), lambda p: 270 < p.append_tokens < 280, settings=quick)


@given(st.integers(0, 2**31), st.integers(0, 12))
def test_the_draw_for_a_plan_is_distinct_inside_and_repeatable(seed, count):
    drawn = drawn_points(LIMITS, count, seed)
    assert len(drawn) == count == len(set(drawn))
    assert all(p.total_tokens <= 3072 for p in drawn)
    assert drawn == drawn_points(LIMITS, count, seed)


def test_a_rectangle_too_small_gives_what_it_holds():
    tiny = Limits(context_tokens=(1, 2), append_tokens=(1, 1), total_tokens=3)
    assert len(drawn_points(tiny, 9, 0)) == 2


def test_a_draw_is_the_same_on_every_machine():
    assert [p.label for p in drawn_points(LIMITS, 2, 7)] == GOLDEN


GOLDEN = ["L240-m7", "L233-m16"]
