"""What a message says of a run, whatever it is sent with: verdict, sentence, numbers, differences.

Everything here is text of one line and of bounded length, whatever names a record holds.
"""

from __future__ import annotations

from dataclasses import dataclass

from append_prefill.records.run import Run
from append_prefill.report import format as fmt
from append_prefill.report.differs import DifferingRow, differences_of
from append_prefill.report.failed import exit_words
from append_prefill.report.headline import headline_of
from append_prefill.report.reasons import detectable_words
from append_prefill.report.traffic import tally_words
from append_prefill.report.warnings import warning_words
from append_prefill.report.words import Word, word_of

SENTENCE_CHARACTERS = 1000
"""Three times the longest sentence that names of an ordinary length make."""

_WARNING_CHARACTERS = 300
WARNINGS = 3
"""How many warnings a message shows, and after how many differences it counts the rest."""

DIFFERENCES = 6


@dataclass(frozen=True, slots=True)
class Account:
    """`numbers` are (what, how much); `further` counts what differs beyond `differences`."""

    verdict: Word
    sentence: str
    numbers: list[tuple[str, str]]
    differences: list[DifferingRow]
    further: int
    warnings: list[str]
    exit_meaning: str

    @property
    def title(self) -> str:
        """The message's first line."""
        return f"{self.verdict.sign} append-prefill: {self.verdict.word}"


def account_of(run: Run, baseline: Run | None = None) -> Account:
    """The account of `run`; `baseline` is the stored run it was compared with, where at hand."""
    differences = differences_of(run, baseline)
    return Account(
        verdict=word_of(run.verdict),
        sentence=fmt.one_line(headline_of(run).sentence, SENTENCE_CHARACTERS),
        numbers=_numbers(run),
        differences=differences[:DIFFERENCES],
        further=max(0, len(differences) - DIFFERENCES),
        warnings=[
            fmt.one_line(warning_words(warning), _WARNING_CHARACTERS)
            for warning in run.warnings[:WARNINGS]
        ],
        exit_meaning=exit_words(run),
    )


def status_line(run: Run, baseline: Run | None = None) -> str:
    """Verdict, sentence and numbers in one line of plain text."""
    account = account_of(run, baseline)
    numbers = "; ".join(f"{what} {value}" for what, value in account.numbers)
    return f"{account.verdict.word.upper()}: {account.sentence} [{numbers}]\n"


def _numbers(run: Run) -> list[tuple[str, str]]:
    """What the sentence rests on. The change itself is in the sentence, and only there."""
    usable = [
        sum(start.usable for start in run.starts if start.side == side)
        for side in ("candidate", "reference")
    ]
    both = any(start.side == "reference" for start in run.starts)
    rows = [("launches", f"{usable[0]} + {usable[1]}" if both else f"{usable[0]}")]
    comparison = run.comparison
    points = [] if comparison is None else [p for p in comparison.points if p.ratio is not None]
    if points:
        rows.append(("points", fmt.count(len(points))))
    if comparison is not None and comparison.detects == "effect":
        rows.append(("can tell", f"{detectable_words(comparison)} and more"))
    elif comparison is not None and comparison.detects == "no-doubling":
        rows.append(("can tell", detectable_words(comparison)))
    gated = [f for f in run.findings if f.verdict != "not-applicable"]
    if gated:
        held = sum(f.verdict == "holds" for f in gated)
        rows.append(("findings", f"{held} of {len(gated)} hold"))
    counted, others = tally_words(run)
    if counted:
        rows.append(("other traffic", f"{counted}, {others}" if others else counted))
    return rows
