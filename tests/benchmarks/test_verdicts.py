"""The simulation behind the table of rules: it runs, and judges as `compare` does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from append_prefill.analysis.comparison import compare
from append_prefill.analysis.noise import noise_of
from append_prefill.analysis.summary import faster_half
from append_prefill.records.run import NoiseRecord
from append_prefill.workload.profile import load_profile
from benchmarks import verdicts
from tests.analysis.factory import starts_of


def test_the_table_has_every_rule_and_meets_the_goals_roughly() -> None:
    """100 nights of one seed: at most 4 false alarms, at least 85 caught (true: 0.5 and 96)."""
    table = verdicts.table(verdicts.quiet(), 100, 5, across=False)
    assert {"suite", "asv", "benchstat", "pytest-benchmark", "sglang monitor"} <= set(table)
    assert table["suite"]["none"] <= 4
    assert table["suite"]["floor +3 %"] >= 85
    assert table["benchstat"]["none"] > 20
    assert table["asv"]["floor +5 %"] <= 5


def test_the_batch_judges_as_compare_does() -> None:
    rng = np.random.default_rng(0)
    setting = verdicts.quiet()
    drawn = verdicts.draw(rng, setting, 12, 5, across=False)
    a = faster_half(drawn.candidate) + 0.025
    b = faster_half(drawn.reference)
    record = NoiseRecord(
        starts=20, nights=4, start_sd=0.01, within_sd=0.02, night_sd=0.01, points=[]
    )
    prior = verdicts.prior_of(record)
    batch = verdicts.suite(a, b, prior, setting, across=False)
    points = list(setting.points)
    one_by_one = [
        compare(
            starts_of(x, points),
            starts_of(y, points),
            policy=setting.profile.policy,
            noise=record,
            kind="side-by-side",
            reference_label="x",
            provenance="suite",
        ).verdict
        == "regression"
        for x, y in zip(a, b, strict=True)
    ]
    assert batch.tolist() == one_by_one
    assert 0 < sum(one_by_one) < 12


def test_mann_whitney_is_scipys() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(5, 20)), rng.normal(size=(5, 30))
    theirs = stats.mannwhitneyu(x, y, axis=-1, method="asymptotic").pvalue
    np.testing.assert_allclose(verdicts.mann_whitney(x, y), theirs)


def test_an_empty_record_says_what_it_lacks() -> None:
    with pytest.raises(SystemExit, match="nights: lacks start_sd"):
        verdicts.setting_of("cpu", noise_of([]), load_profile("cpu-nano"), Path("nights"))


def record_of_pairs(level_sd: float, ratio_sd: float) -> NoiseRecord:
    """Three A/A nights of five interleaved pairs at the points of the CPU's profile."""
    rng = np.random.default_rng(2)
    points = list(load_profile("cpu-nano").points)
    nights = []
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
            for side, figures in zip(("candidate", "reference"), sides, strict=True)
            for start in starts_of(figures, points)
        ]
        nights.append(pairs)
    return noise_of(nights).model_copy(update={"within_sd": 0.03})


def test_a_record_becomes_a_setting_of_alternating_pairs() -> None:
    record = record_of_pairs(0.10, 0.01)
    setting = verdicts.setting_of("cpu", record, load_profile("cpu-nano"), Path("nights"))
    assert setting.start_sd == record.start_sd
    assert setting.pair_sd == record.pair_sd
    assert setting.pair_sd < 0.02
    assert (setting.within_sd == 0.03).all()
    # The level's 10 % cancels in the pairs, so the promise is far below it.
    assert setting.promise < 0.05
    table = verdicts.table(setting, 100, 1, across=False)
    assert table["suite"]["none"] <= 4
    assert list(table["suite"].values())[-1] >= 85
    assert verdicts.table(setting, 20, 1, across=True)["suite"]["none"] <= 20


def test_a_loose_suspicion_sees_what_the_alarm_across_nights_does_not() -> None:
    table = verdicts.table(verdicts.quiet(), 200, 4, across=True)
    assert table["suite, suspects"]["floor +5 %"] >= 85
    assert table["suite"]["floor +5 %"] < 60
    assert table["suite, suspects"]["none"] <= 25


def test_the_h200s_noise_is_that_of_its_sample_run() -> None:
    setting = verdicts.h200()
    assert 0.02 < setting.pair_sd < 0.03
    # Launch-bound points scatter far more inside a start than those that compute.
    small = setting.within_sd[setting.tokens("m") <= 128].mean()
    large = setting.within_sd[setting.tokens("m") >= 512].mean()
    assert small > 2 * large
    table = verdicts.table(setting, 100, 1, across=False)
    assert table["suite"]["none"] <= 4
    assert table["suite"]["floor +10 %"] == 100
