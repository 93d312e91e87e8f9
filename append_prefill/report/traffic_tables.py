"""Rows of the section on other traffic: an experiment each, and each of its conditions."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from append_prefill.analysis.summary import samples_of, upper_quantile
from append_prefill.records.comparison import Effect, PointEffect
from append_prefill.records.figures import Estimate
from append_prefill.records.grounds import Side
from append_prefill.records.run import Run
from append_prefill.records.states import Growth
from append_prefill.records.traffic import Boundary, TrafficPoint, TrafficResult
from append_prefill.report import format as fmt
from append_prefill.report.spreads import Spread, spreads_of
from append_prefill.report.traffic import moved_places, traffic_words, within, worst_first
from append_prefill.report.words import Word, label_of, word_of
from append_prefill.workload.points import Point


@dataclass(frozen=True, slots=True)
class Tail:
    """What the slowest requests of one side take, in ms; None where too few samples tell."""

    p90_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class ConditionRow:
    """One condition of an experiment, with the samples' spread on either side.

    `fitted_ms`: the change that the experiment's own model has there.
    """

    measured: TrafficPoint
    effect: PointEffect | None
    word: Word | None
    fitted_ms: float | None
    candidate: Spread | None
    reference: Spread | None
    reference_tail: Tail

    @property
    def median_ms(self) -> float | None:
        """The candidate's."""
        return self.measured.median_ms

    @property
    def reference_ms(self) -> float | None:
        return None if self.effect is None else self.effect.reference_ms


@dataclass(frozen=True, slots=True)
class TrafficRow:
    """One experiment: TTFT in the median over its conditions, its change, and its verdict's word.

    `words` says what traffic it is; `notes` what moved where, what was not found cached, what it
    costs over the default traffic, or why nothing was measured.
    """

    result: TrafficResult
    words: str
    word: Word | None
    level: Effect | None
    reference_ms: float | None
    candidate_ms: float | None
    notes: list[str]
    conditions: list[ConditionRow]


def traffic_rows(run: Run) -> list[TrafficRow]:
    """Every experiment in other traffic, worst first."""
    return [_row(run, result) for result in worst_first(run.traffic)]


def _row(run: Run, result: TrafficResult) -> TrafficRow:
    comparison, conditions = result.comparison, _conditions(run, result)
    return TrafficRow(
        result=result,
        words=traffic_words(result.traffic),
        word=None if comparison is None else word_of(comparison.verdict),
        level=None if comparison is None else comparison.level,
        reference_ms=_middle(conditions, lambda row: row.reference_ms),
        candidate_ms=_middle(conditions, lambda row: row.median_ms),
        notes=[
            note
            for note in (result.reason, moved_places(result), _lost(result), *_costs(result))
            if note
        ],
        conditions=conditions,
    )


def _middle(rows: list[ConditionRow], of: Callable[[ConditionRow], float | None]) -> float | None:
    known = [value for row in rows if (value := of(row)) is not None]
    return statistics.median(known) if known else None


def _lost(result: TrafficResult) -> str:
    """At which condition the most tokens were missing in the cache; "" where none were."""

    def missing(point: TrafficPoint) -> float:
        if point.cached_tokens is None or point.planned_cached_tokens is None:
            return 0.0
        return point.planned_cached_tokens - point.cached_tokens

    worst = max(result.points, key=missing, default=None)
    if worst is None or missing(worst) <= 0:
        return ""
    where = "" if worst.turn is None else f"turn {worst.turn}: "
    return f"{where}{cached_words(worst)} tokens cached"


def _costs(result: TrafficResult) -> list[str]:
    """What this traffic costs the candidate over the default, and where a queue grows."""
    costs = []
    if over := [p.over_alone for p in result.points if p.over_alone is not None]:
        spans = " to ".join(dict.fromkeys(fmt.number(end) for end in (min(over), max(over))))
        costs.append(f"{spans} times alone")
    if result.over_ids is not None:
        fixed, grows = result.over_ids.fixed_ms, result.over_ids.per_1000_tokens_ms
        if fixed.value is not None:
            costs.append(f"over ids {fmt.signed(fixed.value)} ms")
        if grows.value is not None:
            costs.append(f"per 1000 tokens {fmt.signed(grows.value)} ms")
    costs += [] if result.boundary is None else [boundary_words(result.boundary)]
    costs += [] if result.growth is None else _grown(result.growth)
    costs += [
        f"a queue grows: {fmt.number(p.saturation_per_s)} of {fmt.number(p.offered_per_s)} a "
        "second end"
        for p in result.points
        if p.saturation_per_s is not None
    ]
    return costs


_PAGES_SHOW_TOKENS = 0.5
"""With pages of one token there is no rest; less than this is means over other prompts."""


def boundary_words(boundary: Boundary) -> str:
    """As in "a merge across the boundary took 1.1 tokens of the context in 36 % of the prompts"."""
    if boundary.tokens is None:
        return "no prompt lost a token of its context to a merge across the boundary"
    words = (
        f"a merge across the boundary took {fmt.number(boundary.tokens, 2)} tokens of the context "
        f"in {fmt.share(boundary.share)} of the prompts"
    )
    again, cost = boundary.prefilled_again_tokens, boundary.cost_ms
    if again is not None and again - boundary.tokens >= _PAGES_SHOW_TOKENS:
        words += f", {fmt.number(again, 2)} with the rest of their pages"
    if cost is not None and cost.value is not None:
        words += f", which cost {fmt.signed(cost.value)} ms{_ends(cost)}"
    return words


_PER = {"leaves": "per 1000 leaves", "minutes": "per minute", "burst": "after the burst"}


def _grown(growth: Growth) -> list[str]:
    """What a state adds, with intervals over launches."""
    parts = [
        ("with its pool full", growth.full_ms, "ms"),
        (_PER[growth.over], growth.ttft_ms, "ms"),
        ("memory per 1000 requests", growth.resident_mb, "MB"),
    ]
    return [
        f"{name} {fmt.signed(value.value)} {unit}{_ends(value)}"
        for name, value, unit in parts
        if value is not None and value.value is not None
    ]


def _ends(value: Estimate) -> str:
    if value.low is None or value.high is None:
        return ""
    return f" ({fmt.signed(value.low)} to {fmt.signed(value.high)})"


def cached_words(point: TrafficPoint) -> str:
    """What was cached of what should have been: "100 of 150"."""
    planned = point.planned_cached_tokens
    shown = fmt.exact(point.cached_tokens)
    return shown if planned is None else f"{shown} of {fmt.count(planned)}"


def _conditions(run: Run, result: TrafficResult) -> list[ConditionRow]:
    own = within(run, result)
    ours, theirs = spreads_of(own, "candidate"), spreads_of(own, "reference")
    comparison = result.comparison
    effects = {} if comparison is None else {e.point: e for e in comparison.points}
    change = None if comparison is None else comparison.change
    fitted = {} if change is None else {at.point: at.delta_ms for at in change.points}
    rows = []
    for measured in result.points:
        effect = effects.get(measured.point)
        rows.append(
            ConditionRow(
                measured=measured,
                effect=effect,
                word=None if effect is None else label_of(effect),
                fitted_ms=fitted.get(measured.point),
                candidate=ours.get(measured.point),
                reference=theirs.get(measured.point),
                reference_tail=_tail(own, "reference", measured.point),
            )
        )
    return rows


def _tail(run: Run, side: Side, point: Point) -> Tail:
    """`run` has the experiment's series as those of its points."""
    starts = [start for start in run.starts if start.side == side and start.usable]
    samples = [float(v) for start in starts for v in samples_of(start, point)]
    return Tail(upper_quantile(samples, 0.90), upper_quantile(samples, 0.99))
