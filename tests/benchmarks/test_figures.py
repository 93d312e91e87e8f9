"""The scatter of a value over pairs, on arrays whose scatter is known."""

import numpy as np
import pytest

from benchmarks.figures import FIGURES, pairs_of, scatter
from tests.analysis.factory import POINTS, starts_of
from tests.records import builders


def test_level_and_points_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    shift = np.linspace(0.0, 0.5, 20)
    group = []
    for _ in range(400):
        ratio = -0.1 + shift + 0.03 * rng.normal() + 0.05 * rng.normal(size=20)
        group.append(([np.array([3.0 + r]) for r in ratio], [np.array([3.0])] * 20))
    for figure in FIGURES.values():
        level, points, mean = scatter([group], figure)
        # 0.03 and what 20 points at 0.05 leave in their mean.
        assert level == pytest.approx((0.03**2 + 0.05**2 / 20) ** 0.5, rel=0.1)
        assert points == pytest.approx(0.05, rel=0.05)
        assert mean == pytest.approx(0.15, abs=0.01)


def test_pairs_are_those_of_both_sides_at_common_points() -> None:
    run = builders.run()
    tables = {
        "candidate": np.full((3, len(POINTS)), 3.0),
        "reference": np.full((2, len(POINTS)), 2.9),
    }
    tables["candidate"][0, 0] = np.nan
    run.starts = [
        start.model_copy(update={"pair": start.index, "side": side})
        for side, table in tables.items()
        for start in starts_of(table)
    ]
    pairs = pairs_of(run)
    assert [len(a) for a, _ in pairs] == [len(POINTS) - 1] * 2
    assert float(pairs[0][0][0][0] - pairs[0][1][0][0]) == pytest.approx(0.1)
