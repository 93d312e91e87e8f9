"""What two sides' profiles differ by, in words: the sentence, and the rows of its tables."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from statistics import median

from append_prefill.records.cause import Cause, FunctionSpent, Spent
from append_prefill.records.grounds import Side
from append_prefill.report import format as fmt
from append_prefill.report.cause.kernels import gpu_words
from append_prefill.report.cause.spent import (
    NAMED,
    NAMED_SHARE,
    SHOWN,
    Row,
    bracket,
    large,
    lead_words,
    more_words,
    moved,
    spent_row,
    total_words,
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What the profiler cost one side: medians over launches of their TTFT medians."""

    name: str
    plain_ms: float
    profiled_ms: float
    kernels_ms: float | None


def cause_words(cause: Cause) -> str:
    """The sentences: where most of the difference is, or that nothing stands out.

    First those of the cores, but where the GPU's kernels as a whole moved as the run did.
    """
    total = cause.kernels_total
    said = [_core_words(cause), gpu_words(cause)]
    if total is not None and moved(total, slower=cause.slower):
        said.reverse()
    return " ".join(filter(None, said))


def _core_words(cause: Cause) -> str:
    """What a request takes on a core, and in which functions."""
    sure = [(one, own) for one, own in _own(cause) if moved(own, slower=cause.slower)]
    total = total_words(cause, cause.own_total, "on a core")
    modules = _modules(cause, {(one.process, one.module) for one, _ in sure})
    if not sure:
        pairs = fmt.plural(len(cause.launches) // 2, "pair")
        return (
            f"{total}, and of no function alone is it certain after {pairs} of launches that it "
            f"takes {more_words(cause)}.{modules}"
        )
    said, told = [], set()
    for one, own in sure[: large([own for _, own in sure])]:
        module = one.process, one.module
        only = _of_module(cause, one, own, again=module in told)
        said.append(f"{one.name} ({one.process}) {fmt.signed(own.delta_ms)} ms{bracket(own)}{only}")
        told |= {module} if only else set()
    return f"{total}. {lead_words(cause, cause.own_total)}: {'; '.join(said)}.{modules}"


def _modules(cause: Cause, named: Collection[tuple[str, str]]) -> str:
    """The modules that are certain as a whole beside those of the functions that are `named`.

    Of those that both sides have: where code moved, one module's gain is another's loss.
    """
    found = [
        f"{one.name} ({one.process}) {fmt.signed(one.own.delta_ms)} ms{bracket(one.own)}"
        for one in cause.modules
        if moved(one.own, slower=cause.slower) and (one.process, one.name) not in named
        if one.own.reference_ms is not None and one.own.candidate_ms is not None
    ]
    return f" As a module, for certain: {'; '.join(found[:NAMED])}." if found else ""


def _of_module(cause: Cause, one: FunctionSpent, own: Spent, *, again: bool) -> str:
    """Of a function that the other side has not: what the module's others took less.

    `again`: that was told of another function of the module.
    """
    if own.reference_ms is not None and own.candidate_ms is not None:
        return ""
    which = "new there" if own.reference_ms is None else "gone there"
    if again:
        return f", {which}, too"
    for module in cause.modules:
        if (module.process, module.name) == (one.process, one.module):
            whole = f"{fmt.signed(module.own.delta_ms)} ms{bracket(module.own)}"
            return f", {which}, where its module as a whole takes {whole}"
    return f", {which}"


def unshown_words(cause: Cause) -> str:
    """That what was profiled is not what the run found; empty where it is."""
    if cause.shown:
        return ""
    return (
        "These requests do not show the change: sent without the profiler their TTFT moved by "
        f"{fmt.plain_change(cause.plain_ratio)}, where the run found "
        f"{fmt.plain_change(cause.ratio)}. So what is named here is not its cause, or not all of "
        "it."
    )


def _own(cause: Cause) -> list[tuple[FunctionSpent, Spent]]:
    """The functions that were seen to run themselves, in the order of their rank."""
    return [(one, one.own) for one in cause.functions if one.own is not None]


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
    return [spent_row(one.name, one.process, one.own, cause) for one in cause.modules[:SHOWN]]


def _row(one: FunctionSpent, spent: Spent, cause: Cause) -> Row:
    notes = ["also while idle"] if one.idle else []
    notes += [] if one.was is None else [f"on {cause.reference} {one.was}"]
    return spent_row(one.name, one.process, spent, cause, "; ".join(notes))


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
