"""The servers of a search: one is looked over at any point, fresh ones leave their records."""

from __future__ import annotations

import numpy as np
import pytest

from append_prefill.analysis.cliffs.expected import GRID, design_points
from append_prefill.analysis.steps import Sizes
from append_prefill.records.store import read_starts
from append_prefill.run.cliffs.servers import WARM_EVERY, LocalServers
from append_prefill.run.cliffs.whole import requests_of
from append_prefill.run.options import Options
from append_prefill.run.resolve import resolve
from append_prefill.workload.any_point import searched
from append_prefill.workload.loading import load_profile
from append_prefill.workload.points import Point
from tests.conftest import TINY

POINTS = [Point(16, 64), Point(16, 65)]


def test_one_launch_is_looked_over_and_fresh_ones_confirm(tmp_path):
    sglang = "simulated:floor_ms=1,new_token_us=1,chunked-prefill-tokens=128"
    settings = resolve(Options(sglang=sglang, profile=str(TINY), seed=1), tmp_path)
    servers = LocalServers(settings, settings.devices[0], tmp_path)
    seen = {}

    def look(take, sizes):
        seen["sizes"] = sizes
        # More tokens than the pool holds are no matter: the cache is flushed in time.
        seen["ms"] = [take(Point(400, 200 + n)) for n in range(40)]

    servers.explore([Point(8, 8), Point(64, 64)], look)
    assert all(ms is not None and ms >= 1 for ms in seen["ms"])
    assert seen["sizes"].chunk_tokens == 128
    assert servers.launch_s > 0
    # What led somewhere is in no record of launches.
    assert read_starts(tmp_path) == []
    table = servers.fresh(POINTS, samples=2, launches=2)
    assert table.shape == (2, 2)
    assert np.isfinite(table).all()
    starts = read_starts(tmp_path)
    assert [start.pair for start in starts] == [1, 2]
    assert all({s.point for s in start.series} == set(POINTS) for start in starts)


PAIRS = """
[[traffic]]
id = "pairs"
title = "Three at once"
company = "together:3"
points = [[32, 32]]
argument = "The fewest of which one is in the middle, where only the path is tested."
"""


@pytest.mark.parametrize(
    ("name", "requests"),
    # Eight primes and eight appends; what decodes is primed as well, and a full prefill comes last.
    [(None, 2), ("turns", 2), ("together_8", 16), ("rate_40", 80), ("beside_4", 2 * 5 + 1)],
)
def test_what_a_sample_costs_is_counted_in_requests(name, requests):
    assert requests_of(searched(load_profile("cpu-nano"), name)[0]) == requests


@pytest.mark.parametrize("profile", ["cpu-nano", "llama-3.1-8b"])
def test_the_points_of_the_warm_up_are_over_both_axes(profile):
    warmed = design_points(load_profile(profile).limits)[::WARM_EVERY]
    assert len({point.context_tokens for point in warmed}) >= GRID - 1
    assert len({point.append_tokens for point in warmed}) >= GRID - 1


@pytest.mark.parametrize("name", ["pairs", "turns"])
def test_other_traffic_is_looked_over_and_confirmed_as_it_is_measured(tmp_path, name):
    profile = tmp_path / "company.toml"
    profile.write_text(TINY.read_text() + PAIRS)
    sglang = "simulated:floor_ms=1,new_token_us=1,chunked-prefill-tokens=128"
    settings = resolve(Options(sglang=sglang, profile=str(profile), seed=1), tmp_path)
    experiment, _ = searched(settings.profile, name)
    servers = LocalServers(settings, settings.devices[0], tmp_path, experiment)
    seen = {}

    def look(take, sizes):
        seen["sizes"] = sizes
        seen["ms"] = [take(Point(300, 100 + n)) for n in range(10)]
        if name == "pairs":
            seen["too-many"] = take(Point(2, 1_000_000))

    servers.explore([Point(16, 8), Point(64, 64)], look)
    assert all(ms is not None and ms >= 1 for ms in seen["ms"])
    if name == "pairs":
        # Three that share a chunk: what is one of its steps, no server tells.
        assert seen["sizes"] == Sizes()
        assert seen["too-many"] is None
    else:
        assert seen["sizes"].chunk_tokens == 128
    table = servers.fresh(POINTS, samples=40 if name == "pairs" else 3, launches=1)
    assert table.shape == (1, 2)
    assert np.isfinite(table).all()
    (start,) = read_starts(tmp_path)
    series = [one for one in start.traffic if one.point in POINTS]
    assert {one.traffic for one in series} == {experiment.traffic}
    assert {one.point for one in series} == set(POINTS)
    assert {len(set(one.block)) for one in series} == {13 if name == "pairs" else 3}
    assert start.series == []
