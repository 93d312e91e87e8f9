"""The run's verdict: the worst of its findings and its comparison."""

from __future__ import annotations

from collections.abc import Sequence

from append_prefill.records.comparison import Comparison
from append_prefill.records.run import Finding, RunVerdict
from append_prefill.records.traffic import TrafficMean, TrafficResult

ORDER: tuple[RunVerdict, ...] = (
    "infrastructure",
    "regression",
    "broken",
    "inconclusive",
    "not-comparable",
    "improvement",
    "pass",
)
"""Worst first. A run without anything judged is `infrastructure`: measuring nothing is red.

`regression` before `broken`, as it names a change and not only a state. `not-comparable` after
`inconclusive`, as no more launches would help it. A regime shift is news, not a fault: it counts as
an improvement, for by its definition something got faster and nothing slower. One that stands since
the reference is not even news, and leaves the verdict to the comparison.
"""


def worst(verdicts: Sequence[RunVerdict]) -> RunVerdict:
    """The first in `ORDER` of those given; `infrastructure` for none."""
    return min(verdicts, key=ORDER.index, default="infrastructure")


def run_verdict(
    findings: Sequence[Finding],
    comparison: Comparison | None,
    traffic: Sequence[TrafficResult] = (),
    mean: TrafficMean | None = None,
) -> RunVerdict:
    """Worst of all that was judged; findings that do not apply are left out.

    A comparison with the study's table counts only where nothing else was judged: one value a
    point can never reach a verdict, and would hold every run at `inconclusive` for ever.
    """
    verdicts: list[RunVerdict] = []
    for finding in findings:
        match finding.verdict:
            case "broken":
                verdicts.append("broken")
            case "inconclusive":
                verdicts.append("inconclusive")
            case "regime-shift":
                verdicts.append("pass" if finding.standing else "improvement")
            case "holds":
                verdicts.append("pass")
    if comparison is not None and (comparison.provenance != "study" or not verdicts):
        verdicts.append(comparison.verdict)
    verdicts += [t.comparison.verdict for t in traffic if t.comparison is not None]
    if mean is not None and mean.verdict in ("regression", "improvement"):
        verdicts.append(mean.verdict)
    return worst(verdicts)
