import numpy as np
import pytest

from append_prefill.analysis.design import design_of, strata_of, weights_of
from append_prefill.workload.loading import load_profile
from append_prefill.workload.points import Point
from append_prefill.workload.policy import Plane

POINTS = [Point(512, 32), Point(512, 128), Point(512, 512), Point(2048, 1024)]


def test_points_count_alike_unless_the_profile_weighs_them():
    np.testing.assert_allclose(weights_of(POINTS, Plane()), 0.25)
    heavy = Plane(weights=((512, 128, 3.0), (9, 9, 7.0)), argument="Most of the traffic is there.")
    np.testing.assert_allclose(weights_of(POINTS, heavy), [1 / 6, 1 / 2, 1 / 6, 1 / 6])


@pytest.mark.parametrize(
    ("weights", "problem"),
    [(((512, 128, 0.0),), "above 0"), (((1, 1, 1.0), (1, 1, 2.0)), "a point has two")],
)
def test_a_weight_that_is_none_is_refused(weights, problem):
    with pytest.raises(ValueError, match=problem):
        Plane(weights=weights, argument="Most of the traffic is there.")


def test_strata_are_the_profiles_and_need_two_points_each():
    def strata(limit):
        return strata_of(
            POINTS, Plane(floor_append_tokens=limit, argument="As the docs have it, fixed.")
        )

    assert strata(128)["floor"].tolist() == [True, True, False, False]
    assert strata(128)["compute"].tolist() == [False, False, True, True]
    assert strata(32) == strata(512) == strata(4096) == {}
    assert strata_of(POINTS, Plane()) == {}


def test_a_design_without_strata_is_one_group():
    design = design_of(POINTS)
    assert [group.tolist() for group in design.groups] == [[True] * 4]
    assert design.shares == pytest.approx(
        {"level": 0.76, "append": 0.08, "context": 0.08, "points": 0.08}
    )


def test_strata_take_their_part_of_the_rate():
    plane = Plane(floor_append_tokens=128, argument="As the docs have it, fixed.")
    design = design_of(POINTS, plane)
    assert design.shares == pytest.approx(
        {
            "level": 0.26,
            "floor": 0.25,
            "compute": 0.25,
            "append": 0.08,
            "context": 0.08,
            "points": 0.08,
        }
    )
    assert [group.sum() for group in design.groups] == [2, 2]


def test_the_far_half_is_what_has_half_of_the_most_tokens():
    append, context = design_of(POINTS).slopes
    assert (append.tokens, append.from_tokens) == (1024, 512)
    np.testing.assert_allclose(append.end, [0, 0, 0.5, 0.5])
    assert (context.tokens, context.from_tokens) == (2048, 2048)
    np.testing.assert_allclose(context.end, [0, 0, 0, 1])


def test_a_far_half_of_all_points_is_those_with_the_most():
    (append,) = design_of([Point(9, 60), Point(9, 80), Point(9, 100)]).slopes
    np.testing.assert_allclose(append.end, [0, 0, 1])


def test_an_effect_in_proportion_is_seen_whole_by_the_row():
    """Excess of the far half over the average, and the part of the effect there that it is."""
    append = design_of(POINTS).slopes[0]
    m = np.array([p.append_tokens for p in POINTS])
    effect = 0.1 * m / 1024
    far = float(append.end @ effect)
    assert append.row @ effect == pytest.approx(far - effect.mean())
    assert append.lever == pytest.approx((far - effect.mean()) / far)


def test_the_shipped_profile_has_no_point_between_its_strata():
    profile = load_profile("llama-3.1-8b")
    strata = strata_of(profile.points, profile.plane)
    m = np.array([p.append_tokens for p in profile.points])
    assert m[strata["floor"]].max() == profile.plane.floor_append_tokens
    assert m[strata["compute"]].min() >= 1.5 * profile.plane.floor_append_tokens
