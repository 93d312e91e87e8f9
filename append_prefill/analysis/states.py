"""What a state costs within a launch: lines through the stages of its server's way there.

Launches are the replicates, as everywhere: each has a line of its own, and the interval is over
them. A stage's TTFT is the median of its samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal

import numpy as np

from append_prefill.analysis.summary import t_interval
from append_prefill.records.figures import Estimate
from append_prefill.records.launch import Start
from append_prefill.records.states import Growth, Stage
from append_prefill.workload.traffic import State

Told = Callable[[Stage], float | None]

_OVER: Mapping[State, Literal["leaves", "minutes", "burst"]] = {
    "aged": "leaves",
    "soaked": "minutes",
    "overloaded": "burst",
}


def growth(starts: Sequence[Start], state: State) -> Growth | None:
    """Over the usable launches of one side; None for a fresh server, and where no launch tells.

    By 1,000 leaves from the first stage with the pool full on; by minute; and of an overload, its
    two stages being 0 and 1, what is more after it.
    """
    if state == "fresh":
        return None
    ways = [[stage for stage in start.stages if stage.state == state] for start in starts]
    ways = [stages for stages in ways if len(stages) > 1]
    if not ways:
        return None
    return Growth(
        over=_OVER[state],
        ttft_ms=_estimate([_OF_ONE[state](stages) for stages in ways]),
        resident_mb=_estimate([_slope(stages, _requests, _resident_mb) for stages in ways]),
        full_ms=_estimate([_full_ms(stages) for stages in ways]) if state == "aged" else None,
        launches=len(ways),
    )


def _slope(stages: Sequence[Stage], along: Told, of: Told) -> float | None:
    """Of the least-squares line; None where fewer than two places are known."""
    known = [(x, y) for s in stages if (x := along(s)) is not None and (y := of(s)) is not None]
    if len({x for x, _ in known}) < 2:
        return None
    xs, ys = np.array(known).T
    return float(np.polyfit(xs, ys, 1)[0])


def _full_ms(stages: Sequence[Stage]) -> float | None:
    """From the empty pool's stage to that of the full pool with the fewest leaves."""
    full = [stage for stage in stages if stage.leaves is not None][:1]
    return _more_ms([stages[0], *full])


def _more_ms(stages: Sequence[Stage]) -> float | None:
    """From the first stage to the last."""
    before, after = _ttft_ms(stages[0]), _ttft_ms(stages[-1])
    return None if before is None or after is None or len(stages) < 2 else after - before


def _ttft_ms(stage: Stage) -> float | None:
    return float(np.median(stage.ttft_ms)) if stage.ttft_ms else None


def _resident_mb(stage: Stage) -> float | None:
    return None if stage.resident_bytes is None else stage.resident_bytes / 1e6


def _leaves(stage: Stage) -> float | None:
    return None if stage.leaves is None else stage.leaves / 1000


def _minutes(stage: Stage) -> float:
    return stage.after_s / 60


def _requests(stage: Stage) -> float:
    return stage.requests / 1000


def _estimate(values: Sequence[float | None]) -> Estimate:
    known = [value for value in values if value is not None]
    if not known:
        return Estimate(value=None, low=None, high=None)
    interval = t_interval(known)
    return Estimate(value=interval.value, low=interval.low, high=interval.high)


_OF_ONE: Mapping[State, Callable[[Sequence[Stage]], float | None]] = {
    "aged": partial(_slope, along=_leaves, of=_ttft_ms),
    "soaked": partial(_slope, along=_minutes, of=_ttft_ms),
    "overloaded": _more_ms,
}
