"""Stored runs of real SGLang on a CPU as references: few of them, and every one ends in a verdict.

The suite's A/A sessions (benchmarks/nights_cpu.json), the k before a session as its rolling
reference. With two, 9 of 14 comparisons were beyond a float.
"""

import pytest

from append_prefill.analysis.noise import noise_of
from append_prefill.records.comparison import Comparison
from append_prefill.report.reasons import comparison_reason
from append_prefill.run.comparing import compare_references
from append_prefill.run.references import References
from benchmarks import nights as real_nights
from tests.records import builders

PROFILE = real_nights.profile()
FIRST = 6  # of the twenty sessions, the first with enough before it


@pytest.fixture(scope="module")
def nights():
    packed = real_nights.every(real_nights.load(PROFILE.plan.samples))
    return [
        [
            real_nights._start(index, "candidate", pair[0], PROFILE.points)
            for index, pair in enumerate(night)
        ]
        for night in packed
    ]


@pytest.mark.parametrize(("count", "step"), [(2, 2), (3, 4), (5, 4)])
def test_a_rolling_reference_of_few_nights_ends_in_a_verdict(nights, count, step):
    for at in range(FIRST, len(nights), step):
        run, past = builders.run(), nights[at - count : at]
        run.starts = nights[at]
        rolling = run.model_copy(
            update={"starts": [s for night in past for s in night], "noise": noise_of(past)}
        )
        (comparison,) = compare_references(
            run, PROFILE, References(rolling=rolling), replicable=True
        )
        # Sessions of one version, and far too few to tell 3 %.
        assert comparison.verdict == "inconclusive"
        assert comparison.role == "rolling"
        assert all(p.p is not None and p.ratio is not None for p in comparison.points)
        few = comparison.mde is None or comparison.mde > 1
        told = "nothing below a doubling" if few else f"{100 * comparison.mde:.0f} %"
        assert f"detectable is {told}" in comparison_reason(comparison)
        # Writing it is what a NaN or an infinity would break.
        text = comparison.model_dump_json()
        assert Comparison.model_validate_json(text) == comparison
