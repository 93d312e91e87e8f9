"""What a verdict means for a test: pass, fail, or skip with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from append_prefill.records.grounds import ComparisonVerdict
from append_prefill.records.run import Comparison, Finding
from append_prefill.report.reasons import comparison_reason, finding_reason
from append_prefill.workload.points import Point


@dataclass(frozen=True, slots=True)
class Outcome:
    """A test's outcome; `text` is empty for a pass."""

    kind: Literal["pass", "fail", "skip"]
    text: str = ""


PASS = Outcome("pass")


def settle_finding(finding: Finding, *, strict: bool) -> Outcome:
    """The outcome of a finding: broken fails; what cannot be told is skipped, or fails if strict.

    A regime shift passes: the claim no longer describes the server because the server got faster,
    now or before the reference was measured.
    """
    if finding.verdict == "broken":
        return Outcome("fail", f"{finding.claim}: {finding_reason(finding)}")
    if finding.verdict == "inconclusive":
        return Outcome("fail" if strict else "skip", f"inconclusive: {finding_reason(finding)}")
    if finding.verdict == "not-applicable":
        return Outcome("skip", f"not applicable: {finding_reason(finding)}")
    return PASS


def settle_comparison(
    comparison: Comparison | None, point: Point | None, *, strict: bool
) -> Outcome:
    """The outcome of the comparison as a whole (`point` None) or at one point."""
    if comparison is None:
        return Outcome("skip", "nothing to compare with: no baseline fits and no --against")
    if comparison.provenance == "study":
        # One value a point can never reach a verdict: strictness cannot ask for one.
        return Outcome("skip", comparison_reason(comparison))
    if comparison.verdict == "not-comparable":
        return Outcome(
            "fail" if strict else "skip", f"not comparable: {comparison_reason(comparison)}"
        )
    verdict: ComparisonVerdict
    if point is None:
        verdict, text = comparison.verdict, comparison_reason(comparison)
    else:
        effect = next((e for e in comparison.points if e.point == point), None)
        if effect is None:
            return Outcome("skip", f"{point.label} was not measured on both sides")
        verdict = effect.verdict
        ratio = "unknown" if effect.ratio is None else f"{effect.ratio:.3f}"
        spread = (
            ""
            if effect.low is None or effect.high is None
            else f" (95 % interval {effect.low:.3f} to {effect.high:.3f})"
        )
        text = f"{point.label}: TTFT is {ratio} times that of {comparison.reference}{spread}"
    if verdict == "regression":
        return Outcome("fail", f"regression: {text}")
    if verdict == "inconclusive":
        # A pass promises the surface, not each point: a point may stay undecided under it.
        settled = point is not None and comparison.verdict in ("pass", "improvement")
        return Outcome("fail" if strict and not settled else "skip", f"inconclusive: {text}")
    return PASS
