"""The few lines a run leaves on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from append_prefill.records.comparison import Comparison
from append_prefill.records.run import Finding, Run
from append_prefill.report import format as fmt
from append_prefill.report.cliffs import kept_line
from append_prefill.report.confirmation import confirms_lines
from append_prefill.report.headline import headline_of
from append_prefill.report.invalid import invalid_words
from append_prefill.report.names import kind_words, reference_name
from append_prefill.report.next_step import Program, next_steps_of
from append_prefill.report.pd_pair import pair_lines
from append_prefill.report.reasons import comparison_reason
from append_prefill.report.sentence import comparison_sentence
from append_prefill.report.spent import spent_words
from append_prefill.report.traffic_sentence import mean_words
from append_prefill.report.traffic_tables import TrafficRow, traffic_rows
from append_prefill.report.warnings import warning_words
from append_prefill.report.words import shared_note

HARDLY_TELLS = 2.0
"""A stored run hardly tells where it takes twice the effect that the same launches would show side
by side: to make up for that takes four times the launches, and a second environment takes none."""


def header_lines(
    outlook: Mapping[str, Any],
    *,
    candidate: str,
    reference: str | None,
    nothing: str = "nothing to compare with",
    device: str,
    detects: float | None,
    quick: bool = False,
    beside: str | None = None,
) -> list[str]:
    """What a run will do. `outlook` is `run.outlook.outlook_of`'s.

    `reference` None: there is none, in the words of `nothing`. `detects` is the relative effect on
    the overall level that the plan can tell, None if unknown. `beside`: the command of this run
    with the reference side by side, where it is a stored one.
    """
    against = nothing if reference is None else f"against {reference}"
    per_side = " per side" if len(outlook["sides"]) > 1 else ""
    points = len(outlook["points"])
    launches = fmt.plural(outlook["starts"], "server launch")
    plan = (
        f"{fmt.plural(points, 'point')} × {launches}{per_side} × "
        f"{fmt.plural(outlook['samples'], 'sample')}, {'quick' if quick else 'all experiments'}"
    )
    minutes = (
        f"about {fmt.number(outlook['minutes'], 2)} minutes ({outlook['minutes_from']}), budget "
        f"{fmt.exact(outlook['budget_minutes'])}"
    )
    lines = [
        f"append-prefill: candidate {candidate}, {against}; {device}; profile {outlook['profile']}",
        f"append-prefill: {plan}; {minutes}",
    ]
    if outlook["traffic"]:
        lines.append(f"append-prefill: other traffic: {planned_traffic(outlook['traffic'])}")
    if reference is None:
        if quick:
            lines.append(
                "append-prefill: what it can see: findings far from their bounds; no change, since "
                "nothing is compared"
            )
        return lines
    effect = "cannot tell" if detects is None else f"{fmt.slowdown(detects)} and more"
    lines.append(
        f"append-prefill: detectable effect on the overall level: {effect} "
        f"({outlook['noise_from']})"
    )
    if beside is not None and hardly_tells(outlook):
        both = outlook["mde_side_by_side"]
        seen = "" if both is None else f" (+{fmt.share(both)} and more)"
        lines.append(
            "append-prefill: sessions differ more than versions do here, so a stored run can "
            f"hardly tell; side by side tells more{seen}: {beside}"
        )
    return lines


def planned_traffic(planned: Sequence[Mapping[str, Any]]) -> str:
    """`outlook["traffic"]` in words: "turns (conversation, …), 5 samples in every 3rd block"."""
    return "; ".join(
        f"{one['experiment']} ({one['words']}), {fmt.plural(one['samples'], 'sample')} in "
        f"{_every(one['every'])}"
        for one in planned
    )


def _every(blocks: int) -> str:
    ordinal = {1: "", 2: "other ", 3: "3rd "}.get(blocks, f"{blocks}th ")
    return f"every {ordinal}block"


def hardly_tells(outlook: Mapping[str, Any]) -> bool:
    """Whether a stored run tells far less than the same plan would side by side."""
    stored, both = outlook["mde_baseline"], outlook["mde_side_by_side"]
    return stored is None or (both is not None and stored >= HARDLY_TELLS * both)


def summary_lines(run: Run, problem: str | None) -> list[str]:
    """What went wrong, the findings, what the comparison found, warnings."""
    lines = [] if problem is None else [problem]
    lines += [_finding_line(f) for f in run.findings]
    if run.comparison is not None:
        lines += _comparison_lines(run.comparison, run)
    lines += traffic_lines(run)
    lines += [kept_line(kept) for kept in run.cliffs]
    lines += [line.replace("\u00a0", " ") for line in pair_lines(run)]
    if run.confirms is not None:
        lines.append(f"what {run.confirms.folder} suspects:")
        lines += [f"  {line}" for line in confirms_lines(run)]
    spent = spent_words(run)
    if spent is not None:
        lines.append(spent)
    if (words := invalid_words(run)) is not None:
        lines.append(f"warning: {words}")
    lines += [
        f"warning: {warning_words(w)}"
        for w in run.warnings
        if isinstance(w, str) or w.code not in ("infrastructure", "judging-failed")
    ]
    return lines


def last_lines(run: Run, program: Program, *, keepable: bool) -> list[str]:
    """What to do next, where the report is and, last of all, the verdict in a sentence."""
    lines = []
    for step in next_steps_of(run, program, keepable=keepable):
        lines += [f"next: {step.text}", f"    {step.command}"]
    lines.append(f"report: {Path(program.folder, 'report.html')}")
    headline = headline_of(run)
    certainty = f" ({headline.certainty})" if headline.certainty else ""
    sentence = headline.sentence.replace("\u00a0", " ")
    lines.append(f"verdict: {headline.verdict.word.upper()}{certainty}. {sentence}")
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
        f"against {reference_name(comparison, run)}, {kind_words(comparison)}: "
        f"{comparison.verdict}. {said}",
        f"  {comparison_reason(comparison)}",
    ]
    if note := shared_note(comparison):
        lines.append(f"  {note}")
    return lines


def traffic_lines(run: Run) -> list[str]:
    """A line an experiment in other traffic, behind one that says what follows; [] without any."""
    rows = traffic_rows(run)
    if not rows:
        return []
    mean = run.traffic_mean
    together = "" if mean is None else f" {mean_words(mean)}".replace("\u00a0", " ")
    return [f"other traffic:{together}", *(f"  {_traffic_line(row)}" for row in rows)]


def _traffic_line(row: TrafficRow) -> str:
    level, word = row.level, "measured" if row.word is None else row.word.word
    change = ""
    if level is not None and level.ratio is not None:
        span = fmt.change_interval(level.low, level.high)
        change = f", {fmt.plain_change(level.ratio)} [{span}]".replace("\u00a0", " ")
    notes = f"; {'; '.join(row.notes)}" if row.notes else ""
    time = f"{fmt.number(row.candidate_ms)} ms"
    return f"{word:<15} {row.result.experiment}: {time}{change} ({row.words}){notes}"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
