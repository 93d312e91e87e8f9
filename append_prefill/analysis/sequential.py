"""Looking again: measure more starts while a night is undecided, at a kept false-alarm rate.

A group-sequential rule with fixed looks. Each look has its own part of the false-alarm rate, fixed
before anything is measured, and `compare` is given that part as its `alpha`; by the union bound
the parts sum to at most the policy's rate whatever the data decide about going on. (An exact
Lan-DeMets boundary would use the looks' correlation to gain some power, but needs the joint law of
a test made of four parts; here nothing is assumed about it.)

The first look spends most: it comes after the planned starts, which alone give the promised power,
and most nights end there. The rest is shared equally by the later looks, whose larger samples make
up for the smaller parts. Stopping for `pass` costs nothing, as a pass is no alarm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from append_prefill.records.run import Comparison, Look
from append_prefill.workload.profile import Policy

FIRST_SHARE = 0.8
"""Part of the false-alarm rate spent at the first of several looks. 0.8 of a one-sided 0.7 % moves
the critical z from 2.46 to 2.54: 0.05 sd of power given up, for the right to look again."""

GROWTH = 0.6
"""A further look adds this part of the starts of the first: three looks of 5, 8 and 11 starts a
side, which takes a standard error to two thirds."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Starts a side at each look and each look's one-sided false-alarm rate."""

    starts: tuple[int, ...]
    alphas: tuple[float, ...]


def plan(policy: Policy, first_starts: int, max_starts: int | None = None) -> Plan:
    """Looks of an adaptive run whose first comes after `first_starts` starts a side.

    Fewer than `policy.looks` where `max_starts` (what the budget holds) leaves no room; the whole
    rate then goes to those there are. Raises ValueError unless 1 <= first_starts <= max_starts.
    """
    if first_starts < 1 or (max_starts is not None and max_starts < first_starts):
        raise ValueError("the budget must hold the first look's starts, at least one")
    step = max(1, round(GROWTH * first_starts))
    starts = [first_starts + look * step for look in range(policy.looks)]
    if max_starts is not None:
        starts = sorted({min(number, max_starts) for number in starts})
    if len(starts) == 1:
        return Plan((first_starts,), (policy.false_alarm_rate,))
    later = policy.false_alarm_rate * (1 - FIRST_SHARE) / (len(starts) - 1)
    first = policy.false_alarm_rate * FIRST_SHARE
    return Plan(tuple(starts), (first, *(later for _ in starts[1:])))


@dataclass(frozen=True, slots=True)
class Step:
    """What to do after a look. `more_pairs`: start pairs (one a side) to measure before the next.

    `alpha`: that look's false-alarm rate, None when stopping. `suspects`: labels of the points
    that are not shown to be below must_catch, those to spend samples on.
    """

    decision: Literal["stop", "continue"]
    more_pairs: int
    alpha: float | None
    suspects: tuple[str, ...]
    reason: str


def suspects_of(comparison: Comparison) -> tuple[str, ...]:
    """Points that the comparison neither passes nor names faster, the slowest first."""
    open_points = [
        p for p in comparison.points if p.verdict in {"regression", "inconclusive"} and p.ratio
    ]
    open_points.sort(key=lambda p: -(p.ratio or 0.0))
    return tuple(p.point.label for p in open_points)


def next_step(
    comparison: Comparison, looks: Sequence[Look], policy: Policy, schedule: Plan
) -> Step:
    """Whether the look just judged, `comparison`, ends the run.

    `looks` are the earlier ones, without this; `comparison` must have been made with
    `schedule.alphas[len(looks)]`. Goes on only while the verdict is inconclusive, a look is left,
    and more starts could settle it: neither across nights, where they hardly help, nor where
    nothing can be compared. Raises ValueError if there were more looks than planned.
    """
    number = len(looks)
    if number >= len(schedule.starts):
        raise ValueError(f"look {number + 1} of {len(schedule.starts)} planned")
    suspects = suspects_of(comparison)

    def stop(reason: str) -> Step:
        return Step("stop", 0, None, suspects, reason)

    if comparison.verdict != "inconclusive":
        return stop(f"Settled: {comparison.verdict}.")
    if comparison.kind == "baseline":
        return stop("Nights differ more than starts do: more starts would not settle it.")
    if number + 1 == len(schedule.starts):
        return stop(f"Inconclusive after the last of {number + 1} looks.")
    more = schedule.starts[number + 1] - schedule.starts[number]
    needed = comparison.starts_needed
    words = "an unknown number of" if needed is None else str(needed)
    return Step(
        "continue",
        more,
        schedule.alphas[number + 1],
        suspects,
        f"Undecided at {schedule.starts[number]} starts a side ({words} would settle "
        f"{100 * policy.must_catch:g} %): {more} more pair(s).",
    )
