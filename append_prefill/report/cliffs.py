"""What is said of cliffs: those that a search found, and those that a run measured again."""

from __future__ import annotations

from append_prefill.records.cliffs import CliffSearch, CliffSide, Edge, KeptCliff, Suspect
from append_prefill.report import format as fmt

SUSPECT_COLUMNS = ("Suspect", "Takes more", "Edge", "Jump there", "Fresh launches")

_TOLD = {
    "confirmed": "confirmed",
    "not-confirmed": "not confirmed",
    "no-edge": "TTFT does not jump there",
    "not-tried": "not looked at to the end",
}

_ENDED = {
    "minutes": "the minutes were spent",
    "requests": "the requests were spent",
    "suspects": "there were too many suspects to describe",
    "interrupted": "it was interrupted",
}


def edge_words(edge: Edge) -> str:
    """Where it lies: "from m = 256 to 257, L = 14", "…, in together_8"."""
    fast, slow = edge.points
    traffic = "" if edge.experiment is None else f", in {edge.experiment}"
    if edge.axis == "append":
        axis, other = "m", f"L = {slow.context_tokens}"
        tokens = fast.append_tokens, slow.append_tokens
    else:
        axis, other = "L", f"m = {slow.append_tokens}"
        tokens = fast.context_tokens, slow.context_tokens
    return f"from {axis} = {tokens[0]} to {tokens[1]}, {other}{traffic}"


def suspect_rows(found: CliffSearch) -> list[list[str]]:
    return [_row(suspect) for suspect in found.suspects]


def _row(suspect: Suspect) -> list[str]:
    context, append = suspect.point
    fresh = _TOLD[suspect.told]
    if suspect.ratio is not None:
        fresh += f", {fmt.change(suspect.ratio)}"
        fresh += "" if suspect.p is None else f" (p = {suspect.p:.2g})"
    return [
        f"L = {context}, m = {append}",
        fmt.change(suspect.excess),
        "–" if suspect.edge is None else edge_words(suspect.edge),
        "–" if suspect.jump is None else fmt.change(suspect.jump),
        fresh,
    ]


def cliff_lines(found: CliffSearch) -> list[str]:
    """A confirmed cliff a line: where, how much, how far."""
    return [
        f"TTFT jumps {fmt.change(cliff.ratio)} ({fmt.change_interval(cliff.low, cliff.high)}) "
        f"{edge_words(cliff)}; slow from m = {cliff.append_tokens[0]} to {cliff.append_tokens[1]} "
        f"and L = {cliff.context_tokens[0]} to {cliff.context_tokens[1]}"
        for cliff in found.cliffs
    ]


def verdict_words(found: CliffSearch) -> str:
    """What a search says, and what it rests on."""
    if not found.points:
        held = "" if found.ended != "minutes" else " (fresh launches have most of them: give more)"
        return f"nothing was looked at; {_ENDED[found.ended]}{held}"
    number = len(found.cliffs)
    none = f"no jump of more than {100 * found.bound:g} % confirmed"
    what = none if not number else f"{number} cliff{'s' if number > 1 else ''} confirmed"
    return (
        f"{what} at a false-alarm rate of {found.false_alarm_rate:g}, of {len(found.suspects)} "
        f"suspect(s) among {found.points} points and {found.requests} requests; "
        f"{_ENDED[found.ended]}"
    )


def side_words(side: CliffSide) -> str:
    """Whether a kept cliff is there on a side."""
    if side.ratio is None:
        return "not measured"
    size = fmt.change(side.ratio)
    if side.low is not None and side.high is not None:
        size += f" ({fmt.change_interval(side.low, side.high)})"
    return f"{standing_word(side)}, {size}"


def standing_word(side: CliffSide) -> str:
    """In a word or two."""
    match side.standing:
        case True:
            return "still there"
        case False:
            return "gone"
        case None:
            return "cannot tell"


def kept_line(kept: KeptCliff) -> str:
    """A kept cliff in one line, side by side."""
    sides = "; ".join(f"{side.side} {side_words(side)}" for side in kept.sides)
    return f"cliff {edge_words(kept.edge)}: {sides}"
