"""What the joint test makes of the two sides: one gate for all that is called slower or faster."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from append_prefill.analysis.design import Design, design_of
from append_prefill.analysis.estimator import Part
from append_prefill.analysis.joint import Joint, estimate
from append_prefill.analysis.moderation import FloatArray
from append_prefill.analysis.prior import Prior
from append_prefill.analysis.summary import CONFIDENCE
from append_prefill.analysis.verdict.alarms import Alarm, alarm, passes
from append_prefill.analysis.verdict.sides import Sides
from append_prefill.records.grounds import ComparisonVerdict
from append_prefill.workload.policy import Plane, Policy


@dataclass(frozen=True, slots=True)
class Judged:
    """What the joint test made of the sides."""

    joint: Joint
    design: Design
    slower: Alarm
    faster: Alarm
    verdict: ComparisonVerdict
    alpha: float
    pass_confidence: float = CONFIDENCE

    @property
    def sign(self) -> int:
        return -1 if self.verdict == "improvement" else 1

    def part_verdict(self, rejected: bool, part: Part, must_catch: float) -> ComparisonVerdict:
        if rejected and self.verdict in {"regression", "improvement"}:
            return self.verdict
        upper = float(part.estimate[0] + part.spread.half_width(self.pass_confidence)[0])
        return "pass" if upper < np.log1p(must_catch) else "inconclusive"


def joint_test(
    sides: Sides,
    prior: Prior,
    policy: Policy,
    alpha: float,
    *,
    nights: bool,
    plane: Plane,
    times_ms: FloatArray,
    pass_confidence: float = CONFIDENCE,
    hold_rate: float = 0.0,
    alpha_faster: float | None = None,
) -> Judged:
    """The joint test of both sides in both directions; `times_ms` is the reference's TTFT by point.

    `pass_confidence`: of the two-sided intervals that a pass rests on; `alpha_faster`: the rate at
    which it is called faster, by default `alpha`.
    """
    design = design_of(sides.points, plane)
    joint = estimate(
        sides.candidate,
        sides.reference,
        design,
        prior,
        nights=nights,
        paired=sides.paired,
        within=sides.within,
        times_ms=times_ms,
    )
    least = policy.min_effect
    slower = alarm(joint, design, alpha=alpha, min_effect=least, sign=1)
    faster = alarm(joint, design, alpha=alpha_faster or alpha, min_effect=least, sign=-1)
    verdict: ComparisonVerdict
    if bool(slower.any):
        verdict = "regression"
    elif bool(faster.any):
        verdict = "improvement"
    elif bool(
        passes(joint, must_catch=policy.must_catch, confidence=pass_confidence, hold_rate=hold_rate)
    ):
        verdict = "pass"
    else:
        verdict = "inconclusive"
    return Judged(joint, design, slower, faster, verdict, alpha, pass_confidence)
