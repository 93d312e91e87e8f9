"""A step within a launch is found where there is one, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from append_prefill.analysis.within import step_in
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
