"""The table of rules: every rule is in it, and the rates are about what longer runs gave."""

from __future__ import annotations

import pytest

from benchmarks.verdicts import peers
from benchmarks.verdicts.settings import h200, quiet
from benchmarks.verdicts.table import print_rules, print_table, table


def test_the_table_has_every_rule_and_meets_the_goals_roughly() -> None:
    """100 sessions of one seed: at most 4 false alarms, at least 85 caught (true: 0.5 and 96)."""
    asked = ("none", "floor +3 %", "floor +5 %")
    rates = table(quiet(), 100, 5, across=False, only=asked)
    assert tuple(rates["suite"]) == asked
    assert {"suite", "suite, no record", "suite, adaptive", *peers.RULES} <= set(rates)
    assert rates["suite"]["none"] <= 4
    assert rates["suite"]["floor +3 %"] >= 85
    assert rates["benchstat"]["none"] > 20
    assert rates["asv"]["floor +5 %"] <= 5


def test_a_loose_suspicion_sees_what_the_alarm_across_sessions_does_not() -> None:
    rates = table(quiet(), 200, 4, across=True, only=("none", "floor +5 %"))
    assert rates["suite, suspects"]["floor +5 %"] >= 85
    assert rates["suite"]["floor +5 %"] < 60
    assert rates["suite, suspects"]["none"] <= 25


def test_the_h200s_noise_is_that_of_its_sample_run() -> None:
    setting = h200()
    assert setting.pair_sd is not None
    assert 0.02 < setting.pair_sd < 0.03
    # Launch-bound points scatter far more inside a launch than those that compute.
    small = setting.within_sd[setting.tokens("m") <= 128].mean()
    large = setting.within_sd[setting.tokens("m") >= 512].mean()
    assert small > 2 * large


def test_the_rates_at_the_h200s_noise_are_about_what_longer_runs_gave() -> None:
    rates = table(h200(), 100, 1, across=False, only=("none", "floor +10 %"))
    assert rates["suite"]["none"] <= 4
    assert rates["suite"]["floor +10 %"] == 100


def test_a_table_of_two_seeds_shows_their_range(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"asv": {"none": 1.0}}, {"asv": {"none": 2.0}}])
    print_rules(["asv", "(launches per side it took)"])
    table_text, rules_text = capsys.readouterr().out.split("\n\n")
    assert table_text.splitlines()[-1] == "| none | 1.5 (1.0–2.0) |"
    assert rules_text.startswith("- asv: ")
    assert "factor 1.1" in rules_text
    assert rules_text.count("- ") == 1
