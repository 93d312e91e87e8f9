"""What differs between the two sides, in words: what a change may be due to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from append_prefill.records.contrast import Difference, contrast_of
from append_prefill.records.figures import Scalar
from append_prefill.records.run import Run
from append_prefill.report import format as fmt

# A line of a table holds a path; whoever wants all of a longer value reads the record.
_CHARACTERS = 80
# Git's own short form, and what follows it where the checkout was not clean.
_COMMIT_DIGITS = 12


@dataclass(frozen=True, slots=True)
class DifferingRow:
    """One thing that differs, as text of one line each; "–" is what a side has not or not told."""

    field: str
    candidate: str
    reference: str


def differences_of(run: Run, baseline: Run | None) -> list[DifferingRow]:
    """What differs, most telling first (`records.contrast`); `baseline` is the stored run.

    Empty where nothing was compared, or nothing is known of the reference.
    """
    if run.compared is None or run.compared.verdict == "not-comparable":
        return []
    return [
        DifferingRow(
            _name(one),
            *(
                fmt.one_line(_value(one, value), _CHARACTERS)
                for value in (one.candidate, one.reference)
            ),
        )
        for one in contrast_of(run, baseline)
    ]


def differing_words(rows: Sequence[DifferingRow], limit: int = 4) -> str:
    """The differences in a line, reference first: "SGLang 0.5.22 → 0.5.23, torch 2.12 → 2.13"."""
    return fmt.listed([f"{r.field} {r.reference} → {r.candidate}" for r in rows], limit)


def _name(one: Difference) -> str:
    match one.kind:
        case "version":
            return "SGLang"
        case "argument":
            return fmt.one_line(f"--{one.name}", _CHARACTERS)
        case _:
            return fmt.one_line(one.name, _CHARACTERS)


def _value(one: Difference, value: Scalar) -> str:
    match one.kind, value:
        case "argument", True:
            return "given"
        case "variable", False:
            return "unset"
        case "commit", str():
            digits, dash, dirty = value.partition("-")
            return f"{digits[:_COMMIT_DIGITS]}{dash}{dirty}"
        case _:
            return fmt.scalar(value)
