"""Rows of the report's tables: the record's numbers put side by side, tallied, never judged."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from append_prefill.records.comparison import Comparison, Effect, PointEffect
from append_prefill.records.grounds import Side, is_of_device
from append_prefill.records.launch import Series, Start
from append_prefill.records.run import PointSummary, Run
from append_prefill.report import format as fmt
from append_prefill.report.headline import worst_first
from append_prefill.report.names import subject_of
from append_prefill.report.reasons import quantity_name
from append_prefill.report.scales import Scale
from append_prefill.report.spreads import Spread, spreads_of
from append_prefill.report.words import Word, label_of
from append_prefill.workload.points import Point


@dataclass(frozen=True, slots=True)
class Tally:
    """What one side measured at one point."""

    starts: int
    samples: int
    void: int


@dataclass(frozen=True, slots=True)
class Forest:
    """An effect and its interval as pixels, on one scale for the whole table."""

    x: float
    low_x: float | None
    high_x: float | None


@dataclass(frozen=True, slots=True)
class PointRow:
    """One point: measured on the candidate, and compared where there is a reference.

    `word` is what the row says of the point, `fitted_ms` the change that the model has there.
    """

    point: Point
    experiments: str
    median_ms: float | None
    low_ms: float | None
    high_ms: float | None
    effect: PointEffect | None
    word: Word | None
    fitted_ms: float | None
    forest: Forest | None
    candidate: Tally
    reference: Tally | None
    candidate_spread: Spread | None
    reference_spread: Spread | None


@dataclass(frozen=True, slots=True)
class ForestScale:
    """Where no change and the effect to catch lie, and what the ends of the scale are."""

    zero_x: float
    catch_x: float | None
    low_text: str
    high_text: str


FOREST_WIDTH = 120.0


def tally(starts: Iterable[Start], side: Side) -> dict[Point, Tally]:
    """Launches with a valid sample, valid samples and invalid ones, by point."""
    found: dict[Point, Tally] = {}
    for start in starts:
        if start.side != side:
            continue
        for series in start.series:
            old = found.get(series.point, Tally(0, 0, 0))
            found[series.point] = Tally(
                old.starts + bool(series.ttft_ms),
                old.samples + len(series.ttft_ms),
                old.void + void_in(series),
            )
    return found


def void_in(series: Series) -> int:
    """How many samples of one series are invalid, for whatever reason."""
    return sum(entry.count for entry in series.void)


def point_rows(
    run: Run, baseline: Run | None, must_catch: float | None
) -> tuple[list[PointRow], ForestScale | None]:
    """Every point, worst first (by L and m where nothing was compared), and the forest's scale."""
    effects = {e.point: e for e in run.comparison.points} if run.comparison else {}
    summaries = {s.point: s for s in run.points}
    order = [e.point for e in worst_first(list(effects.values()))]
    order += sorted(point for point in summaries if point not in effects)
    scale, marks = _forest_scale(list(effects.values()), must_catch)
    reference = _reference_tally(run, baseline)
    candidate = tally(run.starts, "candidate")
    ours, theirs = spreads_of(run, "candidate"), spreads_of(run, "reference")
    change = run.comparison.change if run.comparison else None
    fitted = {} if change is None else {at.point: at.delta_ms for at in change.points}
    rows = []
    for point in order:
        effect, summary = effects.get(point), summaries.get(point)
        measured = candidate.get(point)
        if measured is None and summary is not None:
            measured = Tally(summary.starts, summary.samples, summary.void)
        rows.append(
            PointRow(
                point=point,
                experiments="" if summary is None else experiment_words(run, summary),
                median_ms=summary.median_ms if summary else None,
                low_ms=summary.low_ms if summary else None,
                high_ms=summary.high_ms if summary else None,
                effect=effect,
                word=label_of(effect) if effect else None,
                fitted_ms=fitted.get(point),
                forest=_forest(effect, scale),
                candidate=measured or Tally(0, 0, 0),
                reference=reference.get(point),
                candidate_spread=ours.get(point),
                reference_spread=theirs.get(point),
            )
        )
    return rows, marks


def experiment_words(run: Run, summary: PointSummary) -> str:
    """Whose a point is: of an experiment, drawn for this run, or what other traffic is held to."""
    if summary.experiment:
        return ", ".join(summary.experiment)
    place = (summary.context_tokens, summary.append_tokens)
    return "drawn" if place in run.plan.drawn else "of other traffic"


def _reference_tally(run: Run, baseline: Run | None) -> dict[Point, Tally]:
    if run.comparison is None:
        return {}
    if run.comparison.kind == "side-by-side":
        return tally(run.starts, "reference")
    if baseline is None:
        return {}
    return {s.point: Tally(s.starts, s.samples, s.void) for s in baseline.points}


def _forest_scale(
    effects: list[PointEffect], must_catch: float | None
) -> tuple[Scale | None, ForestScale | None]:
    ends = [x for e in effects for x in (e.ratio, e.low, e.high) if x is not None]
    if not ends:
        return None, None
    # Past a change of 40 % nothing is gained by showing how far: the rest would shrink to dots.
    low = max(-0.4, min(x - 1 for x in [*ends, 0.98]) * 1.1)
    high = min(0.4, max(x - 1 for x in [*ends, 1 + (must_catch or 0.02)]) * 1.1)
    scale = Scale(1 + low, 1 + high, 6, FOREST_WIDTH - 6)
    marks = ForestScale(
        zero_x=scale(1.0),
        catch_x=scale(1 + must_catch) if must_catch is not None else None,
        low_text=f"\u2212{-low * 100:.0f}",
        high_text=f"+{high * 100:.0f}",
    )
    return scale, marks


def _forest(effect: PointEffect | None, scale: Scale | None) -> Forest | None:
    if effect is None or scale is None or effect.ratio is None:
        return None
    return Forest(
        scale(effect.ratio),
        None if effect.low is None else scale(effect.low),
        None if effect.high is None else scale(effect.high),
    )


@dataclass(frozen=True, slots=True)
class JointRow:
    """One quantity that the two sides were compared by as a whole, and what its row says."""

    name: str
    effect: Effect
    word: Word


GROWTH = ("append_growth", "context_growth")
ENDS = {"append_end": "append_tokens", "context_end": "context_tokens"}
MOVED = ("regression", "improvement")
SECOND_FIT = ("floor", "new_token", "cached_token")
"""In records of suites before 0.2 these are of a fit to each side, beside the candidate's own and
the change: three answers to one question. The change is the one that is shown."""


def joint_rows(comparison: Comparison | None) -> list[JointRow]:
    """What was compared jointly, the level first.

    Without growth that was not rejected: less of it is neither faster nor a pass. Without an end of
    a single point, which has its row beside the others, with the interval that it has alone.
    """
    if comparison is None:
        return []
    return [
        JointRow(_capital(quantity_name(e)), e, label_of(e))
        for e in comparison.surface
        if e.name not in SECOND_FIT
        and (e.name not in GROWTH or e.verdict in MOVED)
        and not _is_one_point(e, comparison.points)
    ]


def _is_one_point(effect: Effect, points: Sequence[PointEffect]) -> bool:
    if effect.name not in ENDS or effect.from_tokens is None:
        return False
    tokens: list[int] = [getattr(point, ENDS[effect.name]) for point in points]
    return sum(many >= effect.from_tokens for many in tokens) == 1


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


@dataclass(frozen=True, slots=True)
class StartRow:
    """One launch, with how many of its samples count and their median over all points, in ms.

    Samples in other traffic are counted, and are not in the median.
    """

    start: Start
    valid: int
    void: int
    void_blocks: int
    median_ms: float | None


def start_rows(run: Run) -> list[StartRow]:
    """The launches in the order they ran."""
    rows = []
    for start in sorted(run.starts, key=lambda s: s.started_at):
        values = [v for series in start.series for v in series.ttft_ms]
        rows.append(
            StartRow(
                start=start,
                valid=len(values) + sum(len(series.ttft_ms) for series in start.traffic),
                void=sum(void_in(series) for series in (*start.series, *start.traffic)),
                void_blocks=sum(b.void is not None for b in start.state),
                median_ms=statistics.median(values) if values else None,
            )
        )
    return rows


def is_telling(row: StartRow) -> bool:
    """Whether something of a launch is to be seen: it failed, drifted, or lost samples for good.

    What the device made invalid was measured again, and is told below.
    """
    start = row.start
    drifted = start.warmup is not None and not start.warmup.stationary
    voids = [void for series in (*start.series, *start.traffic) for void in series.void]
    return bool(start.failure or drifted or any(not is_of_device(v.reason) for v in voids))


@dataclass(frozen=True, slots=True)
class SubjectRow:
    """One field of the subject on both sides."""

    field: str
    candidate: Any
    reference: Any
    differs: bool


def subject_rows(run: Run, baseline: Run | None) -> tuple[list[SubjectRow], bool]:
    """The subject, differing fields first, and whether there is a second side at all."""
    candidate = fmt.flatten(subject_of(run, "candidate", baseline) or {})
    other = subject_of(run, "reference", baseline)
    reference = fmt.flatten(other or {})
    fields = list(dict.fromkeys([*candidate, *reference]))
    rows = [
        SubjectRow(
            f,
            candidate.get(f),
            reference.get(f),
            other is not None and candidate.get(f) != reference.get(f),
        )
        for f in fields
    ]
    return sorted(rows, key=lambda r: not r.differs), other is not None
