"""Interim analyses: measure more launches while a run is undecided, at a kept false-alarm rate.

A group-sequential rule with fixed analyses. Each has its own part of the false-alarm rate, fixed
before anything is measured, and `compare` is given that part as its `alpha`; by the union bound
the parts sum to at most the policy's rate whatever the data decide about going on. (An exact
Lan-DeMets boundary would use the interim analyses' correlation to gain some power, but needs the
joint law of a test made of four parts; here nothing is assumed about it.)

The first interim analysis spends most: it comes after the planned launches, which alone give the
promised power, and most runs end there. The rest is shared equally by the later interim analyses,
whose larger samples make up for the smaller parts. Stopping for `pass` costs nothing, as a pass is
no alarm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from append_prefill.records.grounds import Decision
from append_prefill.records.run import Comparison, Look
from append_prefill.workload.profile import Policy

FIRST_SHARE = 0.8
"""Part of the false-alarm rate spent at the first of several interim analyses. 0.8 of a one-sided
0.7 % moves the critical z from 2.46 to 2.54: 0.05 sd of power given up, for the right to look
again."""

GROWTH = 0.6
"""A further interim analysis adds this part of the launches of the first: three interim analyses of
5, 8 and 11 launches per side, which takes a standard error to two thirds."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Launches per side at each interim analysis, and its one-sided false-alarm rate."""

    starts: tuple[int, ...]
    alphas: tuple[float, ...]


def schedule_of(policy: Policy, first_starts: int, max_starts: int | None = None) -> Schedule:
    """Interim analyses of an adaptive run whose first comes after `first_starts` launches per side.

    Fewer than `policy.looks` where `max_starts` (what the budget holds) leaves no room; the whole
    rate then goes to those there are. Raises ValueError unless 1 <= first_starts <= max_starts.
    """
    if first_starts < 1 or (max_starts is not None and max_starts < first_starts):
        raise ValueError(
            "the budget must hold the launches of the first interim analysis, at least one"
        )
    step = round(GROWTH * first_starts)  # at least one, since GROWTH is above a half
    starts = [first_starts + look * step for look in range(policy.looks)]
    if max_starts is not None:
        starts = sorted({min(number, max_starts) for number in starts})
    if len(starts) == 1:
        return Schedule((first_starts,), (policy.false_alarm_rate,))
    later = policy.false_alarm_rate * (1 - FIRST_SHARE) / (len(starts) - 1)
    first = policy.false_alarm_rate * FIRST_SHARE
    return Schedule(tuple(starts), (first, *(later for _ in starts[1:])))


@dataclass(frozen=True, slots=True)
class Step:
    """What to do after an interim analysis.

    `alpha`: the next one's false-alarm rate, None when stopping. `suspects`: labels of the points
    that are not shown to be below must_catch, those to spend samples on.
    """

    decision: Decision
    alpha: float | None
    suspects: tuple[str, ...]

    @property
    def goes_on(self) -> bool:
        return self.decision.code == "continue"


def suspects_of(comparison: Comparison) -> tuple[str, ...]:
    """Points that the comparison neither passes nor names faster, the slowest first."""
    open_points = [
        (p.ratio, p.point.label)
        for p in comparison.points
        if p.verdict in {"regression", "inconclusive"} and p.ratio is not None
    ]
    return tuple(label for _, label in sorted(open_points, reverse=True))


def next_step(comparison: Comparison, looks: Sequence[Look], schedule: Schedule) -> Step:
    """Whether the interim analysis just judged, `comparison`, ends the run.

    `looks` are the earlier ones, without this; `comparison` must have been made with
    `schedule.alphas[len(looks)]`. Goes on only while the verdict is inconclusive, an interim
    analysis is left, and more launches could settle it: neither across sessions, where they hardly
    help, nor where nothing can be compared. Raises ValueError if there were more interim analyses
    than planned.
    """
    number = len(looks)
    if number >= len(schedule.starts):
        raise ValueError(f"interim analysis {number + 1} of {len(schedule.starts)}")
    suspects = suspects_of(comparison)

    def stop(code: Literal["settled", "nights", "last"]) -> Step:
        return Step(Decision(code=code, starts_needed=comparison.starts_needed), None, suspects)

    if comparison.verdict != "inconclusive":
        return stop("settled")
    if comparison.kind == "baseline":
        return stop("nights")
    if number + 1 == len(schedule.starts):
        return stop("last")
    more = schedule.starts[number + 1] - schedule.starts[number]
    decision = Decision(code="continue", more_pairs=more, starts_needed=comparison.starts_needed)
    return Step(decision, schedule.alphas[number + 1], suspects)
