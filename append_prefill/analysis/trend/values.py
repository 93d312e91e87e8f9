"""A judged run as an entry of the history: every quantity that is followed over sessions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from append_prefill.analysis.minutes import minutes_of
from append_prefill.analysis.summary import geometric_interval, log_matrix, usable
from append_prefill.records.comparison import Comparison
from append_prefill.records.figures import Estimate
from append_prefill.records.grounds import Quantity
from append_prefill.records.history.entry import (
    Entry,
    Value,
    Yardstick,
    host_of,
    key_of,
    purpose_of,
    whole,
)
from append_prefill.records.identity import identity_of
from append_prefill.records.run import Run
from append_prefill.workload.points import Point
from append_prefill.workload.traffic import Condition

PARTS: tuple[Quantity, ...] = (
    "level",
    "floor_points",
    "compute_points",
    "append_end",
    "context_end",
)
"""Parts of the plane that a yardstick's ratio is followed over. Growths are excesses over the
average: where one is a regression, its end is (`analysis.verdict.alarms`)."""


def entry_of(run: Run, path: str) -> Entry:
    """What the history keeps of `run`, recorded in the folder `path`."""
    spent = minutes_of(run.starts)
    blocks = [block for start in run.starts for block in start.state if block.side == start.side]
    held = yardstick_of(run)
    values = [*_own(run), *(() if held is None else _against(run, held))]
    once = {(value.line, value.quantity): value for value in reversed(values)}
    return Entry(
        key=key_of(run),
        path=path,
        created_at=run.created_at,
        host=host_of(run),
        profile=run.profile,
        definition=run.definition,
        identity=identity_of(run),
        version=run.version,
        label=run.label,
        reference=None if run.comparison is None else run.comparison.reference,
        verdict=run.verdict,
        purpose=purpose_of(run),
        whole=whole(run),
        launches=len(usable(run.starts, None)),
        minutes=None if spent is None else spent.total,
        blocks=len(blocks),
        invalid_blocks=sum(block.void is not None for block in blocks),
        yardstick=None if held is None else _named(held),
        values=tuple(reversed(once.values())),
        confirmations=tuple(run.confirmations),
    )


def yardstick_of(run: Run) -> Comparison | None:
    """What the run is followed against: side by side before the pinned before the chosen one.

    A rolling reference moves with what it is to show, and the study's table has no scatter.
    """
    if run.comparison is None:
        return None
    held = [
        c
        for c in (run.comparison, *run.comparison.others)
        if c.provenance != "study" and c.level is not None and c.role != "rolling"
    ]
    order = ("side-by-side", "pinned", "chosen")
    return min(held, key=lambda c: order.index(_how(c)), default=None)


def _how(comparison: Comparison) -> str:
    return comparison.role if comparison.kind == "baseline" else comparison.kind


def _named(held: Comparison) -> Yardstick:
    reference = held.reference_version or held.reference
    return Yardstick(held.kind, held.role, reference, held.verdict, held.mde)


def _own(run: Run) -> Iterator[Value]:
    level = _level(run)
    if level is not None:
        yield level
    if run.surface is not None:
        yield _fitted("floor_ms", run.surface.floor_ms)
        yield _fitted("new_token_us", run.surface.new_token_us)
        yield _fitted("cached_token_us", run.surface.cached_token_us)
    for finding in run.findings:
        if finding.measured is not None:
            said = {"broken": True, "holds": False, "regime-shift": False}.get(finding.verdict)
            yield Value(
                "own",
                f"finding:{finding.id}",
                finding.measured,
                finding.low,
                finding.high,
                said,
            )
    for p in run.points:
        yield Value("own", f"point:{p.point.label}", p.median_ms, p.low_ms, p.high_ms)
    for result in run.traffic:
        for t in result.points:
            if t.median_ms is None:
                continue  # a profile may have dozens, of which a run takes few
            label = Condition(result.traffic, t.point).label
            yield Value("own", f"point:{label}", t.median_ms, t.low_ms, t.high_ms)


def _level(run: Run) -> Value | None:
    """Over the planned points, of the launches that measured all of them."""
    points = [Point(*point) for point in run.plan.points]
    table = log_matrix(usable(run.starts, "candidate"), points)
    whole_rows = table[~np.isnan(table).any(axis=1)]
    if not points or not len(whole_rows):
        return None
    found = geometric_interval(np.exp(whole_rows.mean(axis=1)))
    said = None if run.comparison is None else _rolling(run.comparison)
    return Value("own", "level", found.value, found.low, found.high, said)


def _rolling(comparison: Comparison) -> bool | None:
    """Whether the level is slower than in the last sessions; None where those were not compared."""
    held = (comparison, *comparison.others)
    rolling = next((c for c in held if c.role == "rolling"), None)
    if rolling is None or rolling.level is None:
        return None
    return rolling.level.verdict == "regression"


def _fitted(quantity: str, fit: Estimate) -> Value:
    return Value("own", quantity, fit.value, fit.low, fit.high)


def _against(run: Run, held: Comparison) -> Iterator[Value]:
    for effect in held.surface:
        if effect.name in PARTS:
            slower = effect.verdict == "regression"
            yield Value("reference", effect.name, effect.ratio, effect.low, effect.high, slower)
    for p in held.points:
        slower = p.verdict == "regression"
        yield Value("reference", f"point:{p.point.label}", p.ratio, p.low, p.high, slower)
    for result in run.traffic:
        compared = [] if result.comparison is None else [result.comparison]
        compared += [c for one in compared for c in one.others]
        for c in compared:
            if (c.kind, c.role) == (held.kind, held.role) and (level := c.level) is not None:
                slower = c.verdict == "regression"
                name = f"traffic:{result.experiment}"
                yield Value("reference", name, level.ratio, level.low, level.high, slower)
