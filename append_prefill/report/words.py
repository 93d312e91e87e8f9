"""How each verdict is said and drawn. Nothing here makes a verdict: it is looked up.

A verdict is told three times over, by word, by sign and by colour, so that it survives a
black-and-white print and colour-blind eyes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from append_prefill.errors import EXIT_INCONCLUSIVE, EXIT_INFRASTRUCTURE, EXIT_REGRESSION
from append_prefill.records.comparison import Comparison, Effect, PointEffect
from append_prefill.records.grounds import Method
from append_prefill.report import format as fmt
from append_prefill.report.reasons import STATISTICS
from append_prefill.workload.points import Point

Tone = Literal["bad", "good", "better", "unsure", "plain", "infra"]
Shape = Literal["up", "down", "disc", "diamond", "square", "cross"]


@dataclass(frozen=True, slots=True)
class Word:
    """One verdict: the word, a sign that goes before it, its colour, its marker, its meaning."""

    word: str
    sign: str
    tone: Tone
    shape: Shape
    meaning: str


WORDS: dict[str, Word] = {
    "pass": Word(
        "pass", "✓", "good", "disc", "no regression, and none of the size to catch can hide"
    ),
    "regression": Word("regression", "▲", "bad", "up", "significantly slower, by enough to matter"),
    "improvement": Word("improvement", "▼", "better", "down", "significantly faster"),
    "inconclusive": Word(
        "inconclusive", "?", "unsure", "diamond", "the measurements cannot tell; not a pass"
    ),
    "not-comparable": Word(
        "not-comparable", "≠", "plain", "square", "the two sides differ in what must be equal"
    ),
    "holds": Word("holds", "✓", "good", "disc", "within the bound"),
    "broken": Word("broken", "✕", "bad", "up", "outside the bound"),
    "regime-shift": Word(
        "regime-shift", "⇄", "better", "down", "outside the bound, and not because it is slower"
    ),
    "not-applicable": Word(
        "not-applicable", "–", "plain", "square", "has no meaning under this profile, or no gate"
    ),
    "faster": Word("faster", "▽", "better", "down", "its whole interval is below no change"),
    "slower with others": Word(
        "slower with others",
        "△",
        "bad",
        "up",
        "its own interval holds no change; together with others it is proven",
    ),
    "faster with others": Word(
        "faster with others",
        "▽",
        "better",
        "down",
        "its own interval holds no change; together with others it is proven",
    ),
    "suspect": Word(
        "suspect",
        "△",
        "unsure",
        "up",
        "its interval is above no change, as one of so many points may be by chance: not proven",
    ),
    "infrastructure": Word(
        "infrastructure", "!", "infra", "cross", "the measuring failed; no word on speed"
    ),
}
UNJUDGED = Word("not judged", "–", "plain", "cross", "the record was written but not judged")


def change_note(comparison: Comparison) -> str:
    """What stands by a table of times and changes; empty where the changes are the times' own."""
    if all(point.p is None for point in comparison.points):
        return ""
    return f"A change is of {statistic_words(comparison)}, which scatters less than the medians."


def shared_note(comparison: Comparison) -> str:
    """Which points a stored run and this one do not share; empty where they share all."""
    lacking = [
        f"not in {where}: {fmt.listed([Point(*point).label for point in points], limit=6)}"
        for where, points in (
            ("the baseline", comparison.only_candidate),
            ("this run", comparison.only_reference),
        )
        if points
    ]
    if not lacking:
        return ""
    common = fmt.plural(len(comparison.points), "point")
    return f"Compared at the {common} both have; {'; '.join(lacking)}."


def word_of(verdict: str | None) -> Word:
    """The word for a verdict of any kind; None is a record that was never judged."""
    return UNJUDGED if verdict is None else WORDS[verdict]


def label_of(effect: PointEffect | Effect) -> Word:
    """What an effect's cell says: its verdict and its 95 % interval, which must not contradict.

    A verdict is joint; an interval is the effect's own. Where only the joint evidence tells the
    direction, the word says so, and where the interval tells it against the verdict, the interval
    is believed.
    """
    verdict, low, high = effect.verdict, effect.low, effect.high
    if low is None or high is None:
        return WORDS["inconclusive" if verdict in ("regression", "improvement") else verdict]
    if high < 1:
        return WORDS["improvement" if verdict == "improvement" else "faster"]
    if low > 1:
        return WORDS["suspect" if verdict in ("inconclusive", "improvement") else verdict]
    ratio = effect.ratio or 1.0
    if verdict == "regression":
        return WORDS["slower with others" if ratio > 1 else "inconclusive"]
    if verdict == "improvement":
        return WORDS["faster with others" if ratio < 1 else "inconclusive"]
    return WORDS[verdict]


def statistic_words(comparison: Comparison) -> str:
    """What a comparison compares, named; records of suites before 0.2 compared the first."""
    method = comparison.method
    name = method.statistic if isinstance(method, Method) else "faster_half"
    return STATISTICS[name]


_EXITS: dict[str, str] = {
    "pass": "Exit status 0: all holds.",
    "improvement": "Exit status 0: all holds.",
    "regression": f"Exit status {EXIT_REGRESSION}: a regression or a broken finding.",
    "broken": f"Exit status {EXIT_REGRESSION}: a regression or a broken finding.",
    "inconclusive": (
        f"Exit status 0, or {EXIT_INCONCLUSIVE} under --strict-verdicts: "
        "inconclusive is neither a pass nor a failure."
    ),
    "not-comparable": (
        f"Exit status 0, or {EXIT_INCONCLUSIVE} under --strict-verdicts: nothing was compared."
    ),
    "infrastructure": (
        f"Exit status {EXIT_INFRASTRUCTURE}: the infrastructure failed, not the candidate. "
        "Fix it and run again."
    ),
    "unjudged": f"Exit status {EXIT_INFRASTRUCTURE}: nothing was judged, which is no pass.",
}


def exit_meaning(verdict: str | None) -> str:
    """Which exit status a verdict ends in; "unjudged" is that of a run without any."""
    return "No exit status: the record was not judged." if verdict is None else _EXITS[verdict]
