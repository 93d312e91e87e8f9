"""The finding `decode_interference`: what an append-prefill does to requests that decode beside it.

Their time per token over a window of their tokens into which an append-prefill falls, over that of
the window before; beside it the same for a full prefill of as many tokens, which is what a server
without a prefix cache, or a router that sends a turn elsewhere, would have them wait for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import Literal

from append_prefill.analysis.own_scatter import launch_interval, leave_one_out
from append_prefill.analysis.summary import Interval
from append_prefill.analysis.verdict.gates import gate_cost
from append_prefill.records.launch import Start, TrafficSeries
from append_prefill.records.run import Finding
from append_prefill.workload.profile import Profile
from append_prefill.workload.traffic_experiment import WINDOW_TOKENS

ID = "decode_interference"
CLAIM = "An append-prefill hardly holds up the requests that decode beside it"
FORMULA = (
    f"ITL of running decodes over {WINDOW_TOKENS} tokens while an append-prefill arrives / before"
)
STUDY_VALUE = 1.02
"""Published beside 1.48 for a full prefill; over which window is not said."""

Which = Literal["itl_append_ms", "itl_prefill_ms"]


def decode_interference(starts: Sequence[Start], profile: Profile) -> Finding | None:
    """The finding over one side's usable launches; None where nothing is planned beside decodes.

    The geometric mean over launches of each one's median over samples, at all points of such
    experiments together.
    """
    planned = {c for e in profile.traffic for c in e.conditions}
    conditions = {c for c in planned if c.traffic.company_kind == "beside"}
    if not conditions:
        return None
    of = [[s for s in start.traffic if s.condition in conditions] for start in starts]
    measured = _over_before(of, "itl_append_ms")
    full = _over_before(of, "itl_prefill_ms")
    bound = profile.bound_of(ID)
    gated = gate_cost(measured, bound, profile.name, "held-up")
    return Finding(
        id=ID,
        claim=CLAIM,
        formula=FORMULA,
        study_value=STUDY_VALUE,
        measured=None if measured is None else measured.value,
        low=None if measured is None else measured.low,
        high=None if measured is None else measured.high,
        bound=None if bound is None else bound.limit,
        argument="" if bound is None else bound.argument,
        verdict=gated.verdict,
        reason=gated.ground,
        details={
            "full_prefill": None if full is None else full.value,
            "itl_before_ms": _median(of),
        },
    )


def _over_before(of: Sequence[Sequence[TrafficSeries]], which: Which) -> Interval | None:
    """Of the launches that have a sample; None where none has."""
    logs, without = [], []
    for launch in of:
        values = [
            math.log(during / before)
            for series in launch
            for before, during in zip(series.itl_before_ms, getattr(series, which), strict=True)
            if before and during
        ]
        if values:
            logs.append(median(values))
            without.append([median(less) for less in leave_one_out(values)])
    if not logs:
        return None
    log = launch_interval(logs, without)
    low, high = (None if end is None else math.exp(end) for end in (log.low, log.high))
    return Interval(math.exp(log.value), low, high)


def _median(of: Sequence[Sequence[TrafficSeries]]) -> float | None:
    values = [ms for launch in of for s in launch for ms in s.itl_before_ms if ms is not None]
    return median(values) if values else None
