"""The servers of a search: one is looked over at any point, fresh ones leave their records."""

from __future__ import annotations

import numpy as np

from append_prefill.records.store import read_starts
from append_prefill.run.cliffs.servers import LocalServers
from append_prefill.run.options import Options
from append_prefill.run.resolve import resolve
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
