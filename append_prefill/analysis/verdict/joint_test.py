"""The two sides as arrays without holes, and what the joint test makes of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from append_prefill.analysis.joint import Design, Joint, Part, Prior, design_of, estimate
from append_prefill.analysis.moderation import FloatArray, Spread, own_spread, paired_spread
from append_prefill.analysis.verdict.alarms import Alarm, alarm, passes
from append_prefill.records.grounds import ComparisonVerdict
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Policy


@dataclass(frozen=True, slots=True)
class Sides:
    """Log figures, shape (starts, points), without NaN; `points` are those of the joint test.

    `paired`: row k of both sides was measured together.
    """

    candidate: FloatArray
    reference: FloatArray
    points: tuple[Point, ...]
    paired: bool = False

    @property
    def per_start(self) -> float:
        """Variance of the difference of the sides' means, for a variance of 1 a start (or pair)."""
        if self.paired:
            return 1 / len(self.candidate)
        return 1 / len(self.candidate) + 1 / len(self.reference)

    @property
    def own_df(self) -> float:
        """Degrees of freedom that this run's own starts (or pairs) give."""
        pairs = len(self.candidate)
        return float(pairs - 1 if self.paired else pairs + len(self.reference) - 2)

    def spread(self, a: FloatArray, b: FloatArray) -> Spread:
        """Of the mean difference of figures a start, shapes (starts, k)."""
        return paired_spread(a, b) if self.paired else own_spread(a, b)


def complete(a: FloatArray, b: FloatArray) -> tuple[list[int], list[int], list[int]]:
    """Rows of `a`, rows of `b` and columns of both that are left when holes are cut out.

    The joint test needs every point of every start. The row or column with the largest share of
    NaN goes first, until none is left; columns before rows where shares are equal, a start being
    worth more than a point.
    """
    rows_a, rows_b = list(range(a.shape[0])), list(range(b.shape[0]))
    columns = list(range(a.shape[1]))
    while columns:
        holes_a = np.isnan(a[np.ix_(rows_a, columns)])
        holes_b = np.isnan(b[np.ix_(rows_b, columns)])
        if not holes_a.any() and not holes_b.any():
            break
        by_column = np.concatenate([holes_a, holes_b]).mean(axis=0)
        by_row = np.concatenate([holes_a, holes_b]).mean(axis=1)
        if by_column.max() >= by_row.max():
            del columns[int(by_column.argmax())]
        elif (worst := int(by_row.argmax())) < len(rows_a):
            del rows_a[worst]
        else:
            del rows_b[worst - len(rows_a)]
    return rows_a, rows_b, columns


@dataclass(frozen=True, slots=True)
class Judged:
    """What the joint test made of the sides."""

    joint: Joint
    design: Design
    slower: Alarm
    faster: Alarm
    verdict: ComparisonVerdict
    alpha: float

    @property
    def sign(self) -> int:
        return -1 if self.verdict == "improvement" else 1

    def part_verdict(self, rejected: bool, part: Part, must_catch: float) -> ComparisonVerdict:
        if rejected and self.verdict in {"regression", "improvement"}:
            return self.verdict
        upper = float(part.estimate[0] + part.spread.half_width()[0])
        return "pass" if upper < np.log1p(must_catch) else "inconclusive"


def joint_test(sides: Sides, prior: Prior, policy: Policy, alpha: float, *, nights: bool) -> Judged:
    design = design_of(sides.points)
    joint = estimate(
        sides.candidate, sides.reference, design, prior, nights=nights, paired=sides.paired
    )
    least = policy.min_effect
    slower = alarm(joint, design, alpha=alpha, min_effect=least, sign=1)
    faster = alarm(joint, design, alpha=alpha, min_effect=least, sign=-1)
    verdict: ComparisonVerdict
    if bool(slower.any):
        verdict = "regression"
    elif bool(faster.any):
        verdict = "improvement"
    elif bool(passes(joint, must_catch=policy.must_catch)):
        verdict = "pass"
    else:
        verdict = "inconclusive"
    return Judged(joint, design, slower, faster, verdict, alpha)
