"""What a bisection found, in words: the verdict, the rows of its tables, what to do next."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from append_prefill.analysis.bisection.steps import MISSED
from append_prefill.records.bisection import (
    Bisection,
    ComparisonMade,
    FoundStep,
    Listed,
    Seen,
    Size,
    Suspect,
    Why,
)
from append_prefill.report import format as fmt
from append_prefill.report.next_step import NextStep
from append_prefill.report.words import Tone

LISTED: dict[Listed, str] = {
    "releases": "versions",
    "commits": "commits",
    "interpreters": "interpreters",
    "defaults": "sets of defaults",
}
SEEN: dict[Seen, str] = {
    "slower": "slower",
    "faster": "faster",
    "alike": "as the other",
    "cannot-tell": "cannot tell",
}
STEP_COLUMNS = ("before", "after", "change", "95 % interval", "certainty")
EACH_COLUMNS = ("flipped back", "change", "95 % interval", "ms", "95 % interval")
LEVEL_COLUMNS = ("position", "over the first", "95 % interval", "")

_SENTENCE_STEPS = 4
# Of what stopped a search: the end of a log is in it.
_STOPPED_CHARACTERS = 500
# Of a commit's subject in a sentence.
_TITLE_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Verdict:
    """The banner: a word with its tone and badge, and the sentence."""

    word: str
    tone: Tone
    shape: str
    sentence: str


def verdict_of(found: Bisection) -> Verdict:
    """The verdict in a word and a sentence."""
    slower = [step for step in found.steps if step.size.ratio > 1]
    said = verdict_words(found)
    if found.problem is not None:
        return Verdict("stopped", "unsure", "diamond", said)
    if found.listed == "defaults" and found.steps:
        return Verdict(fmt.plural(len(found.steps), "default"), "plain", "square", said)
    if slower:
        return Verdict("slower in " + fmt.plural(len(slower), "step"), "bad", "up", said)
    if found.ended != "settled":
        return Verdict("not settled", "unsure", "diamond", said)
    if found.steps:
        return Verdict("faster only", "better", "down", said)
    return Verdict("no step", "good", "disc", said)


def subject_words(found: Bisection) -> str:
    """What was searched: from where to where, or what was flipped back on which version."""
    first, last = found.positions[0].name, found.positions[-1].name
    if found.listed == "defaults":
        return f"{first} and {fmt.plural(len(found.positions) - 1, 'flip')}"
    return f"{first} to {last}"


def verdict_words(found: Bisection) -> str:
    """The whole in a sentence: the total, its steps, what is left, and how it ended."""
    first, last = found.positions[0].name, found.positions[-1].name
    if found.problem is not None:
        steps = "; ".join(step_words(found, step) for step in found.steps)
        until = f" Until then: {steps}." if steps else ""
        return f"Stopped: {fmt.one_line(found.problem, _STOPPED_CHARACTERS)}{until}"
    if found.total is None:
        return f"Nothing was compared between {first} and {last}."
    whole = f"{first} to {last}: {size_words(found.total)}"
    if found.listed == "defaults":
        whole = f"{first} with all flipped back: {size_words(found.total)}"
        whole += _of_the_change(found, found.total.ratio - 1)
    if not found.steps:
        text = f"{whole}, and no step of {fmt.share(found.min_effect)} or more is certain"
    else:
        largest = sorted(found.steps, key=lambda step: -abs(step.size.ratio - 1))
        shown = [step for step in found.steps if step in largest[:_SENTENCE_STEPS]]
        more = len(found.steps) - len(shown)
        text = f"{whole}: " + "; ".join(step_words(found, step) for step in shown)
        text += f"; and {fmt.plural(more, 'smaller step')}" if more else ""
        if found.rest is not None and len(found.positions) > 2:
            text += f"; the rest {size_words(found.rest)}"
    out = [p.name for p in found.positions if p.problem is not None]
    text += f". Left out: {fmt.listed(out)}" if out else ""
    return text + _ending(found)


def _nothing_large_open(found: Bisection) -> bool:
    """Whether no step that must be caught can still hide."""
    return found.hidden_chance is not None and found.hidden_chance <= MISSED


def _ending(found: Bisection) -> str:
    known = _nothing_large_open(found)
    but = f"; no step of {fmt.share(found.must_catch)} or more is left open" if known else ""
    match found.ended:
        case "settled":
            return "."
        case "budget":
            return f". The budget is spent before all is settled{but}."
        case "interrupted":
            return f". Interrupted before all is settled{but}."
        case "nothing-tells" | "stopped":
            return f". No further comparison would tell more{but}."


def step_words(found: Bisection, step: FoundStep) -> str:
    """One step: "0.5.19 +11.2 % (9.8 to 12.6)", or between which two it lies."""
    titles = {p.name: p.title for p in found.positions}
    size = size_words(step.size)
    if found.listed == "defaults":
        name = step.after if not step.unknown else f"among {fmt.listed(_inside(step))}"
        levels = {p.name: p.level.ratio for p in found.positions if p.level is not None}
        moved = levels.get(step.before, 1.0) * (step.size.ratio - 1)
        return f"{name} {size}{_of_the_change(found, moved)}"
    if step.unknown:
        return f"between {step.before} and {step.after} {size}"
    title = titles.get(step.after)
    named = f" ({fmt.one_line(title, _TITLE_CHARACTERS)})" if title else ""
    return f"{step.after}{named} {size}"


def _of_the_change(found: Bisection, moved: float) -> str:
    """Milliseconds of a part of the first one's level, beside what is to be explained, if it is."""
    if found.first_ms is None or found.change_ms is None:
        return ""
    part, whole = f", {fmt.signed(moved * found.first_ms)} ms", found.change
    if whole is not None and whole.low <= 1 <= whole.high:
        return f"{part} where the whole change is none for certain, {size_words(whole)}"
    return f"{part} of the {fmt.signed(found.change_ms)}"


def _inside(step: FoundStep) -> list[str]:
    return [*step.unknown, step.after]


def size_words(size: Size) -> str:
    """As in "+5.1 % (3.9 to 6.3)"."""
    interval = fmt.brief_interval(size.low, size.high, size.ratio)
    return f"{fmt.brief(size.ratio)} ({interval})".replace("\N{NO-BREAK SPACE}", " ")


def experiments_words(names: Sequence[str]) -> str:
    return f"{'experiments' if len(names) > 1 else 'experiment'} {fmt.listed(list(names))}"


def comparison_line(number: int, made: ComparisonMade) -> str:
    """One comparison, as progress tells it."""
    took = "" if made.minutes is None else f", {fmt.seconds(made.minutes * 60)}"
    if made.size is None or made.seen is None:
        return f"{number}: {made.later} against {made.earlier}: no answer{took}"
    return (
        f"{number}: {made.later} against {made.earlier}: {size_words(made.size)}: "
        f"{SEEN[made.seen]}{took}"
    )


def step_rows(found: Bisection) -> list[list[str]]:
    """Rows of `STEP_COLUMNS`."""
    return [
        [
            step.before,
            step.after + (f" (or {fmt.listed(step.unknown)})" if step.unknown else ""),
            fmt.change(step.size.ratio),
            fmt.change_interval(step.size.low, step.size.high),
            certainty(step.chance),
        ]
        for step in found.steps
    ]


def certainty(chance: float) -> str:
    return "> 99.9 %" if chance > 0.999 else f"{100 * chance:.1f} %"


def level_rows(found: Bisection) -> list[list[str]]:
    """Rows of `LEVEL_COLUMNS`."""
    return [
        [
            position.name,
            fmt.MISSING if position.level is None else fmt.change(position.level.ratio),
            fmt.MISSING
            if position.level is None or not number
            else fmt.change_interval(position.level.low, position.level.high),
            note_of(position.problem, asked=position.level is not None),
        ]
        for number, position in enumerate(found.positions)
    ]


def each_rows(found: Bisection) -> list[list[str]]:
    """Rows of `EACH_COLUMNS`: what each flip takes by itself, those before it flipped as well.

    Empty for a list of anything else.
    """
    if found.listed != "defaults":
        return []
    rows = []
    for before, one in pairwise(found.positions):
        if one.own is None or before.level is None:
            rows.append([one.title or one.name, *[fmt.MISSING] * 4])
            continue
        own = one.own
        ms = [
            None if found.first_ms is None else found.first_ms * before.level.ratio * (part - 1)
            for part in (own.ratio, own.low, own.high)
        ]
        rows.append(
            [
                one.title or one.name,
                fmt.change(own.ratio),
                fmt.change_interval(own.low, own.high),
                fmt.signed(ms[0]),
                fmt.MISSING if ms[1] is None else f"{fmt.signed(ms[1])} to {fmt.signed(ms[2])}",
            ]
        )
    return rows


def note_of(problem: str | None, *, asked: bool) -> str:
    if problem is not None:
        return f"left out: {fmt.one_line(problem, 100)}"
    return "" if asked else "not compared"


_PROBLEM_CHARACTERS = 160
_TELLING = ("left-out", "not-asked")
REASONS: dict[Why, str] = {
    "no-option": "no option takes it back",
    "unknown-old-value": "what it was before is not known",
    "not-asked": "listed only",
    "gone": "the newer one does not know it",
    "left-out": "does not work",
}


def suspect_words(suspect: Suspect) -> str:
    """As in "torch 2.9.1 → 2.10.0"."""
    return f"{suspect.name} {suspect.old or fmt.MISSING} → {suspect.new or fmt.MISSING}"


def suspects_by_weight(suspects: Sequence[Suspect]) -> tuple[list[Suspect], list[Suspect]]:
    """Those to be shown, and the variables that no flip was made of: of two versions hundreds, most
    of them for other devices.
    """
    shown = [s for s in suspects if s.kind != "variable" or s.reason in _TELLING]
    return shown, [s for s in suspects if s not in shown]


def why_words(suspect: Suspect) -> str:
    """Why it was not measured; of what was tried, how it went."""
    if suspect.problem is not None:
        return f"{REASONS[suspect.reason]}: {fmt.one_line(suspect.problem, _PROBLEM_CHARACTERS)}"
    if suspect.kind == "dependency" and suspect.reason == "unknown-old-value":
        return "the older side has none"
    return REASONS[suspect.reason]


def next_step_of(found: Bisection) -> NextStep | None:
    """What follows: to go on, or to ask which default did the largest slower step.

    To go on for steps too small to have to be caught is not what an engineer does next.
    """
    slower = [s for s in found.steps if s.size.ratio > 1]
    to_ablate = bool(slower) and found.listed == "releases"
    cut_short = found.ended in ("budget", "interrupted", "stopped")
    if cut_short and not (to_ablate and _nothing_large_open(found)):
        return NextStep("Go on from here; what is measured is kept:", found.command)
    if not to_ablate:
        return None
    largest = max(slower, key=lambda step: step.size.ratio)
    words = ["append-prefill", "ablate", f"{largest.before}..{largest.after}"]
    words += [f"--experiment={name}" for name in found.experiments]
    words += shlex.split(found.asked["options"])
    return NextStep("See whether a changed default did it:", shlex.join(words))


def anchor(name: str) -> str:
    """A name as an id of HTML."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")
