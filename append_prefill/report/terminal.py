"""The few lines a run leaves on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from append_prefill.records.run import Comparison, Finding, Run
from append_prefill.report import format as fmt
from append_prefill.report.names import reference_name
from append_prefill.report.reasons import comparison_reason, warning_words
from append_prefill.report.sentence import comparison_sentence
from append_prefill.report.spent import spent_words
from append_prefill.report.words import shared_note


def header_lines(
    outlook: Mapping[str, Any],
    *,
    candidate: str,
    reference: str | None,
    device: str,
    detects: float | None,
) -> list[str]:
    """What a run will do. `outlook` is `run.outlook.outlook_of`'s; `reference` None: there is none.

    `detects` is the relative effect on the overall level that the plan can tell, None if unknown.
    """
    against = "nothing to compare with" if reference is None else f"against {reference}"
    per_side = " per side" if len(outlook["sides"]) > 1 else ""
    points = len(outlook["points"])
    launches = fmt.plural(outlook["starts"], "server launch")
    plan = (
        f"{fmt.plural(points, 'point')} × {launches}{per_side} × "
        f"{fmt.plural(outlook['samples'], 'sample')}, all experiments"
    )
    minutes = (
        f"about {fmt.number(outlook['minutes'], 2)} minutes ({outlook['minutes_from']}), budget "
        f"{fmt.exact(outlook['budget_minutes'])}"
    )
    lines = [
        f"append-prefill: candidate {candidate}, {against}; {device}; profile {outlook['profile']}",
        f"append-prefill: {plan}; {minutes}",
    ]
    if reference is not None:
        effect = "cannot tell" if detects is None else f"+{fmt.share(detects)} and more"
        lines.append(
            f"append-prefill: detectable effect on the overall level: {effect} "
            f"({outlook['noise_from']})"
        )
    return lines


def summary_lines(run: Run, folder: Path, problem: str | None) -> list[str]:
    """Verdict, what broke, what the comparison found, and where the report is."""
    lines = [f"verdict: {(run.verdict or 'not judged').upper()}"]
    if problem is not None:
        lines.append(problem)
    lines += [_finding_line(f) for f in run.findings]
    if run.comparison is not None:
        lines += _comparison_lines(run.comparison, run)
    spent = spent_words(run)
    if spent is not None:
        lines.append(spent)
    lines += [
        f"warning: {warning_words(w)}"
        for w in run.warnings
        if isinstance(w, str) or w.code not in ("infrastructure", "judging-failed")
    ]
    lines.append(f"report: {folder / 'report.html'}")
    return lines


def _finding_line(finding: Finding) -> str:
    value = _figure(finding.measured)
    spread = (
        ""
        if finding.low is None or finding.high is None
        else f" [{_figure(finding.low)}, {_figure(finding.high)}]"
    )
    bound = "" if finding.bound is None else f" (bound {_figure(finding.bound)})"
    return f"  {finding.verdict:<15} {finding.id}: {value}{spread}{bound}"


def _comparison_lines(comparison: Comparison, run: Run) -> list[str]:
    said = comparison_sentence(run, comparison).plain.replace("\u00a0", " ")
    lines = [
        f"against {reference_name(comparison, run)} ({comparison.kind}): {comparison.verdict}. "
        f"{said}",
        f"  {comparison_reason(comparison)}",
    ]
    if note := shared_note(comparison):
        lines.append(f"  {note}")
    return lines


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
