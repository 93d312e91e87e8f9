"""The noise that is simulated: read off records, refused where they lack something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from append_prefill.analysis.noise import noise_of
from append_prefill.records.noise import NoiseRecord, PairComponents
from append_prefill.workload.loading import load_profile
from benchmarks.verdicts.settings import setting_of
from benchmarks.verdicts.table import table
from tests.analysis.factory import starts_of


def test_an_empty_record_says_what_it_lacks() -> None:
    with pytest.raises(SystemExit, match="nights: lacks start_sd"):
        setting_of("cpu", noise_of([]), load_profile("cpu-nano"), Path("nights"))


def record_of_pairs(level_sd: float, ratio_sd: float) -> NoiseRecord:
    """Three A/A sessions of five interleaved pairs at the points of the CPU's profile."""
    rng = np.random.default_rng(2)
    points = list(load_profile("cpu-nano").points)
    sessions = []
    for _ in range(3):
        shared = 3 + level_sd * rng.normal(size=(5, 1))
        sides = [
            shared
            + ratio_sd / np.sqrt(2) * rng.normal(size=(5, 1))
            + 0.02 * rng.normal(size=(5, len(points)))
            for _ in range(2)
        ]
        pairs = [
            start.model_copy(update={"interleaved": True, "pair": start.index, "side": side})
            for side, log_ms in zip(("candidate", "reference"), sides, strict=True)
            for start in starts_of(log_ms, points)
        ]
        sessions.append(pairs)
    return noise_of(sessions).model_copy(update={"within_sd": 0.03})


def test_a_record_becomes_a_setting_of_alternating_pairs() -> None:
    record = record_of_pairs(0.10, 0.01)
    setting = setting_of("cpu", record, load_profile("cpu-nano"), Path("nights"))
    assert setting.start_sd == record.start_sd
    assert setting.pair_sd == record.pair_sd
    assert setting.pair_sd is not None
    assert setting.pair_sd < 0.02
    assert (setting.within_sd == 0.03).all()
    # What rounds scatter by in common comes back, less what the points' own scatter makes again.
    known = {"request_sd": 0.1, "block_sd": 0.1, "launch_point_sd": 0.0, "launch_sd": 0.0}
    parts = PairComponents(**known, round_sd=0.2, pair_sd=record.pair_sd)
    rounds = record.model_copy(update={"components": parts, "rounds": 16.0})
    loud = setting_of("cpu", rounds, load_profile("cpu-nano"), Path("nights"))
    assert record.pair_sd < loud.pair_sd < np.hypot(record.pair_sd, 0.2 / 4)
    assert loud.pair_sd == pytest.approx(np.hypot(record.pair_sd, 0.2 / 4), rel=0.05)
    # The level's 10 % cancels in the pairs, so the promise is far below it.
    assert setting.promise < 0.05
    none, promised = table(setting, 100, 1, across=False, only=("none", "floor at"))[
        "suite"
    ].values()
    assert none <= 4
    assert promised >= 85
    assert table(setting, 20, 1, across=True, only=("none",))["suite"]["none"] <= 20
