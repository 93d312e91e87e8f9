"""What the parts' alarms make of a whole: the verdict, its direction, and that of a part."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from append_prefill.analysis.design import design_of
from append_prefill.analysis.estimator import Part
from append_prefill.analysis.moderation import Spread
from append_prefill.analysis.prior import prior_of
from append_prefill.analysis.verdict import joint_test as module
from append_prefill.analysis.verdict.joint_test import Judged, joint_test
from append_prefill.analysis.verdict.sides import Sides
from append_prefill.records.grounds import ComparisonVerdict
from append_prefill.workload.policy import Plane
from tests.analysis.factory import NOISE, POINTS, POLICY

TABLE = np.random.default_rng(1).normal(size=(3, len(POINTS)))
WITHIN = np.eye(len(POINTS))
SIDES = Sides(TABLE + 1, TABLE, TABLE, TABLE, tuple(POINTS), True, True, WITHIN, 0, 0)
PLANE = Plane(floor_append_tokens=308, argument="Of the profile these points are of.")
TIMES = np.full(len(POINTS), 20.0)


@pytest.mark.parametrize(
    ("slower", "faster", "passes", "verdict"),
    [
        (True, True, True, "regression"),
        (True, False, False, "regression"),
        (False, True, True, "improvement"),
        (False, False, True, "pass"),
        (False, False, False, "inconclusive"),
    ],
)
def test_slower_counts_before_faster_and_both_before_a_pass(
    monkeypatch: pytest.MonkeyPatch, slower: bool, faster: bool, passes: bool, verdict: str
) -> None:
    """Each step is given what the caller gave, once in each direction."""
    joint, prior, asked = SimpleNamespace(), prior_of(NOISE), []

    def estimate(*arguments: Any, **options: Any) -> SimpleNamespace:
        asked.append((arguments, options))
        return joint

    def alarm(*arguments: Any, sign: int, **options: Any) -> SimpleNamespace:
        asked.append((arguments, options))
        return SimpleNamespace(any=np.array({1: slower, -1: faster}[sign]), sign=sign)

    def passed(*arguments: Any, **options: Any) -> np.ndarray:
        asked.append((arguments, options))
        return np.array(passes)

    monkeypatch.setattr(module, "estimate", estimate)
    monkeypatch.setattr(module, "alarm", alarm)
    monkeypatch.setattr(module, "passes", passed)
    judged = joint_test(
        SIDES,
        prior,
        POLICY,
        0.004,
        nights=False,
        plane=PLANE,
        times_ms=TIMES,
        pass_confidence=0.9,
        hold_rate=0.2,
    )
    assert (judged.verdict, judged.alpha, judged.joint) == (verdict, 0.004, joint)
    assert judged.pass_confidence == 0.9
    assert (judged.slower.sign, judged.faster.sign) == (1, -1)
    design = judged.design
    assert design.points == tuple(POINTS)
    assert set(design.strata) == {"floor", "compute"}
    (a, b, *rest), options = asked[0]
    assert a is SIDES.candidate
    assert b is SIDES.reference
    assert rest == [design, prior]
    assert options.pop("within") is WITHIN
    assert options.pop("times_ms") is TIMES
    assert options == {"nights": False, "paired": True}
    once = ((joint, design), {"alpha": 0.004, "min_effect": 0.015})
    assert asked[1:3] == [once, once]
    last = ((joint,), {"must_catch": 0.03, "confidence": 0.9, "hold_rate": 0.2})
    assert asked[3:] == [last] * (not slower and not faster)


def test_a_pass_rests_on_95_per_cent_unless_told_otherwise() -> None:
    found = joint_test(
        SIDES, prior_of(NOISE), POLICY, 0.004, nights=False, plane=PLANE, times_ms=TIMES
    )
    assert found.pass_confidence == 0.95


def test_no_point_holds_a_pass_back_unless_a_rate_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def passed(*_: Any, **options: Any) -> np.ndarray:
        asked.update(options)
        return np.array(True)

    monkeypatch.setattr(module, "passes", passed)
    same = Sides(TABLE, TABLE, TABLE, TABLE, tuple(POINTS), True, True, WITHIN, 0, 0)
    joint_test(same, prior_of(NOISE), POLICY, 0.004, nights=False, plane=PLANE, times_ms=TIMES)
    assert asked["hold_rate"] == 0.0


def judged(verdict: ComparisonVerdict, confidence: float = 0.95) -> Judged:
    nothing: Any = SimpleNamespace()
    return Judged(nothing, design_of(POINTS), nothing, nothing, verdict, 0.01, confidence)


def part(upper: float) -> Part:
    """No effect, with a 95 % interval that ends at `upper`."""
    half = float(stats.t.ppf(0.975, 8))
    return Part(np.zeros(1), Spread(np.array([(upper / half) ** 2]), np.full(1, 8.0)))


@pytest.mark.parametrize(
    ("verdict", "rejected", "upper", "said"),
    [
        ("regression", True, 0.001, "regression"),
        ("improvement", True, 0.001, "improvement"),
        # Where the whole was taken back to undecided, no part is named.
        ("inconclusive", True, 0.04, "inconclusive"),
        ("inconclusive", True, 0.001, "pass"),
        ("regression", False, 0.04, "inconclusive"),
        ("regression", False, 0.001, "pass"),
        ("pass", False, 0.999 * np.log(1.03), "pass"),
        ("pass", False, 1.001 * np.log(1.03), "inconclusive"),
    ],
)
def test_a_part_is_named_where_it_rejects_and_passes_where_nothing_hides(
    verdict, rejected, upper, said
) -> None:
    assert judged(verdict).part_verdict(rejected, part(upper), 0.03) == said


def test_a_part_passes_at_the_confidence_of_the_whole() -> None:
    made = part(0.999 * np.log(1.03))
    assert judged("pass", 0.95).part_verdict(False, made, 0.03) == "pass"
    assert judged("pass", 0.951).part_verdict(False, made, 0.03) == "inconclusive"


def test_a_part_at_what_must_be_caught_does_not_pass() -> None:
    """An interval of no width ends exactly there."""
    at = Part(np.full(1, np.log1p(0.03)), Spread(np.zeros(1), np.full(1, 8.0)))
    assert judged("pass").part_verdict(False, at, 0.03) == "inconclusive"


def test_the_sign_is_of_the_direction_that_is_named() -> None:
    signs = {verdict: judged(verdict).sign for verdict in ("regression", "improvement", "pass")}
    assert signs == {"regression": 1, "improvement": -1, "pass": 1}
