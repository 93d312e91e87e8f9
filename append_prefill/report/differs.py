"""What differs between the two sides: what a change may be due to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from append_prefill.records.grounds import Side
from append_prefill.records.run import Run
from append_prefill.report import format as fmt
from append_prefill.report.names import subject_of


@dataclass(frozen=True, slots=True)
class Difference:
    """One field on both sides; None where a side did not tell it."""

    field: str
    candidate: Any
    reference: Any


def differences_of(run: Run, baseline: Run | None) -> list[Difference]:
    """The subject's fields that differ, the version first, then the servers' own arguments.

    Empty where nothing was compared, or nothing is known of the reference.
    """
    if run.comparison is None or run.comparison.verdict == "not-comparable":
        return []
    ours = fmt.flatten(subject_of(run, "candidate", baseline) or {})
    theirs = fmt.flatten(subject_of(run, "reference", baseline) or {})
    if not theirs and run.comparison.reference_version is not None:
        theirs, ours = {"sglang": run.comparison.reference_version}, {"sglang": run.version}
    rows = [
        Difference(field, ours.get(field), theirs.get(field))
        for field in dict.fromkeys([*ours, *theirs])
        if ours.get(field) != theirs.get(field)
    ]
    one, other = _arguments(run, "candidate", baseline), _arguments(run, "reference", baseline)
    if one and other and one != other:
        rows.append(Difference("arguments", _only(one, other), _only(other, one)))
    return rows


def differing_words(differences: Sequence[Difference], limit: int = 4) -> str:
    """The differences in a line, reference first: "sglang 0.5.22 → 0.5.23, torch 2.12 → 2.13"."""
    return fmt.listed(
        [f"{d.field} {fmt.scalar(d.reference)} → {fmt.scalar(d.candidate)}" for d in differences],
        limit,
    )


def _arguments(run: Run, side: Side, baseline: Run | None) -> list[str]:
    found = next((s.server_args for s in run.starts if s.side == side and s.server_args), [])
    if not found and side == "reference" and baseline is not None:
        found = next((s.server_args for s in baseline.starts if s.server_args), [])
    return found


def _only(ours: list[str], theirs: list[str]) -> list[str]:
    """Options with their values that the other side lacks."""
    groups: list[list[list[str]]] = []
    for words in (ours, theirs):
        options: list[list[str]] = []
        for word in words:
            if word.startswith("--") or not options:
                options.append([word])
            else:
                options[-1].append(word)
        groups.append(options)
    return [" ".join(option) for option in groups[0] if option not in groups[1]]
