import pytest

from append_prefill.workload.points import Point


def test_figures_of_a_point():
    point = Point(512, 128)
    assert point.total_tokens == 640
    assert point.cache_rate == 0.8
    assert point.label == "L512-m128"


@pytest.mark.parametrize(("page", "cached"), [(1, 100), (16, 96), (64, 64), (128, 0)])
def test_cached_tokens_are_floored_to_pages(page, cached):
    assert Point(100, 5).cached_tokens(page) == cached


@pytest.mark.parametrize("wrong", [(0, 1), (1, 0), (-1, 5)])
def test_empty_parts_are_refused(wrong):
    with pytest.raises(ValueError, match="at least one"):
        Point(*wrong)
