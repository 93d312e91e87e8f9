"""A step within a launch is found where there is one, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

from append_prefill.analysis.moderation import FloatArray
from append_prefill.analysis.within import FALSE_RATE, step_in
from append_prefill.records.launch import Series, Start
from append_prefill.workload.points import Point
from tests.records import builders

POINTS = [Point(64, 8), Point(64, 64), Point(512, 8), Point(2048, 8)]


def launch(levels: list[float], seed: int = 0, noise: float = 0.02) -> Start:
    """One whose blocks are at these levels; points are far apart, and scatter by `noise`."""
    rng = np.random.default_rng(seed)
    count = len(levels)
    series = []
    for number, point in enumerate(POINTS):
        ttft = 10 * (number + 1) * np.array(levels) * np.exp(rng.normal(0, noise, count))
        series.append(
            Series(
                context_tokens=point.context_tokens,
                append_tokens=point.append_tokens,
                ttft_ms=ttft.tolist(),
                e2e_ms=(ttft + 1).tolist(),
                itl_ms=[None] * count,
                output_tokens=[2] * count,
                cached_tokens=[64] * count,
                block=list(range(count)),
            )
        )
    return builders.start(series=series)


@pytest.mark.parametrize("ratio", [2.0, 1.4, 0.6])
@pytest.mark.parametrize("block", [3, 6, 10])
def test_a_step_is_found_with_its_place_and_size(ratio: float, block: int) -> None:
    found = step_in(launch([1.0] * block + [ratio] * (13 - block)))
    assert found is not None
    assert found.block == block
    assert found.ratio == pytest.approx(ratio, rel=0.05)


def test_what_is_no_step_is_not_told() -> None:
    told = [step_in(launch([1.0] * 13, seed)) for seed in range(200)]
    assert told == [None] * 200
    # One slow block, as the neighbour's cron job makes, and a step that hosts have.
    assert step_in(launch([1.0] * 6 + [3.0] + [1.0] * 6)) is None
    assert step_in(launch([1.0] * 6 + [1.15] * 7)) is None


def test_too_few_blocks_tell_nothing() -> None:
    assert step_in(launch([1.0, 1.0, 2.0, 2.0, 2.0])) is None
    assert step_in(builders.start(series=[])) is None


def chance(levels: FloatArray) -> float:
    """Of the likeliest step, by the two-sample t test over all places where one may be."""
    cuts = range(3, len(levels) - 2)
    p = min(stats.ttest_ind(levels[:cut], levels[cut:]).pvalue for cut in cuts)
    return float(p * len(cuts))


@pytest.mark.parametrize(("of_the_rate", "told"), [(0.97, True), (1.03, False)])
@pytest.mark.parametrize("block", [3, 5, 7])
def test_a_step_is_told_where_it_is_no_chance(block: int, of_the_rate: float, told: bool) -> None:
    rough = np.random.default_rng(5).normal(0, 1, 11)
    step = np.where(np.arange(11) < block, 0.0, np.log(1.5))

    def beyond(sd: float) -> float:
        return np.log(chance(step + sd * rough)) - np.log(of_the_rate * FALSE_RATE)

    levels = step + optimize.brentq(beyond, 1e-4, 0.6) * rough
    assert (step_in(launch(np.exp(levels).tolist(), noise=0.0)) is not None) is told


def test_a_step_between_blocks_that_do_not_scatter_is_sure() -> None:
    found = step_in(launch([1.0] * 4 + [1.5] * 4, noise=0.0))
    assert found is not None
    assert (found.block, found.ratio) == (4, pytest.approx(1.5))


def test_two_blocks_are_no_side_of_a_step() -> None:
    found = step_in(launch([1.0] * 8 + [2.0] * 2, noise=0.0))
    assert found is None or found.block <= 7


def test_a_point_that_some_blocks_lack_makes_no_step() -> None:
    """Its own level is another one than that of the rest."""
    start = launch([1.0] * 13, noise=0.01)
    for series in start.series[2:]:
        for name in ("ttft_ms", "e2e_ms", "itl_ms", "output_tokens", "cached_tokens", "block"):
            setattr(series, name, getattr(series, name)[6:])
    assert step_in(start) is None
