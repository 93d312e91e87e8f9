"""What two sides' profiles differ by, in words: the sentence, and the rows of its tables."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from statistics import median

from append_prefill.records.cause import Cause, FunctionSpent, Spent
from append_prefill.records.grounds import Side
from append_prefill.report import format as fmt

NAMED = 3
"""Functions that the sentence names at most."""

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


@dataclass(frozen=True, slots=True)
class Cost:
    """What the profiler cost one side: medians over launches of their TTFT medians."""

    name: str
    plain_ms: float
    profiled_ms: float
    kernels_ms: float | None


def cause_words(cause: Cause) -> str:
    """The sentence: where most of the difference is, or that no function stands out."""
    sure = [(one, own) for one, own in _own(cause) if _moved(own, slower=cause.slower)]
    pairs = fmt.plural(len(cause.launches) // 2, "pair")
    more = "more" if cause.slower else "less"
    request = "a request with its prime" if cause.with_primes else "a request"
    whole = cause.own_total
    total = f"On a core, {request} takes {_ms(whole.delta_ms)} ms {more_or_less(cause)}"
    total += _bracket(whole)
    if whole.low_ms is not None and not (_moved(whole, slower=True) or _moved(whole, slower=False)):
        total = (
            f"What {request} takes on a core in all is not told from {cause.reference} "
            f"({fmt.signed(whole.delta_ms)} ms, {_ends(whole)})"
        )
    modules = _modules(cause, {(one.process, one.module) for one, _ in sure})
    if not sure:
        return (
            f"{total}, and of no function alone is it certain after {pairs} of launches that it "
            f"takes {more}.{modules}"
        )
    said = "; ".join(
        f"{one.name} ({one.process}) {fmt.signed(own.delta_ms)} ms{_bracket(own)}"
        f"{_of_module(cause, one, own)}"
        for one, own in sure[:NAMED]
        if abs(own.delta_ms) >= NAMED_SHARE * abs(sure[0][1].delta_ms)
    )
    along = _moved(whole, slower=cause.slower)
    lead = "Of it, per request" if along else f"What takes {more} for certain, per request"
    return f"{total}. {lead}: {said}.{modules}"


def _modules(cause: Cause, named: Collection[tuple[str, str]]) -> str:
    """The modules that are certain as a whole beside those of the functions that are `named`.

    Of those that both sides have: where code moved, one module's gain is another's loss.
    """
    found = [
        f"{one.name} ({one.process}) {fmt.signed(one.own.delta_ms)} ms{_bracket(one.own)}"
        for one in cause.modules
        if _moved(one.own, slower=cause.slower) and (one.process, one.name) not in named
        if one.own.reference_ms is not None and one.own.candidate_ms is not None
    ]
    return f" As a module, for certain: {'; '.join(found[:NAMED])}." if found else ""


def _of_module(cause: Cause, one: FunctionSpent, own: Spent) -> str:
    """Of a function that the other side has not: what the module's others took less."""
    if own.reference_ms is not None and own.candidate_ms is not None:
        return ""
    which = "new there" if own.reference_ms is None else "gone there"
    for module in cause.modules:
        if (module.process, module.name) == (one.process, one.module):
            whole = f"{fmt.signed(module.own.delta_ms)} ms{_bracket(module.own)}"
            return f", {which}, where its module as a whole takes {whole}"
    return f", {which}"


def unshown_words(cause: Cause) -> str:
    """That what was profiled is not what the run found; empty where it is."""
    if cause.shown:
        return ""
    return (
        "These requests do not show the change: sent without the profiler their TTFT moved by "
        f"{fmt.plain_change(cause.plain_ratio)}, where the run found "
        f"{fmt.plain_change(cause.ratio)}. So the functions named are not its cause, or not all of "
        "it."
    )


def _own(cause: Cause) -> list[tuple[FunctionSpent, Spent]]:
    """The functions that were seen to run themselves, in the order of their rank."""
    return [(one, one.own) for one in cause.functions if one.own is not None]


def more_or_less(cause: Cause) -> str:
    """Which way the total went."""
    return f"{'more' if cause.own_total.delta_ms >= 0 else 'less'} than on {cause.reference}"


def _ms(value: float) -> str:
    return fmt.number(abs(value), 2)


def _bracket(spent: Spent) -> str:
    if spent.low_ms is None or spent.high_ms is None:
        return ""
    return f" ({_ends(spent)})"


def _ends(spent: Spent) -> str:
    return f"{fmt.signed(spent.low_ms)} to {fmt.signed(spent.high_ms)}"


def _moved(spent: Spent, *, slower: bool) -> bool:
    """Whether the whole interval is on the side that the run's change is on."""
    if spent.low_ms is None or spent.high_ms is None:
        return False
    return spent.low_ms > 0 if slower else spent.high_ms < 0


def own_rows(cause: Cause) -> list[Row]:
    """The ranking by the time in a function itself."""
    return [_row(one, own, cause) for one, own in _own(cause)[:SHOWN]]


def whole_rows(cause: Cause) -> list[Row]:
    """The ranking by the time in a function and in what it calls."""
    sign = -1 if cause.slower else 1
    found = sorted(cause.functions, key=lambda one: sign * one.whole.delta_ms)
    return [_row(one, one.whole, cause) for one in found[:SHOWN]]


def other_rows(cause: Cause) -> list[Row]:
    """The other end of the ranking: what became faster in a candidate that is slower."""
    ranked = _own(cause)
    least = NAMED_SHARE * abs(ranked[0][1].delta_ms) if ranked else 0.0
    found = [
        (one, own)
        for one, own in reversed(ranked)
        if (own.delta_ms < 0) == cause.slower and abs(own.delta_ms) >= least
    ]
    return [_row(one, own, cause) for one, own in found[:NAMED]]


def module_rows(cause: Cause) -> list[Row]:
    """The ranking of modules, by what their functions take themselves."""
    return [_spent_row(one.name, one.process, one.own, cause) for one in cause.modules[:SHOWN]]


def kernel_rows(cause: Cause) -> list[Row]:
    """The ranking of the GPU's kernels."""
    return [_spent_row(one.name, "GPU", one.own, cause) for one in (cause.kernels or [])[:SHOWN]]


def _row(one: FunctionSpent, spent: Spent, cause: Cause) -> Row:
    notes = ["also while idle"] if one.idle else []
    notes += [] if one.was is None else [f"on {cause.reference} {one.was}"]
    return _spent_row(one.name, one.process, spent, cause, "; ".join(notes))


def _spent_row(name: str, process: str, spent: Spent, cause: Cause, note: str = "") -> Row:
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
        interval=fmt.MISSING if spent.low_ms is None else _ends(spent),
        note="; ".join(filter(None, [only, note])),
        sure=_moved(spent, slower=spent.delta_ms > 0),
    )


def costs(cause: Cause) -> list[Cost]:
    """What the profiler cost, reference first."""
    return [_cost(cause, "reference", cause.reference), _cost(cause, "candidate", cause.candidate)]


def _cost(cause: Cause, side: Side, name: str) -> Cost:
    mine = [one for one in cause.launches if one.side == side]
    kernels = [one.kernels_ms for one in mine if one.kernels_ms is not None]
    return Cost(
        name,
        median(one.plain_ms for one in mine),
        median(one.profiled_ms for one in mine),
        median(kernels) if kernels else None,
    )


def condition_words(cause: Cause) -> str:
    """The condition that was profiled: "L = 448, m = 64", and the traffic where it is another."""
    place = fmt.place(cause.context_tokens, cause.append_tokens)
    if cause.experiment is None:
        return place
    return f"all of {cause.experiment} ({cause.traffic.label}), where {place} moved most"
