"""What the benchmark of alternating turns prints, and that it holds conversations both ways."""

import math
from pathlib import Path

import pytest

from append_prefill.workload.loading import load_profile
from benchmarks.turn_alternation import WAYS, lines, log_ratios, measure_pair, read, scatter

KEPT = Path(__file__).parents[2] / "benchmarks" / "data" / "turns-2026-11" / "alternation.json.gz"


def of_pair(pair, way, ratios):
    """Rounds of one turn in which side 1 takes that many times side 0."""
    return [{"pair": pair, "way": way, "first": 0, "ttft_ms": [[10.0], [10.0 * r]]} for r in ratios]


def test_scatter_is_within_pairs_and_not_between_them():
    rounds = of_pair(0, WAYS[0], [1.0, 1.02]) + of_pair(1, WAYS[0], [1.5, 1.53])
    sd, df = scatter(log_ratios(rounds, WAYS[0]))
    assert df == 2
    assert sd == pytest.approx(math.log(1.02) / math.sqrt(2))


def test_the_kept_rounds_say_what_the_documentation_quotes():
    assert lines(read(KEPT))[-1] == "one after the other scatters 1.75 times as far (1.31 to 2.35)"


def test_conversations_are_held_both_ways():
    rounds = measure_pair("simulated", load_profile("cpu-nano"), pair=3, rounds=4)
    assert [one["way"] for one in rounds] == [*WAYS, *WAYS]
    assert [one["first"] for one in rounds] == [0, 0, 1, 1]
    turns = {len(times) for one in rounds for times in one["ttft_ms"]}
    assert len(turns) == 1
    assert {one["pair"] for one in rounds} == {3}
