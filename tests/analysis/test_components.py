"""Variance components are found again where they were planted."""

import numpy as np
import pytest

from append_prefill.analysis.components import components_of, pairs_of, whole
from append_prefill.analysis.rounds import pair_figures
from append_prefill.workload.points import Point
from tests.analysis.factory import start

POINTS = [Point(512, m) for m in (32, 64, 128, 256, 512, 1024)]
ALL = np.ones(len(POINTS), dtype=bool)


def planted(
    count=60, rounds=12, *, pair=0.01, block=0.03, request=0.1, shared=True, seed=1, launch=0.0,
    launch_point=0.0,
):  # fmt: skip
    """Pairs of launches; blocks' states are common to both sides if `shared`."""
    rng = np.random.default_rng(seed)
    pairs = []
    for index in range(count):
        state = block * rng.normal(size=(2, rounds, 1))
        if shared:
            state[1] = state[0]
        log = 3 + state + request * rng.normal(size=(2, rounds, len(POINTS)))
        log[0] += pair * rng.normal()
        log += launch * rng.normal(size=(2, 1, 1))
        log += launch_point * rng.normal(size=(2, 1, len(POINTS)))
        sides = []
        for side, table in zip(("candidate", "reference"), log, strict=True):
            values = {p: list(np.exp(c)) for p, c in zip(POINTS, table.T, strict=True)}
            made = start(index, values, side=side).model_copy(
                update={"pair": index, "interleaved": True, "alternated": "sample"}
            )
            sides.append(made)
        pairs.append(tuple(sides))
    return pairs


def test_a_plan_can_rest_on_pair_and_round() -> None:
    """A pair's ratio scatters by pair_sd^2 + round_sd^2 / rounds, at any number of rounds."""
    found = components_of(planted(400, 8), POINTS, ALL)
    more = components_of(planted(400, 32, seed=2), POINTS, ALL)
    assert found.pair_sd == pytest.approx(0.01, rel=0.4)
    assert more.pair_sd == pytest.approx(0.01, rel=0.15)
    # The middle half of 2 * 0.1^2 over 6 points, 1.19 times as variable as a mean.
    assert found.round_sd == pytest.approx(np.sqrt(1.19 * 2 * 0.01 / 6), rel=0.1)
    assert more.round_sd == pytest.approx(found.round_sd, rel=0.1)


def test_request_and_block_are_told_apart() -> None:
    found = components_of(planted(), POINTS, ALL)
    assert found.request_sd == pytest.approx(0.1, rel=0.03)
    assert found.block_sd == pytest.approx(0.03, rel=0.2)
    assert found.launch_point_sd < 0.012
    still = components_of(planted(block=0.0), POINTS, ALL)
    assert still.block_sd < 0.01


def test_a_stratum_is_told_by_its_own_points() -> None:
    pairs = planted()
    for pair in pairs:
        for made in pair:
            for series in made.series:
                if series.append_tokens >= 512:  # a third of the scatter
                    log = np.log(series.ttft_ms)
                    series.ttft_ms = list(np.exp(3 + (log - 3) / 3))
    m = np.array([p.append_tokens for p in POINTS])
    floor, compute = (components_of(pairs, POINTS, group) for group in (m < 512, m >= 512))
    assert floor.request_sd == pytest.approx(0.1, rel=0.05)
    assert compute.request_sd == pytest.approx(0.033, rel=0.1)


def test_one_pair_tells_nothing_and_two_do() -> None:
    assert set(components_of(planted(1), POINTS, ALL).model_dump().values()) == {None}
    assert components_of(planted(2), POINTS, ALL).pair_sd is not None


def test_too_few_rounds_tell_of_pairs_alone() -> None:
    found = components_of(planted(5, 2), POINTS, ALL)
    assert found.pair_sd is not None
    assert found.round_sd is None


def test_a_pair_and_a_point_that_lack_most_are_cut_and_nothing_else() -> None:
    """B is measured by no launch of the second pair, the third has B alone."""
    pairs = planted(4, 4)
    for made in pairs[2]:
        made.series[:] = [series for series in made.series if series.point == POINTS[1]]
    pairs[1][0].series[1].ttft_ms.clear()
    pairs[1][0].series[1].block.clear()
    kept, points = whole(pairs, POINTS)
    assert [pair[0].index for pair in kept] == [0, 1, 3]
    assert points == [POINTS[0], *POINTS[2:]]
    assert whole([], POINTS) == ([], POINTS)
    nothing = [tuple(made.model_copy(update={"series": []}) for made in pair) for pair in pairs]
    assert whole(nothing, POINTS) == ([], [])


def test_only_whole_pairs_that_were_up_together_count() -> None:
    ((a, b), (c, d), (e, f)) = planted(3)
    apart = d.model_copy(update={"interleaved": False})
    failed = f.model_copy(update={"failure": "died"})
    assert [pair[0].index for pair in pairs_of([[a, b, c, apart], [e, failed]])] == [0]


def test_sides_that_differ_are_no_noise() -> None:
    """One version 10 % slower than the other: a pair scatters as it did."""
    pairs = planted(200, 8)
    for candidate, _ in pairs:
        for series in candidate.series:
            series.ttft_ms = [1.1 * value for value in series.ttft_ms]
    apart = components_of(pairs, POINTS, ALL, alike=False)
    same = components_of(planted(200, 8), POINTS, ALL)
    assert apart.pair_sd == pytest.approx(same.pair_sd, rel=0.02)
    assert apart.launch_sd == pytest.approx(same.launch_sd, rel=0.05)
    assert components_of(pairs, POINTS, ALL).pair_sd > 0.09


def test_a_launch_and_its_points_are_told_apart() -> None:
    """A launch's level scatters by its own and by what its points do, of which it is the mean."""
    how = {"pair": 0.0, "block": 0.0, "request": 0.05, "launch": 0.03, "launch_point": 0.04}
    for rounds in (8, 32):
        found = components_of(planted(800, rounds, **how), POINTS, ALL)
        assert found.launch_point_sd == pytest.approx(0.04, rel=0.05)
        level = np.sqrt(0.03**2 + 0.04**2 / len(POINTS))
        assert found.launch_sd == pytest.approx(level, rel=0.05)
        assert found.pair_sd == pytest.approx(np.sqrt(2) * level, rel=0.05)


def test_two_points_tell_what_points_do_in_a_launch_and_one_does_not() -> None:
    pairs = planted(400, 8, pair=0.0, block=0.0, request=0.05, launch_point=0.04)
    two = components_of(pairs, POINTS, np.arange(len(POINTS)) < 2)
    assert two.launch_point_sd == pytest.approx(0.04, rel=0.1)
    one = components_of(pairs, POINTS, np.arange(len(POINTS)) < 1)
    assert (one.launch_point_sd, one.launch_sd) == (None, None)


def test_of_one_version_the_mean_ratio_is_known_and_costs_nothing() -> None:
    """Two pairs that lie 10 % on the same side scatter by 10 %, and not by nothing."""
    pairs = planted(2, 8, pair=0.0, block=0.0, request=0.001)
    for candidate, _ in pairs:
        for series in candidate.series:
            series.ttft_ms = [1.1 * value for value in series.ttft_ms]
    found = components_of(pairs, POINTS, ALL)
    assert found.launch_sd == pytest.approx(np.log(1.1) / np.sqrt(2), rel=0.02)
    apart = components_of(pairs, POINTS, ALL, alike=False)
    assert apart.launch_sd < 0.005


def test_a_pair_of_one_round_hides_none_after_it() -> None:
    mixed = [*planted(1, 1), *planted(400, 6, seed=3)]
    assert components_of(mixed, POINTS, ALL).request_sd == pytest.approx(0.1, rel=0.05)


def by_hand(pairs, *, alike):
    """Of all points, by loops: a request, a block, a launch's point and a launch."""
    squares = common = df = blocks_df = size = 0.0
    means = []
    for pair in pairs:
        of_pair = []
        for made in pair:
            logs = {
                (block, point): np.log(ms)
                for point, series in enumerate(made.series)
                for block, ms in zip(series.block, series.ttft_ms, strict=True)
            }
            blocks = sorted({block for block, _ in logs})
            columns = [
                [logs.get((block, point)) for block in blocks] for point in range(len(POINTS))
            ]
            of_pair.append([np.mean([v for v in column if v is not None]) for column in columns])
            filled = [
                [
                    np.median([v for v in column if v is not None]) if v is None else v
                    for v in column
                ]
                for column in columns
            ]
            if len(blocks) < 2:
                continue
            for row in range(len(blocks)):
                beside = [column[row] - np.mean(column) for column in filled]
                common += np.mean(beside) ** 2
                squares += sum((one - np.mean(beside)) ** 2 for one in beside)
            df += (len(blocks) - 1) * (len(POINTS) - 1)
            blocks_df += len(blocks) - 1
            size += len(POINTS) * (len(blocks) - 1)
        means.append([a - b for a, b in zip(*of_pair, strict=True)])
    request = squares / df
    block = common / blocks_df - request * blocks_df / size
    levels = [np.mean(row) for row in means]
    stray = 0.0
    for point in range(len(POINTS)):
        of_point = np.mean([row[point] for row in means])
        for level, row in zip(levels, means, strict=True):
            stray += (row[point] - level - of_point + np.mean(levels)) ** 2
    stray /= (len(pairs) - 1) * (len(POINTS) - 1) * 2
    rounds = np.mean([len({*a.series[0].block, *b.series[0].block}) for a, b in pairs])
    open_ = [pair_figures(*pair, POINTS).covariance for pair in pairs]
    of_rounds = np.mean([np.mean(one) for one in open_ if one is not None])
    between = np.mean(np.square(levels)) if alike else np.var(levels, ddof=1)
    parts = request, block, stray - request / rounds, between / 2 - of_rounds / 2
    return [np.sqrt(max(0.0, part)) for part in parts]


@pytest.mark.parametrize("alike", [True, False])
def test_small_numbers_come_out_as_the_formulas_say(alike) -> None:
    """Four pairs, of one round and more; a sample is missing, and stands at its point's median."""
    how = {"pair": 0.2, "block": 0.1, "request": 0.03, "launch": 0.1, "launch_point": 0.1}
    pairs = [*planted(1, 1, **how), *planted(1, 2, seed=2, **how), *planted(2, 5, seed=4, **how)]
    lacking = pairs[2][0].series[3]
    for of in (lacking.ttft_ms, lacking.block):
        del of[1]
    found = components_of(pairs, POINTS, ALL, alike=alike)
    told = found.request_sd, found.block_sd, found.launch_point_sd, found.launch_sd
    expected = by_hand(pairs, alike=alike)
    assert min(expected) > 0.01
    assert told == pytest.approx(tuple(expected))


def test_a_side_without_a_sample_of_a_point_leaves_the_point_out_of_what_launches_do() -> None:
    pairs = planted(40, 6, launch_point=0.04, pair=0.0, block=0.0, request=0.01)
    for made in pairs[3]:
        made.series[2].ttft_ms.clear()
        made.series[2].block.clear()
    found = components_of(pairs, POINTS, ALL)
    assert found.launch_point_sd == pytest.approx(0.04, rel=0.2)
