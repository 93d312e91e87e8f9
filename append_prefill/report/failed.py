"""What is said of a run that failed: what failed, or why nothing in it could be judged."""

from __future__ import annotations

from append_prefill.records.grounds import RunWarning
from append_prefill.records.run import Finding, Run
from append_prefill.report import format as fmt
from append_prefill.report.finding_reasons import finding_reason
from append_prefill.report.warnings import warning_words
from append_prefill.report.words import exit_meaning

_CHARACTERS = 240
_LACKING = ("no-pair", "left-out")
"""The grounds of what was asked for and could not be measured on this machine."""


def failed_words(run: Run, name: str) -> str:
    """The sentence of a run whose verdict is `infrastructure`; `name` is the candidate's."""
    failure = next((start.failure for start in run.starts if start.failure), None)
    cause = failure or _told(run) or _unjudged_words(run) or "no cause was recorded"
    if measured := sum(start.usable for start in run.starts):
        launches = fmt.plural(measured, "launch")
        return f"{launches} measured with {name}, nothing judged: {_first_line(cause)}."
    return f"Nothing valid was measured on {name}: {_first_line(cause)}."


def unjudged(run: Run) -> list[Finding]:
    """The findings of a run that failed by nothing but that none of them applies; else empty.

    Such a run is as red as one that failed, since it answers nothing, but nothing is broken. What
    this machine could not measure comes first, what was not asked for last.
    """
    if run.verdict != "infrastructure" or run.compared is not None or _told(run):
        return []
    if not any(start.usable for start in run.starts) or any(s.failure for s in run.starts):
        return []
    if any(finding.verdict != "not-applicable" for finding in run.findings):
        return []
    return sorted(run.findings, key=_rank)


def is_lacking(finding: Finding) -> bool:
    """Whether it does not apply because this machine could not measure what it needs."""
    return _rank(finding) == 0


def exit_words(run: Run) -> str:
    """Which exit status the run ended with, and what a CI job may conclude from it."""
    return exit_meaning("unjudged" if unjudged(run) else run.verdict)


def _rank(finding: Finding) -> int:
    code = "" if isinstance(finding.reason, str) else finding.reason.code
    return 0 if code in _LACKING else 2 if code == "not-planned" else 1


def _unjudged_words(run: Run) -> str | None:
    """Which findings do not apply, and why the first of them does not."""
    findings = unjudged(run)
    if not findings:
        return None
    rank = _rank(findings[0])
    if rank == 2:
        return "nothing to compare with, and no finding of what was measured"
    named = [finding.id for finding in findings if _rank(finding) == rank]
    verb = "does" if len(named) == 1 else "do"
    return f"{fmt.listed(named)} {verb} not apply: {finding_reason(findings[0])}"


def _told(run: Run) -> str | None:
    """What ended the run: in the words of the error that did, or what was cut off."""
    codes = ("infrastructure", "judging-failed")
    warnings = [w for w in run.warnings if isinstance(w, RunWarning)]
    told = [w.text for w in warnings if w.code in codes]
    told += [warning_words(w) for w in warnings if w.code == "pair-interrupted"]
    return next(iter(told), None)


def _first_line(text: str) -> str:
    first = text.strip().partition("\n")[0].rstrip(".")
    return fmt.shorten(first, _CHARACTERS) or "no cause"
