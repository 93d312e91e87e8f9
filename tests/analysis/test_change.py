"""The one model of change: shapes found again, parts that say what was measured, no two figures."""

import numpy as np
import pytest
from scipy import special, stats

from append_prefill.analysis.change import _range, _terms, change_of, covariance_of
from append_prefill.analysis.design import design_of
from append_prefill.analysis.joint import estimate
from append_prefill.analysis.prior import Prior
from append_prefill.analysis.shapes import Fit, Shape
from append_prefill.analysis.steps import further_chunks
from append_prefill.records.comparison import ChangeIn
from append_prefill.records.grounds import NoiseSource
from append_prefill.report.places import part_words
from append_prefill.workload.points import Point
from append_prefill.workload.policy import Plane
from tests.analysis.factory import POINTS

PLANE = Plane(floor_append_tokens=308, argument="As the shipped profile says it.")
PRIOR = Prior(0.002, 16.0, None, 0.0, NoiseSource(kind="profile"), pair_sd=0.002, pair_df=16.0)
M = np.array([p.append_tokens for p in POINTS], dtype=float)
L = np.array([p.context_tokens for p in POINTS], dtype=float)
FLOOR = M <= 308
TIMES = np.maximum(15.0, 0.026 * M) + 0.0004 * L


def change(delta_ms, *, pairs=6, times=TIMES, chunks=(None, None), **measured):
    design, joint = measure(delta_ms, pairs=pairs, times=times, **measured)
    return change_of(design, joint, times, per_start=1 / pairs, min_effect=0.015, chunks=chunks)


def measure(delta_ms, *, noise=0.002, plane=PLANE, pairs=6, seed=1, times=TIMES, points=POINTS):
    rng = np.random.default_rng(seed)
    b = np.log(times) + np.zeros((pairs, len(points)))
    a = b + np.log1p(delta_ms / times) + noise * rng.normal(size=b.shape)
    design = design_of(points, plane)
    return design, estimate(a, b, design, PRIOR, nights=False, paired=True, times_ms=times)


def kinds(found):
    return [term.kind for term in found.terms]


def test_milliseconds_everywhere_are_said_as_such():
    found = change(0.6 + 0 * M)
    assert kinds(found) == ["everywhere"]
    (part,) = found.parts
    assert part.region == "level"
    assert part.low_ms < 0.6 < part.high_ms
    assert (found.terms[0].value, found.terms[0].low, found.terms[0].high) == pytest.approx(
        (part.delta_ms, part.low_ms, part.high_ms)
    )
    assert {round(at.delta_ms, 9) for at in found.points} == {round(part.delta_ms, 9)}
    assert (part.append_tokens, part.context_tokens, len(part.points)) == (None, None, len(POINTS))
    assert found.fits


def test_a_factor_is_a_factor():
    found = change(0.04 * TIMES)
    assert kinds(found) == ["proportional"]
    (part,) = found.parts
    assert part.low < 1.04 < part.high
    assert found.terms[0].value == pytest.approx(part.ratio - 1)
    assert (found.terms[0].low, found.terms[0].high) == pytest.approx((part.low - 1, part.high - 1))
    assert [at.ratio for at in found.points] == pytest.approx([part.ratio] * len(POINTS))
    mean_ms = float(TIMES.mean())
    assert part.delta_ms == pytest.approx(mean_ms * (part.ratio - 1))


def test_a_dearer_new_token_is_told_in_microseconds_and_from_the_far_half():
    found = change(0.002 * M)
    assert kinds(found) == ["append"]
    assert found.terms[0].low < 2.0 < found.terms[0].high
    (part,) = found.parts
    assert (part.region, part.append_tokens) == ("append_end", (512, 1024))
    far = [at.delta_ms for at in found.points if at.append_tokens >= 512]
    assert np.mean(far) == pytest.approx(part.delta_ms)


def test_a_dearer_cached_token_is_seen_where_contexts_are_long():
    found = change(0.001 * L)
    assert kinds(found) == ["context"]
    (part,) = found.parts
    assert (part.region, part.context_tokens) == ("context_end", (1024, 2048))


@pytest.mark.parametrize(
    ("where", "region", "append"), [(FLOOR, "floor", (32, 308)), (~FLOOR, "compute", (512, 1024))]
)
def test_a_stratum_that_moved_alone_is_the_part(where, region, append):
    found = change(0.9 * where)
    assert kinds(found) == [region]
    (part,) = found.parts
    assert (part.region, part.append_tokens) == (region, append)
    assert part.low_ms < 0.9 < part.high_ms
    beyond = [at.delta_ms for at in found.points if at.append_tokens > 308]
    assert beyond == pytest.approx([0.0 if region == "floor" else part.delta_ms] * len(beyond))


def test_where_the_profile_names_no_floor_the_reference_shows_it():
    there = 1.1 * TIMES.min() >= TIMES
    found = change(0.9 * there, plane=Plane())
    assert kinds(found) == ["floor"]
    assert found.parts[0].region == "points"
    assert len(found.parts[0].points) == there.sum()


def test_one_point_is_named_and_its_interval_bears_the_choice():
    delta = 3.0 * (np.arange(len(POINTS)) == 4)
    found = change(delta)
    assert kinds(found) == ["point"]
    term, (part,) = found.terms[0], found.parts
    assert (term.context_tokens, term.append_tokens) == part.points[0]
    assert part.points == [(POINTS[4].context_tokens, POINTS[4].append_tokens)]
    alone = change(3.0 + 0 * M).parts[0]
    assert part.high_ms - part.low_ms > alone.high_ms - alone.low_ms
    assert part.low_ms < 3.0 < part.high_ms


def test_a_mixed_change_has_both_halves_the_slower_first():
    found = change(np.where(FLOOR, -1.5, 0.004 * M))
    slower, faster = found.parts
    assert slower.ratio > 1 > faster.ratio
    assert slower.append_tokens == (512, 1024)
    assert faster.append_tokens == (32, 308)
    for part in found.parts:
        inside = [
            a.delta_ms for a in found.points if (a.context_tokens, a.append_tokens) in part.points
        ]
        assert np.mean(inside) == pytest.approx(part.delta_ms)


def test_a_form_that_does_not_fit_says_so():
    rng = np.random.default_rng(8)
    rough = 0.6 + rng.choice([-0.5, 0.5], size=len(POINTS))
    found = change(rough, noise=0.001)
    assert not found.fits
    assert found.misfit < 0.01
    assert len(found.terms) == 3


def test_where_the_form_is_wrong_each_point_is_as_it_was_measured():
    """A floor that sank up to m = 700, where no stratum ends, and one point that pays for it."""
    delta = np.where(M < 700, -5.0, 0.0)
    delta[3] = 2.4
    found = change(delta, noise=0.004, plane=Plane(), times=np.full(len(POINTS), 20.0))
    assert not found.fits
    slower, faster = found.parts
    assert slower.points == [(POINTS[3].context_tokens, POINTS[3].append_tokens)]
    assert set(faster.points) == {
        (p.context_tokens, p.append_tokens) for p in POINTS if p.append_tokens < 700
    }
    assert slower.low_ms < 2.4 < slower.high_ms
    assert [at.delta_ms for at in found.points] == pytest.approx(delta, abs=0.3)
    for part in found.parts:
        inside = [
            a.delta_ms for a in found.points if (a.context_tokens, a.append_tokens) in part.points
        ]
        assert np.mean(inside) == pytest.approx(part.delta_ms)


def test_a_point_that_strays_is_no_part_of_a_change_whose_form_is_wrong():
    """As above without the slower point, under noise that puts some of the others at 1.5 %."""
    delta = np.where(M < 700, -8.0, 0.0)
    seen = 0
    for seed in range(20):
        found = change(
            delta, noise=0.03, plane=Plane(), times=np.full(len(POINTS), 20.0), seed=seed
        )
        if found.fits:
            continue
        seen += max(at.delta_ms for at in found.points) >= 0.015 * 20
        (faster,) = found.parts
        assert faster.ratio < 1
    assert seen >= 5


@pytest.mark.parametrize("seed", range(20))
def test_the_fit_has_the_means_that_its_parts_were_measured_at(seed):
    rng = np.random.default_rng(seed)
    delta = rng.normal(0, 0.4) + rng.normal(0, 0.001) * M + rng.normal(0, 0.0004) * L
    found = change(delta, noise=0.01, seed=seed)
    for part in found.parts[: len(found.terms)]:
        inside = [
            a.delta_ms for a in found.points if (a.context_tokens, a.append_tokens) in part.points
        ]
        assert np.mean(inside) == pytest.approx(part.delta_ms, abs=1e-9)
        assert part.low <= part.ratio <= part.high
        assert part.low_ms <= part.delta_ms <= part.high_ms


def test_points_weigh_in_the_level_as_the_profile_says():
    point = POINTS[0]
    plane = Plane(
        floor_append_tokens=308,
        weights=((point.context_tokens, point.append_tokens, 100.0),),
        argument="Nearly all of the traffic is there.",
    )
    found = change(0.04 * TIMES, plane=plane)
    assert found.parts[0].region == "level"
    weights = np.where([p == point for p in POINTS], 100.0, 1.0)
    fitted = np.array([at.delta_ms for at in found.points])
    assert fitted @ weights / weights.sum() == pytest.approx(found.parts[0].delta_ms)
    # The far half of an axis is fixed beforehand, each of its points like the others.
    beyond = plane.model_copy(update={"weights": ((512, 1024, 100.0),)})
    found = change(0.002 * M, plane=beyond)
    assert found.parts[0].region == "append_end"
    far = [at.delta_ms for at in found.points if at.append_tokens >= 512]
    assert np.mean(far) == pytest.approx(found.parts[0].delta_ms)
    # Points that were picked weigh as in the level.
    found = change(np.where(FLOOR, -1.5, 0.004 * M), plane=plane)
    for part in found.parts:
        inside = np.array([(p.context_tokens, p.append_tokens) in part.points for p in POINTS])
        fitted = np.array([at.delta_ms for at in found.points])
        mean = fitted @ (weights * inside) / (weights * inside).sum()
        assert (part.region, mean) == ("points", pytest.approx(part.delta_ms))


def test_two_points_are_enough():
    points = [Point(512, 128), Point(512, 512)]
    b = np.zeros((3, 2)) + np.log(15.0)
    a = b + 0.04 + 0.001 * np.random.default_rng(0).normal(size=b.shape)
    design, times = design_of(points), np.full(2, 15.0)
    joint = estimate(a, b, design, PRIOR, nights=False, paired=True, times_ms=times)
    found = change_of(design, joint, times, per_start=1 / 3, min_effect=0.015)
    assert found.parts[0].ratio == pytest.approx(np.exp(0.04), abs=0.005)


def test_two_points_that_moved_apart_leave_nothing_to_misfit():
    points = [Point(512, 128), Point(512, 512)]
    b = np.zeros((3, 2)) + np.log(15.0)
    a = b + [0.04, 0.4] + 0.001 * np.random.default_rng(0).normal(size=b.shape)
    design, times = design_of(points), np.full(2, 15.0)
    joint = estimate(a, b, design, PRIOR, nights=False, paired=True, times_ms=times)
    found = change_of(design, joint, times, per_start=1 / 3, min_effect=0.015)
    assert len(found.terms) == 2
    assert (found.misfit, found.fits) == (None, True)


LONG = [
    *(Point(512, m) for m in (128, 512, 1024, 2048, 2112, 3072, 4096, 4160, 8192)),
    *(Point(context, m) for context in (64, 4096) for m in (128, 2048, 2112)),
]
LONG_M = np.array([float(p.append_tokens) for p in LONG])
LONG_TIMES = 20 + 0.01 * LONG_M + 0.0004 * np.array([p.context_tokens for p in LONG])
HALVED = further_chunks(LONG_M, 2048) - further_chunks(LONG_M, 4096)


def long_change(delta_ms, chunks):
    return change(
        delta_ms, times=LONG_TIMES, points=LONG, plane=Plane(), chunks=chunks, noise=0.004
    )


def test_a_chunk_size_that_was_halved_is_slower_from_its_edge_on_and_nowhere_before():
    found = long_change(3.0 * HALVED, (2048, 4096))
    assert kinds(found) == ["chunk"]
    (term,), (part,) = found.terms, found.parts
    assert term.low < 3.0 < term.high
    assert (term.append_tokens, term.context_tokens) == (2049, None)
    assert part.append_tokens == (2112, 8192)
    assert {m for _, m in part.points} == {2112, 3072, 4096, 4160, 8192}
    assert [at.delta_ms for at in found.points if at.append_tokens <= 2048] == [0.0] * 8
    assert part_words(part, found) == "from m = 2049 on"
    assert found.fits


def test_a_chunk_size_that_was_doubled_saves_from_the_same_edge_on():
    found = long_change(-3.0 * HALVED, (4096, 2048))
    assert kinds(found) == ["chunk"]
    assert found.terms[0].low < -3.0 < found.terms[0].high
    assert found.parts[0].ratio < 1
    assert part_words(found.parts[0], found) == "from m = 2049 on"


def test_a_dearer_chunk_of_the_same_size_is_told_by_the_chunk():
    found = long_change(3.0 * further_chunks(LONG_M, 2048), (2048, 2048))
    assert kinds(found) == ["chunk"]
    assert found.terms[0].low < 3.0 < found.terms[0].high


def test_a_dearer_new_token_is_not_taken_for_dearer_chunks():
    found = long_change(0.002 * LONG_M, (2048, 4096))
    assert kinds(found) == ["append"]
    found = long_change(0.002 * LONG_M, (2048, 2048))
    assert kinds(found) == ["append"]


def test_without_told_sizes_a_step_is_looked_for_nowhere():
    for chunks in ((2048, None), (None, 4096), (None, None), (8192, 8192)):
        assert "chunk" not in kinds(long_change(3.0 * HALVED, chunks))


def test_an_edge_that_later_points_fall_behind_again_is_told_by_its_points():
    """Chunks of 3,000 in place of 4,096: one more up to 4,096, and none for a while after that."""
    sizes = (3000, 4096)
    column = further_chunks(LONG_M, 3000) - further_chunks(LONG_M, 4096)
    found = long_change(4.0 * column, sizes)
    assert kinds(found) == ["chunk"]
    assert {m for _, m in found.parts[0].points} == {3072, 4096, 8192}
    assert "from m = 3001 on" not in part_words(found.parts[0], found)


def test_where_the_mean_of_all_points_is_sure_so_is_what_is_said():
    """One context is five times the others': a slope in L rests on it alone."""
    pairs = [(256, 8), (256, 16), (256, 32), (256, 64), (256, 128), (256, 256), (1278, 392)]
    points = [Point(*pair) for pair in pairs]
    times = np.array([8.0, 7.6, 7.7, 7.9, 8.5, 8.9, 15.6])
    leant = 0
    for seed in range(200):
        planted = {
            "noise": 0.04,
            "pairs": 3,
            "seed": seed,
            "times": times,
            "points": points,
            "plane": Plane(),
        }
        delta_ms = 0.3 + 0 * times
        found = change(delta_ms, **planted)
        level = measure(delta_ms, **planted)[1].level
        half = float(level.spread.half_width(0.95)[0])
        if abs(float(level.estimate[0])) <= half:
            continue
        assert any(part.low > 1 or part.high < 1 for part in found.parts)
        leant += found.parts[0].region == "level"
    assert leant > 20


def log_interval(design, joint, where, confidence):
    """Of the weighted mean log ratio of some points, by the covariance that the fit rests on."""
    row = design.weights * where / (design.weights * where).sum()
    covariance = covariance_of(design, joint, 1 / 6)
    half = stats.t(joint.level.spread.df[0]).ppf((1 + confidence) / 2)
    half *= np.sqrt(row @ covariance @ row)
    mean = row @ joint.absolute.estimate
    return pytest.approx((mean - half, mean + half))


def test_a_point_that_was_picked_bears_as_many_choices_as_there_are_points():
    where = np.arange(len(POINTS)) == 4
    design, joint = measure(3.0 * where)
    (part,) = change(3.0 * where).parts
    confidence = 1 - 0.05 / len(POINTS)
    assert (np.log(part.low), np.log(part.high)) == log_interval(design, joint, where, confidence)


def test_points_that_were_picked_by_their_sign_bear_none():
    delta = np.where(FLOOR, -1.5, 0.004 * M)
    design, joint = measure(delta)
    for part, where in zip(change(delta).parts, (~FLOOR, FLOOR), strict=True):
        assert (np.log(part.low), np.log(part.high)) == log_interval(design, joint, where, 0.95)


def test_what_a_group_has_in_common_makes_its_mean_as_uncertain_as_it_was_measured():
    design, joint = measure(0.6 + 0 * M, noise=0.004)
    covariance = covariance_of(design, joint, 1 / 6)
    for group, mean in zip(design.groups, joint.strata.values(), strict=True):
        own = joint.residual_variance[group] / 6
        variance, count = float(mean.spread.variance[0]), group.sum()
        assert variance > own.mean() / count  # else nothing is in common
        inside = covariance[np.ix_(group, group)]
        assert inside.sum() / count**2 == pytest.approx(variance)
        assert np.diag(inside) - inside[0, 1] == pytest.approx(own)
        assert not covariance[np.ix_(group, ~group)].any()


def test_the_misfit_is_the_chance_of_what_is_left_beside_the_shapes():
    """Of TTFT that grew by a half, so that it matters whose milliseconds the noise is in."""
    delta = 0.5 * TIMES
    found = change(delta, noise=0.02)
    assert kinds(found) == ["proportional"]
    design, joint = measure(delta, noise=0.02)
    ratio = np.exp(joint.absolute.estimate)
    in_ms = covariance_of(design, joint, 1 / 6) * np.outer(TIMES * ratio, TIMES * ratio)
    precision, seen = np.linalg.inv(in_ms), TIMES * (ratio - 1)
    slope = TIMES @ precision @ seen / (TIMES @ precision @ TIMES)
    rest = seen - slope * TIMES
    chance = special.chdtrc(len(POINTS) - 1, rest @ precision @ rest)
    assert 0.02 < chance < 0.98
    assert found.misfit == pytest.approx(chance)


def test_a_plane_that_moved_as_a_whole_is_told_by_its_own_milliseconds():
    """By shapes of which none is a factor: the mean of TTFT times the mean ratio is another one."""
    delta = np.where(FLOOR, 3.0, 0.6)
    found = change(delta, noise=0.001)
    (part,) = found.parts
    assert part.region == "level"
    assert len(found.terms) > 1
    by_factor = float(TIMES.mean()) * (part.ratio - 1)
    measured = float(delta.mean())
    assert abs(part.delta_ms - measured) < 0.5 * abs(by_factor - measured)


def test_what_is_below_the_least_effect_is_no_part_of_its_own():
    """0.15 ms of 15 are 1 %."""
    found = change(0.15 * FLOOR, noise=0.001)
    assert kinds(found) == ["floor"]
    assert [part.region for part in found.parts] == ["level"]


def test_points_need_not_be_sure_one_by_one_where_a_shape_is():
    found = change(0.025 * TIMES * FLOOR, noise=0.05)
    assert kinds(found) == ["floor"]
    assert [part.region for part in found.parts] == ["floor"]


EVERY = np.ones(4, dtype=bool)
PART = ChangeIn(
    region="level",
    ratio=1.0,
    low=0.9,
    high=1.1,
    delta_ms=0.0,
    low_ms=-1.0,
    high_ms=1.0,
    points=[(512, 128)],
    append_tokens=None,
    context_tokens=None,
)


def test_each_shape_has_the_interval_of_its_own_error_and_the_strongest_is_first():
    """A point, which was picked of four, has one that bears the choice."""
    known = ("everywhere", "append", "point", "context")
    shapes = [Shape(kind, np.arange(4.0) + at, EVERY) for at, kind in enumerate(known)]
    # Four, six and ten standard errors; of the last nothing is known.
    fit = Fit(shapes, np.array([0.4, -3.0, 2.0, 9.0]), np.diag([0.01, 0.25, 0.04, 0.0]), 0.0)
    terms = _terms(fit, [PART], 5.0)
    assert [term.kind for term in terms] == ["point", "append", "everywhere", "context"]
    t = stats.t(5.0)
    widths = [0.2 * t.ppf(1 - 0.05 / 2 / 4), 0.5 * t.ppf(0.975), 0.1 * t.ppf(0.975), 0.0]
    for term, value, width in zip(terms, (2.0, -3.0, 0.4, 9.0), widths, strict=True):
        assert term.value == value
        assert (term.low, term.high) == pytest.approx((value - width, value + width))


def test_the_only_shape_of_a_part_without_milliseconds_has_none():
    fit = Fit([Shape("floor", np.ones(4), EVERY)], np.array([0.0]), np.diag([0.01]), 0.0)
    (term,) = _terms(fit, [PART], 5.0)
    assert (term.low, term.high) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("inside", "outside", "named"),
    [
        ([32, 128], [512], (32, 128)),
        ([32, 128], [128, 512], None),
        ([128, 512], [32, 128], None),
        ([32, 128], [], None),
    ],
)
def test_a_part_has_a_range_where_no_other_point_lies_in_it(inside, outside, named):
    assert _range(inside, outside) == named
