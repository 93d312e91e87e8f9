"""What one function, module or kernel takes on both sides: in a sentence, and as a table's row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from append_prefill.records.cause import Cause, Spent
from append_prefill.report import format as fmt

NAMED = 3
"""Functions, or kernels, that the sentence names at most."""

NAMED_SHARE = 0.05
"""Of the largest difference: what is less is in the table."""

SHOWN = 15
"""Rows of a ranking: what comes after is a few samples."""


@dataclass(frozen=True, slots=True)
class Row:
    """One rank: name, process, both sides, the difference with its interval, a note."""

    name: str
    process: str
    reference: str
    candidate: str
    delta: str
    interval: str
    note: str
    sure: bool


def ms(value: float) -> str:
    """Its size without its sign, in two digits."""
    return fmt.number(abs(value), 2)


def bracket(spent: Spent) -> str:
    """The ends of its interval behind it, as in " (+0.1 to +0.3)"; empty where it has none."""
    if spent.low_ms is None or spent.high_ms is None:
        return ""
    return f" ({ends(spent)})"


def ends(spent: Spent) -> str:
    """The ends of its interval in ms, as in "+0.1 to +0.3"."""
    return f"{fmt.signed(spent.low_ms)} to {fmt.signed(spent.high_ms)}"


def moved(spent: Spent, *, slower: bool) -> bool:
    """Whether the whole interval is on the side that the run's change is on."""
    if spent.low_ms is None or spent.high_ms is None:
        return False
    return spent.low_ms > 0 if slower else spent.high_ms < 0


def certain(spent: Spent) -> bool:
    """Whether its interval has no zero."""
    return moved(spent, slower=True) or moved(spent, slower=False)


def total_words(cause: Cause, whole: Spent, where: str) -> str:
    """What a request takes there in all: "On a core, a request takes 2.5 ms more than on X"."""
    request = "a request with its prime" if cause.with_primes else "a request"
    if whole.low_ms is not None and not certain(whole):
        return (
            f"What {request} takes {where} in all is not told from {cause.reference} "
            f"({fmt.signed(whole.delta_ms)} ms, {ends(whole)})"
        )
    more = "more" if whole.delta_ms >= 0 else "less"
    return (
        f"{where[0].upper()}{where[1:]}, {request} takes {ms(whole.delta_ms)} ms {more} than on "
        f"{cause.reference}{bracket(whole)}"
    )


def lead_words(cause: Cause, whole: Spent) -> str:
    """What comes before the names of what is certain: they are a part of what moved alike."""
    if moved(whole, slower=cause.slower):
        return "Of it, per request"
    return f"What takes {more_words(cause)} for certain, per request"


def more_words(cause: Cause) -> str:
    """What explains the run's change: that something takes more, or less."""
    return "more" if cause.slower else "less"


def large(spents: Sequence[Spent]) -> int:
    """How many of the first of a ranking a sentence names."""
    first = abs(spents[0].delta_ms)
    return sum(abs(one.delta_ms) >= NAMED_SHARE * first for one in spents[:NAMED])


def spent_row(name: str, process: str, spent: Spent, cause: Cause, note: str = "") -> Row:
    """A table's row, its note with which side alone has it."""
    only = ""
    if spent.reference_ms is None:
        only = f"only {cause.candidate}"
    elif spent.candidate_ms is None:
        only = f"only {cause.reference}"
    return Row(
        name=name,
        process=process,
        reference=fmt.number(spent.reference_ms, 2),
        candidate=fmt.number(spent.candidate_ms, 2),
        delta=fmt.signed(spent.delta_ms),
        interval=fmt.MISSING if spent.low_ms is None else ends(spent),
        note="; ".join(filter(None, [only, note])),
        sure=moved(spent, slower=spent.delta_ms > 0),
    )
