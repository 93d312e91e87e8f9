"""What a verdict means for a test: pass, fail, or skip with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from append_prefill.records.comparison import Comparison
from append_prefill.records.grounds import ComparisonVerdict
from append_prefill.records.run import Finding
from append_prefill.records.traffic import TrafficMean
from append_prefill.report.finding_reasons import finding_reason
from append_prefill.report.format import plural
from append_prefill.report.reasons import comparison_reason
from append_prefill.report.traffic_sentence import mean_words
from append_prefill.workload.points import Point


@dataclass(frozen=True, slots=True)
class Outcome:
    """A test's outcome; `text` is empty for a pass."""

    kind: Literal["pass", "fail", "skip"]
    text: str = ""


PASS = Outcome("pass")

NOTHING = (
    "nothing to compare with: no stored run of this machine fits (--save-baseline stores one) and "
    "no second version was measured (--against)"
)


def settle_finding(finding: Finding, *, strict: bool) -> Outcome:
    """The outcome of a finding: broken fails; what cannot be told is skipped, or fails if strict.

    A regime shift passes: the claim no longer describes the server because the server got faster,
    now or before the reference was measured.
    """
    if finding.verdict == "broken":
        return Outcome("fail", f"{finding.claim}: {finding_reason(finding)}")
    if finding.verdict == "inconclusive":
        text = f"inconclusive: {finding.id}: {finding_reason(finding)}"
        return Outcome("fail" if strict else "skip", text)
    if finding.verdict == "not-applicable":
        return Outcome("skip", f"not applicable: {finding.id}: {finding_reason(finding)}")
    return PASS


def settle_comparison(
    comparison: Comparison | None, point: Point | None, *, strict: bool
) -> Outcome:
    """The outcome of the comparison as a whole (`point` None) or at one point.

    What is the same for many points is said in the same words: pytest's summary folds skips of one
    reason into a line, and the verdict is not buried under dozens. What tells points apart is in
    the report, and with each test in the JUnit file.
    """
    if comparison is None:
        return Outcome("skip", NOTHING)
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
            return Outcome("skip", "not compared: the point was not measured on both sides")
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
        if strict and not settled:
            return Outcome("fail", f"inconclusive: {text}")
        return Outcome("skip", f"inconclusive: {text if point is None else _undecided(comparison)}")
    return PASS


def settle_mean(mean: TrafficMean | None) -> Outcome:
    """The outcome of all experiments in other traffic together: only a regression fails.

    That nothing can hide is promised of each experiment, by its own test; so is strictness.
    """
    if mean is None:
        return Outcome(
            "skip", "other traffic as a whole: fewer than two were measured side by side"
        )
    if mean.verdict == "regression":
        return Outcome("fail", f"regression: other traffic as a whole. {mean_words(mean)}")
    return PASS


def _undecided(comparison: Comparison) -> str:
    """One text for all points that stay undecided."""
    count = sum(effect.verdict == "inconclusive" for effect in comparison.points)
    return (
        f"{count} of {plural(len(comparison.points), 'point')} taken alone, in a comparison that "
        f"is as a whole: {comparison.verdict}"
    )
