"""The one model of change: shapes found again, parts that say what was measured, no two figures."""

import numpy as np
import pytest

from append_prefill.analysis.change import change_of
from append_prefill.analysis.design import design_of
from append_prefill.analysis.joint import estimate
from append_prefill.analysis.prior import Prior
from append_prefill.analysis.steps import further_chunks
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
    found = change(0.6 + 0.0002 * (TIMES - TIMES.mean()), plane=plane)
    weights = np.where([p == point for p in POINTS], 100.0, 1.0)
    fitted = np.array([at.delta_ms for at in found.points])
    assert fitted @ weights / weights.sum() == pytest.approx(found.parts[0].delta_ms)


def test_two_points_are_enough():
    points = [Point(512, 128), Point(512, 512)]
    b = np.zeros((3, 2)) + np.log(15.0)
    a = b + 0.04 + 0.001 * np.random.default_rng(0).normal(size=b.shape)
    design, times = design_of(points), np.full(2, 15.0)
    joint = estimate(a, b, design, PRIOR, nights=False, paired=True, times_ms=times)
    found = change_of(design, joint, times, per_start=1 / 3, min_effect=0.015)
    assert found.parts[0].ratio == pytest.approx(np.exp(0.04), abs=0.005)


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
