"""The bisections of the benchmark keep what the table promises, on few lists."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import bisect, packs


@pytest.fixture(scope="module")
def h100() -> bisect.Machine:
    file = packs.DATA / "h100-2026-11" / "placement-5.json.gz"
    return bisect.Machine.of("H100", file, "turns-sample", "llama-3.1-8b")


@pytest.mark.parametrize("name", bisect.SCENARIOS)
def test_steps_are_found_and_no_other(name: str, h100: bisect.Machine) -> None:
    rng, score = np.random.default_rng(7), bisect.Score()
    for _ in range(3):
        bisect.searched(bisect.Listed.drawn(name, rng), h100, rng, score)
    assert score.wrong == 0
    assert score.right == score.put_in == 3 * len(bisect.SCENARIOS[name])
    assert max(score.comparisons) < 20


def test_plain_bisection_names_one_boundary_whatever_there_is(h100: bisect.Machine) -> None:
    rng, score = np.random.default_rng(7), bisect.Score()
    bisect.halved(bisect.Listed({}, frozenset()), h100, rng, score, pairs=3)
    assert score.wrong == 1
    assert 4 <= score.comparisons[0] <= 5
