"""Interim analyses: stop as soon as the answer is in, measure on while it is not, at kept rates.

A group-sequential rule with fixed analyses. The first comes after half of the planned launches: a
device that is quieter than the plan had to assume has its answer by then, and a large slow-down has
it on any. The second comes after the planned launches, which alone give the promised power. Further
ones follow while nothing is decided. What may be wrong is fixed for each before anything is
measured, and `compare` is given it:

- **False alarms.** Each analysis has its own part of the policy's rate as its `alpha`; by the union
  bound the parts sum to at most that rate, whatever the data decide about going on. Nothing is
  assumed about the joint law of a test made of four parts.
- **Missed slow-downs.** A pass says that no slow-down of must_catch hides, and each analysis is one
  more chance to say so wrongly: with four plain 95 % intervals 6 in 100 would, where one promises
  2.5. A pass needs the level *and* both far ends, so a slow-down that passes has got past the one
  of them that it is whole in. The law of one estimate at several analyses is known, its correlation
  being the root of the launches' ratio, so the parts are those of a group-sequential test
  (Armitage, McPherson & Rowe, JRSS A 1969) whose crossing probability is `MISS_RATE`; as parts of
  a union bound they would be a third smaller.

An improvement is an alarm in the other direction, at the same `alpha`: it ends a run no sooner and
no later than a regression does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy import optimize, special

from append_prefill.analysis.summary import CONFIDENCE
from append_prefill.records.comparison import Comparison, Look
from append_prefill.records.grounds import Decision
from append_prefill.records.run import Finding
from append_prefill.workload.policy import Policy

EARLY_SHARE = 0.1
"""Part of the false-alarm rate spent before the planned launches. Enough for what need not wait:
at a pair's scatter of 1.5 %, +5 % is called after three pairs more than eight times in ten. It
costs the promise little: a part of 0.7 of a one-sided 0.76 % in place of 0.8 moves the critical z
from 2.51 to 2.55."""

LATER_SHARE = 0.2
"""Part spent after the planned launches, equally by the analyses there are. Their larger samples
make up for the smaller parts."""

MISS_RATE = 0.025
"""How often a slow-down of must_catch may pass, over all analyses: the upper end of a two-sided
95 % interval lies below the truth that often."""

MISS_WEIGHT_LATER = 0.5
"""What an analysis after the planned launches may miss, over what one may until then. Most sessions
in which nothing differs end by the planned launches, and what the last ones need is launches."""

HOLD_RATE = 0.05
"""One-sided rate, over all points, at which one that stands out keeps a run from passing before the
planned launches. A pass promises nothing of single points, but what is planned finds slow-downs of
one, and to stop at half of it would lose them: with one point of 18 slower by 3 % at a quiet
device's noise, 89 sessions in 100 are called slower after five launches per side, 47 where three
may pass them and 86 where this holds them back. It holds one in twenty of those in which nothing
differs (`python -m benchmarks.verdicts`)."""

GROWTH = 0.6
"""A further interim analysis adds this part of the planned launches: of five planned, 8 and 11,
which takes a standard error to two thirds."""

EARLY_STARTS_MIN = 2
"""One launch per side shows no scatter, so nothing can be said of it."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """One interim analysis: after how many launches per side, and what it may get wrong.

    `alpha`: one-sided false-alarm rate. `pass_confidence`: of the two-sided intervals whose upper
    ends a pass is read off. `hold_rate`: at which a single point holds a pass back, 0 if none does.
    """

    starts: int
    alpha: float
    pass_confidence: float
    hold_rate: float = 0.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """The interim analyses of a run. `planned`: the launches that the promised power rests on."""

    analyses: tuple[Analysis, ...]
    planned: int

    @property
    def starts(self) -> tuple[int, ...]:
        """Launches per side at each."""
        return tuple(analysis.starts for analysis in self.analyses)


def schedule_of(policy: Policy, planned: int, *, at_once: int = 1) -> Schedule:
    """At most `policy.looks` interim analyses of a run of `planned` launches per side.

    With one there is only that of the planned launches. The second is the early one, after half of
    them, rounded up to a multiple of `at_once`: pairs that are measured at the same time are done
    at the same time, and to judge without the last of them would save no minutes. Where that leaves
    nothing to save, there is none. Raises ValueError without a planned launch or one at once.
    """
    if planned < 1 or at_once < 1:
        raise ValueError("a schedule needs at least one planned launch, and one at a time")
    early = at_once * -(-max(EARLY_STARTS_MIN, -(-planned // 2)) // at_once)
    before = [early] if policy.looks > 1 and early < planned else []
    step = round(GROWTH * planned)  # at least one, since GROWTH is above a half
    after = [planned + number * step for number in range(1, policy.looks - 1)]
    starts = (*before, planned, *after)

    rates = [EARLY_SHARE for _ in before]
    later = [LATER_SHARE / len(after) for _ in after]
    shares = [*rates, 1 - sum(rates) - sum(later), *later]
    weights = (*(1.0 for _ in before), 1.0, *(MISS_WEIGHT_LATER for _ in after))
    analyses = tuple(
        Analysis(
            starts=number,
            alpha=policy.false_alarm_rate * share,
            pass_confidence=1 - 2 * miss,
            hold_rate=HOLD_RATE if number < planned else 0.0,
        )
        for number, share, miss in zip(starts, shares, miss_rates(starts, weights), strict=True)
    )
    return Schedule(analyses, planned)


@lru_cache
def miss_rates(starts: tuple[int, ...], weights: tuple[float, ...]) -> tuple[float, ...]:
    """One-sided rates in proportion to `weights` that together miss `MISS_RATE`.

    `starts`: launches at each analysis, growing.
    """
    if len(starts) == 1:
        return (MISS_RATE,)
    largest = max(weights)

    def beyond(rate: float) -> float:
        return crossing(starts, [rate * w / largest for w in weights]) - MISS_RATE

    # The largest alone misses no more than all together, and all no more than their sum.
    rate = optimize.brentq(beyond, MISS_RATE * largest / sum(weights), MISS_RATE, xtol=1e-7)
    return tuple(rate * w / largest for w in weights)


def crossing(starts: Sequence[int], rates: Sequence[float]) -> float:
    """Probability that a mean of that many normal values is called extreme at any analysis.

    Each calls one of `rates` alone. The density of the sum so far, of what was not called before,
    is carried from one analysis to the next (Armitage, McPherson & Rowe).
    """
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    sums, mass, before = np.zeros(1), np.ones(1), 0
    for number, rate in zip(starts, rates, strict=True):
        low, high = -_TAIL * np.sqrt(number), -special.ndtri(rate) * np.sqrt(number)
        at = low + (high - low) * (nodes + 1) / 2
        step_variance = number - before
        steps = np.exp(-((at[:, None] - sums) ** 2) / (2 * step_variance))
        steps /= np.sqrt(2 * np.pi * step_variance)
        sums, mass, before = at, steps @ mass * weights * (high - low) / 2, number
    return 1 - float(mass.sum())


_NODES = 128
"""Enough for six digits where an analysis adds a fortieth of the launches, less than any does."""

_TAIL = 8.0
"""Standard deviations, beyond which a normal density holds 1e-15."""


@dataclass(frozen=True, slots=True)
class Step:
    """What to do after an interim analysis.

    `suspects`: labels of the points that are not shown to be below must_catch, those to spend
    samples on.
    """

    decision: Decision
    suspects: tuple[str, ...]

    @property
    def goes_on(self) -> bool:
        return self.decision.more_pairs > 0


def suspects_of(comparison: Comparison) -> tuple[str, ...]:
    """Points that the comparison neither passes nor names faster, the slowest first."""
    open_points = [
        (p.ratio, p.point.label)
        for p in comparison.points
        if p.verdict in {"regression", "inconclusive"} and p.ratio is not None
    ]
    return tuple(label for _, label in sorted(open_points, reverse=True))


def next_step(
    comparison: Comparison, looks: Sequence[Look], schedule: Schedule, *, open_findings: bool
) -> Step:
    """Whether the interim analysis just judged, `comparison`, ends the run.

    `looks` are the earlier ones, without this; `comparison` must have been made with the schedule's
    rates of number `len(looks)`. Goes on only while the verdict is inconclusive, an interim
    analysis is left, and more launches could settle it: neither across sessions, where they hardly
    help, nor where nothing can be compared. `open_findings`: a finding is inconclusive too. The
    planned launches were planned for the findings as well, so a run is not ended before them by a
    verdict that would leave it inconclusive all the same. Raises ValueError if there were more
    interim analyses than planned.
    """
    number, starts = len(looks), schedule.starts
    if number >= len(starts):
        raise ValueError(f"interim analysis {number + 1} of {len(starts)}")
    suspects = suspects_of(comparison)

    def stop(code: Literal["settled", "nights", "last"]) -> Step:
        return Step(Decision(code=code, starts_needed=comparison.starts_needed), suspects)

    def go_on(code: Literal["continue", "findings"]) -> Step:
        more = starts[number + 1] - starts[number]
        needed = comparison.starts_needed
        return Step(Decision(code=code, more_pairs=more, starts_needed=needed), suspects)

    if comparison.verdict != "inconclusive":
        early = starts[number] < schedule.planned
        if early and open_findings and comparison.verdict in {"pass", "improvement"}:
            return go_on("findings")
        return stop("settled")
    if comparison.kind == "baseline":
        return stop("nights")
    if number + 1 == len(starts):
        return stop("last")
    return go_on("continue")


def in_reach(finding: Finding, launches: int, planned: int) -> bool:
    """Whether the `planned` launches could settle a finding that `launches` of them left open.

    Its interval shrinks as t(n - 1) / sqrt(n) does, and the value itself may come to lie elsewhere
    by half of what is left of it. A finding that lies on its bound would need launches by the
    dozen: it costs minutes every night, and is as open after the planned ones.
    """
    value, low, high, bound = finding.measured, finding.low, finding.high, finding.bound
    if value is None or low is None or high is None or bound is None or launches < 2:
        return True

    def width(count: int) -> float:
        return float(special.stdtrit(count - 1, (1 + CONFIDENCE) / 2) / np.sqrt(count))

    half = max(high - value, value - low) * width(planned) / width(launches)
    return abs(value - bound) >= half / 2
