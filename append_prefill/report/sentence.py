"""The sentence an engineer repeats: what the candidate changes, by how much, how sure that is.

One function makes it, as pieces of which some are strong; every format shows those pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from append_prefill.records.comparison import (
    Change,
    ChangeIn,
    ChangeTerm,
    Comparison,
    Effect,
    PointEffect,
)
from append_prefill.records.grounds import Method
from append_prefill.records.run import Run
from append_prefill.report import format as fmt
from append_prefill.report.names import candidate_name, reference_name, sglang
from append_prefill.report.places import (
    choice_words,
    named_points,
    named_words,
    part_words,
    spoken_parts,
    where_words,
)
from append_prefill.report.reasons import told_words

ADDITIVE = ("everywhere", "floor", "compute", "point")
PER_TOKEN = {"append": "new", "context": "cached"}


@dataclass(frozen=True, slots=True)
class Piece:
    """Some words of a sentence; `strong` ones are its numbers."""

    text: str
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Sentence:
    """Words with some of them strong."""

    pieces: tuple[Piece, ...]

    @property
    def plain(self) -> str:
        """The words alone."""
        return "".join(piece.text for piece in self.pieces)

    def marked(self, mark: str, escape: Callable[[str], str]) -> str:
        """The words, `escape`d, the strong ones between two `mark`s."""
        return "".join(
            f"{mark}{escape(piece.text)}{mark}" if piece.strong else escape(piece.text)
            for piece in self.pieces
        )


def sentence(text: str) -> Sentence:
    """Of a text whose strong words stand between two NULs, which no name can hold."""
    parts = text.split("\0")
    return Sentence(tuple(Piece(part, at % 2 == 1) for at, part in enumerate(parts) if part))


def strong(text: str) -> str:
    """The text between two NULs, as `sentence` takes it."""
    return f"\0{text}\0"


def comparison_sentence(run: Run, comparison: Comparison) -> Sentence:
    """What the comparison found, from its verdict, its change and its level."""
    name = sglang(candidate_name(run))
    other = fmt.shorten(reference_name(comparison, run), 48)
    return sentence(begun(_text(run, comparison, name, other)))


def begun(text: str) -> str:
    """As a sentence begins: a name may be without a capital, the id of a finding stays as it is."""
    return f"The {text[4:]}" if text.startswith("the ") else text


def _text(run: Run, comparison: Comparison, name: str, other: str) -> str:
    level = comparison.level
    match comparison.verdict:
        case "regression" | "improvement" if comparison.change is not None:
            return _changed(run, comparison, comparison.change, name, other)
        case "regression" | "improvement":
            return _moved(run, comparison, name, other)
        case "pass":
            return (
                f"No slow-down of {strong(caught_words(comparison))} can hide in {name} against "
                f"{other}{_bracket(level_words(level), how_measured(run, comparison))}."
            )
        case "inconclusive":
            return _undecided(run, comparison, name, other)
        case _ if not comparison.differing:
            return f"{name} was not compared with {other}: no point was measured on both sides."
        case _:
            fields = list(comparison.differing)
            verb = "differs" if len(fields) == 1 else "differ"
            return f"{name} was not compared with {other}: {fmt.listed(fields)} {verb}."


def _changed(run: Run, comparison: Comparison, change: Change, name: str, other: str) -> str:
    parts = spoken_parts(comparison, change)
    if named := named_points(comparison):
        return _named(run, comparison, name=name, other=other, named=named)
    if len(parts) == 2:
        return _mixed(run, comparison, change, name, other)
    part = parts[0]
    leading = _leading(part, change)
    place = part_words(part, change)
    percent = f"{fmt.brief(part.ratio)}, {fmt.brief_interval(part.low, part.high, part.ratio)}"
    how, chosen = how_measured(run, comparison, other), choice_words(change, part)
    if leading is not None and leading.kind in ADDITIVE:
        verb, to = ("adds", "to") if part.delta_ms > 0 else ("saves", "on")
        where = f"{to} every append-prefill" if place == "everywhere" else place
        text = f"{name} {verb} {strong(_ms(part.delta_ms))} {where}{_stratum(part)}"
        text += _bracket(percent, chosen, how)
    elif leading is not None and leading.kind in PER_TOKEN:
        more = "more" if leading.value > 0 else "less"
        size = f"{fmt.number(abs(leading.value), 2)} µs {more}"
        text = f"{name} costs {strong(size)} per {PER_TOKEN[leading.kind]} token"
        text += f": {fmt.brief(part.ratio)} {place}"
        text += _bracket(fmt.brief_interval(part.low, part.high, part.ratio), how)
    elif leading is not None and leading.kind == "chunk":
        verb = "adds" if leading.value > 0 else "saves"
        text = f"{name} {verb} {strong(_ms(leading.value))} at each further chunk of a prefill"
        text += f": {fmt.brief(part.ratio)} {place}"
        text += _bracket(fmt.brief_interval(part.low, part.high, part.ratio), how)
    else:
        text = f"{name} is {strong(way_words(part))} than {other} {place}"
        text += _bracket(
            ends_words(part), _average(part, place), chosen, how_measured(run, comparison)
        )
    return f"{text}{_unchanged(change)}.{_misfit(change)}"


def _named(
    run: Run, comparison: Comparison, *, name: str, other: str, named: Sequence[PointEffect]
) -> str:
    """Points were proven to go the verdict's way, the plane as a whole goes the other."""
    change = comparison.change
    assert change is not None
    way = "slower" if comparison.verdict == "regression" else "faster"
    part = spoken_parts(comparison, change)[0]
    chosen = choice_words(change, part)
    bracket = _bracket(ends_words(part), chosen, how_measured(run, comparison))
    return (
        f"{name} is {strong(way)} than {other} {named_words(named)}, though "
        f"{way_words(part)} {part_words(part, change)}{bracket}. "
        f"{_why(comparison)}.{_misfit(change)}"
    )


def _why(comparison: Comparison) -> str:
    """What a change both ways makes of the verdict."""
    if comparison.verdict == "regression":
        return "A regression: what is faster makes up for nothing where it is slower"
    return f"Counted as {comparison.verdict}"


def _leading(part: ChangeIn, change: Change) -> ChangeTerm | None:
    """The strongest shape, if what is said of it and of the part goes one way."""
    leading = change.terms[0] if change.terms else None
    ways = {part.ratio > 1, part.delta_ms > 0}
    if leading is not None:
        ways.add(leading.value > 0)
    return leading if len(ways) == 1 else None


def _mixed(run: Run, comparison: Comparison, change: Change, name: str, other: str) -> str:
    halves = [f"{way_words(part)} {part_words(part, change)}" for part in change.parts]
    spans = " and ".join(ends_words(part) for part in change.parts)
    return (
        f"{name} is {strong(halves[0])} and {strong(halves[1])} than {other}"
        f"{_bracket(spans, choice_words(change, *change.parts), how_measured(run, comparison))}. "
        f"{_why(comparison)}.{_misfit(change)}"
    )


def way_words(part: ChangeIn) -> str:
    """How much, and which way: "14 % slower"."""
    return f"{fmt.brief_size(part.ratio)} {'slower' if part.ratio > 1 else 'faster'}"


def ends_words(part: ChangeIn) -> str:
    """The part's interval, under words that say which way."""
    return fmt.size_interval(part.low, part.high, part.ratio)


def _ms(delta: float) -> str:
    return f"{fmt.number(abs(delta), 2)} ms"


def _average(part: ChangeIn, place: str) -> str:
    if (part.delta_ms > 0) != (part.ratio > 1):
        return ""
    size = f"{fmt.signed(part.delta_ms)} ms"
    return size if "average" in place else f"{size} on average"


def _stratum(part: ChangeIn) -> str:
    words = {"floor": ", where TTFT is at its floor", "compute": ", where computing shows"}
    return words.get(part.region, "")


def _unchanged(change: Change) -> str:
    """Said only where every shape that was needed leaves the cost of a token alone."""
    kinds = {term.kind for term in change.terms}
    floor_alone = bool(kinds) and kinds <= {"everywhere", "floor"} and change.fits
    return "; cost per new token unchanged" if floor_alone else ""


def _misfit(change: Change) -> str:
    return "" if change.fits else " No simple form fits all of it: see the single points."


def _moved(run: Run, comparison: Comparison, name: str, other: str) -> str:
    """Of records without a fitted change: the level, and the parts that were named then."""
    level, where = comparison.level, where_words(comparison).partition("; as a whole")[0]
    how = how_measured(run, comparison)
    slower = comparison.verdict == "regression"
    if level is None or level.ratio is None or level.low is None or level.high is None:
        return f"{name} is {'slower' if slower else 'faster'} than {other}: {where}."
    if (level.ratio > 1) != slower:
        span = fmt.brief_interval(level.low, level.high, level.ratio)
        return (
            f"{name} is {'slower' if slower else 'faster'} than {other} in a part, though the "
            f"level is {fmt.brief(level.ratio)}{_bracket(span, how)}: {where}."
        )
    span = fmt.size_interval(level.low, level.high, level.ratio)
    way = f"{fmt.brief_size(level.ratio)} {'slower' if slower else 'faster'}"
    return f"{name} is {strong(way)} than {other} on the level{_bracket(span, how)}: {where}."


def _undecided(run: Run, comparison: Comparison, name: str, other: str) -> str:
    level = comparison.level
    told = f"; {words}" if (words := told_words(comparison)) else ""
    sure = level is not None and level.low is not None and level.high is not None
    if sure and level is not None and (is_above(level) or is_below(level)):
        way = "slower" if is_above(level) else "faster"
        return (
            f"{name} is {strong(f'probably {way}')} than {other}, not proven"
            f"{_bracket(level_words(level), how_measured(run, comparison))}{told}."
        )
    return (
        f"Cannot tell whether {name} is slower than {other}"
        f"{_bracket(level_words(level), how_measured(run, comparison))}{told}."
    )


def is_above(level: Effect) -> bool:
    """Whether its whole interval is slower."""
    return level.low is not None and level.low > 1


def is_below(level: Effect) -> bool:
    """Whether its whole interval is faster."""
    return level.high is not None and level.high < 1


def level_words(level: Effect | None) -> str:
    """The level with its interval: "level −0.2 %, −1.1 to +0.7"; empty where there is none."""
    if level is None or level.ratio is None:
        return ""
    words = f"level {fmt.brief(level.ratio)}"
    if level.low is None or level.high is None:
        return words
    return f"{words}, {fmt.brief_interval(level.low, level.high, level.ratio)}"


def caught_words(comparison: Comparison) -> str:
    """The size to catch: "3 %"."""
    method = comparison.method
    return f"{100 * method.must_catch:g} %" if isinstance(method, Method) else "the size to catch"


def _bracket(*items: str) -> str:
    said = "; ".join(item for item in items if item)
    return f" ({said})" if said else ""


def how_measured(run: Run, comparison: Comparison, other: str = "") -> str:
    """How the sides were measured: "side by side, 5 launches each"; `other`: and with whom."""
    if comparison.provenance == "study":
        return "against the study's table"
    candidate, reference = len(run.beside("candidate")), len(run.beside("reference"))
    if comparison.kind == "baseline":
        usable = sum(s.side == "candidate" and s.usable for s in run.starts)
        method = comparison.method
        whom = f"against the stored {other}" if other else "against a stored run"
        if isinstance(method, Method) and method.control is not None:
            whom += f" by way of {method.control}"
        return f"{whom}, {fmt.plural(usable, 'launch')}"
    whom = f"side by side with {other}" if other else "side by side"
    if candidate == reference:
        return f"{whom}, {fmt.plural(candidate, 'launch')} each"
    return f"{whom}, {candidate} and {reference} launches"
