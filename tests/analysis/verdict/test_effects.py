"""What is said of single points and ratios once the joint test has spoken."""

import numpy as np
import pytest

from append_prefill.analysis.verdict.comparison import compare
from append_prefill.analysis.verdict.effects import LOG_MAX, _ratio
from append_prefill.records.run import NoiseRecord
from tests.analysis.factory import POINTS, POLICY, starts_of

QUIET = NoiseRecord(starts=0, nights=0, start_sd=None, within_sd=None, night_sd=None, points=[])


def compared(effects, kind="side-by-side"):
    """Nine launches per side that scatter by 0.01 %, the candidate with `effects` (relative) on
    top."""
    rng = np.random.default_rng(3)
    a, b = (np.log(20) + 1e-4 * rng.normal(size=(9, len(POINTS))) for _ in range(2))
    return compare(
        starts_of(a + np.log1p(effects)),
        starts_of(b),
        policy=POLICY,
        noise=QUIET,
        kind=kind,
        reference_label="0.5.21",
        provenance="suite",
    )


# Every other point is 5 % slower (or faster), so the joint test rejects; min_effect is 1.5 %.
@pytest.mark.parametrize(
    ("others", "effect", "verdict"),
    [
        (0.05, 0.05, "regression"),
        (0.05, 0.016, "regression"),
        (0.05, 0.014, "pass"),  # beyond doubt, and not worth a name
        (0.05, 0.0, "pass"),
        (0.05, -0.1, "pass"),
        (-0.05, -0.05, "improvement"),
        (-0.05, -0.016, "improvement"),
        (-0.05, -0.014, "pass"),
        (0.0, 0.0, "pass"),
    ],
)
def test_a_point_is_named_by_an_effect_worth_a_name(others, effect, verdict):
    effects = np.full(len(POINTS), others)
    effects[4] = effect
    found = compared(effects)
    assert found.verdict == {0.05: "regression", -0.05: "improvement", 0.0: "pass"}[others]
    point = found.points[4]
    assert point.ratio == pytest.approx(1 + effect, abs=1e-3)
    assert point.verdict == verdict
    if effect:
        assert point.p < 0.001


def test_no_point_is_named_where_the_joint_test_does_not_reject():
    """Each at +2 %, each side's launches scattering by 4 % in common: no call, so no names."""
    rng = np.random.default_rng(6)
    a, b = (np.log(20) + 0.04 * rng.normal(size=(3, 1)) + np.zeros(len(POINTS)) for _ in range(2))
    found = compare(
        starts_of(a + 0.02),
        starts_of(b),
        policy=POLICY,
        noise=QUIET,
        kind="side-by-side",
        reference_label="0.5.21",
        provenance="suite",
    )
    assert found.verdict == "inconclusive"
    assert {p.verdict for p in found.points} == {"inconclusive"}


def test_a_ratio_beyond_all_measure_is_none():
    assert _ratio(0.0) == 1.0
    assert _ratio(LOG_MAX) == pytest.approx(1e9)
    for log in (1.001 * LOG_MAX, -1.001 * LOG_MAX, 1e6, float("inf")):
        assert _ratio(log) is None
