"""The posterior over steps: what it holds for sure, and what it leaves open."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from append_prefill.analysis.bisection import path as module
from append_prefill.analysis.bisection.path import NARROWER, Compared, path_of

LEAST = float(np.log1p(0.015))


def test_nothing_compared_is_the_prior():
    path = path_of(5, [], least=LEAST)
    assert path.at == (0, 4)
    # One step is expected over four boundaries: none with (3/4)^4.
    assert path.chance([0]) == pytest.approx(1 - 0.75**4)


def test_a_path_needs_two_positions():
    with pytest.raises(ValueError, match="two positions, not 1"):
        path_of(1, [], least=LEAST)


def test_comparisons_of_different_pairs_add_up():
    """Nobody compared 1 with 2, and yet the step is there for sure."""
    seen = [Compared(0, 2, 0.05, 0.008), Compared(0, 1, 0.0, 0.008), Compared(2, 3, 0.0, 0.008)]
    path = path_of(4, seen, least=LEAST)
    assert path.chance([1]) > 0.99
    assert path.chance([0]) < 0.2
    assert path.chance([2]) < 0.2


def test_more_of_the_same_is_surer():
    one = [Compared(0, 1, 0.03, 0.012)]
    chances = [path_of(5, one * times, least=LEAST).chance([0]) for times in (1, 2, 4)]
    assert chances == sorted(chances)
    assert chances[0] < 0.9 < chances[2]


def test_a_step_in_a_gap_may_be_at_any_of_its_boundaries():
    wide = path_of(9, [Compared(0, 8, 0.06, 0.01)], least=LEAST, apart=[4])
    assert wide.lengths == [4, 4]
    assert wide.chance([0]) == pytest.approx(wide.chance([1]))
    assert wide.chance([0, 1]) > 0.99


def test_a_large_step_is_one_step_and_not_many():
    """x 4.7 between neighbours, which a prior of small steps would deny."""
    seen = [Compared(0, 3, 1.55, 0.01), Compared(1, 2, 1.55, 0.01)]
    path = path_of(4, seen, least=LEAST)
    assert path.chance([1]) > 0.999
    assert path.chance([0]) < 0.1
    mean = float(path.weight @ path.mean[:, 1])
    assert mean == pytest.approx(1.55, abs=0.03)


def test_the_window_gives_what_weighing_all_choices_gives(monkeypatch):
    rng = np.random.default_rng(4)
    levels = np.cumsum([0, 0.04, 0, 0, -0.03, 0, 0, 0.08, 0])
    pairs = itertools.pairwise(range(9))
    seen = [Compared(a, b, levels[b] - levels[a] + rng.normal(0, 0.01), 0.01) for a, b in pairs]
    whole = path_of(9, seen, least=LEAST)
    monkeypatch.setattr(module, "ENUMERATED", 3)
    part = path_of(9, seen, least=LEAST)
    assert len(part.holds) < len(whole.holds) == len(NARROWER) * 2**8
    for gap in range(8):
        assert part.chance([gap]) == pytest.approx(whole.chance([gap]), abs=0.005)
