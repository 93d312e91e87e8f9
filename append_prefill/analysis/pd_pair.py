"""What a prefill and a decode server add to TTFT, over the bytes of KV that go between them.

A launch is three servers that were up together. At each point its difference is the median over
samples of pair minus alone, taken one after the other; a line through those over the bytes has what
every request pays (the handshake) and what each GB does (the link). Launches are the replicates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from append_prefill.analysis.own_scatter import launch_interval, leave_one_out
from append_prefill.analysis.summary import FloatArray, Interval, t_interval
from append_prefill.analysis.verdict.gates import Gated, gate_cost
from append_prefill.records.figures import Estimate
from append_prefill.records.grounds import FindingGround
from append_prefill.records.pd_pair import PairBackend, PairLaunch, PairPoint, PairSeries
from append_prefill.records.run import Finding
from append_prefill.workload.experiment import Bound
from append_prefill.workload.pd_pair import FINDING
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile

CLAIM = "Through a prefill and a decode server, TTFT is little more than of one server alone"
FORMULA = "(T(pair) - T(alone)) / T(alone), at the planned L nearest to 1024"
NEAR_TOKENS = 1024
"""Where the study reckons a transfer, as `kv_transfer_time` does."""


def summarise_backend(
    measured: PairBackend, kv_bytes_per_token: int | None, kv_fixed_bytes: int = 0
) -> PairBackend:
    """The backend with its points and its line; unchanged where there was no pair."""
    launches = [launch for launch in measured.launches if launch.failure is None]
    if not launches:
        return measured
    points = list(dict.fromkeys(series.point for launch in launches for series in launch.series))

    def moved(point: Point) -> int | None:
        size = kv_bytes_per_token
        return None if size is None else size * point.total_tokens + kv_fixed_bytes

    lines = [line for launch in launches if (line := _line(launch, moved)) is not None]
    return measured.model_copy(
        update={
            "points": [
                PairPoint(
                    context_tokens=point.context_tokens,
                    append_tokens=point.append_tokens,
                    moved_bytes=moved(point),
                    alone_ms=_estimate(_of(launches, point, _alone_ms)),
                    more_ms=_estimate(_of(launches, point, _more_ms)),
                )
                for point in points
            ],
            "fixed_ms": _estimate([fixed for fixed, _ in lines]),
            "ms_per_gb": _estimate([slope for _, slope in lines]),
        }
    )


def pair_finding(
    backends: Sequence[PairBackend],
    profile: Profile,
    kv_bytes_per_token: int | None = None,
    kv_fixed_bytes: int = 0,
) -> Finding | None:
    """The finding over the first backend that ran, in the profile's order; None where no pair was
    planned, and not-applicable where none ran.
    """
    if profile.pd_pair is None or not backends:
        return None
    ran = [backend for backend in backends if backend.points]
    bound = profile.bound_of(FINDING)
    share = _share(ran[0]) if ran else None
    gated = _gated(share, bound, profile.name, backends)
    return Finding(
        id=FINDING,
        claim=CLAIM,
        formula=FORMULA,
        study_value=None,
        measured=None if share is None else share.value,
        low=None if share is None else share.low,
        high=None if share is None else share.high,
        bound=None if bound is None else bound.limit,
        argument="" if bound is None else bound.argument,
        verdict=gated.verdict,
        reason=gated.ground,
        details={
            # What the routing map reckons with, also of a run that measured nothing else.
            **({"kv_bytes_per_token": float(kv_bytes_per_token)} if kv_bytes_per_token else {}),
            **({"kv_fixed_bytes": float(kv_fixed_bytes)} if kv_fixed_bytes else {}),
        }
        | {
            f"{backend.backend}_{name}": value.value
            for backend in ran
            for name, value in (("fixed_ms", backend.fixed_ms), ("ms_per_gb", backend.ms_per_gb))
            if value is not None
        },
    )


def _line(
    launch: PairLaunch, moved_of: Callable[[Point], int | None]
) -> tuple[float, float] | None:
    """(ms whatever is moved, ms a GB) of one launch; None where it has no two lengths."""
    known = [
        (moved / 1e9, more)
        for series in launch.series
        if (more := _more_ms(series)) is not None and (moved := moved_of(series.point)) is not None
    ]
    if len({gb for gb, _ in known}) < 2:
        return None
    gb, more_ms = np.array(known).T
    slope, fixed = np.polyfit(gb, more_ms, 1)
    return float(fixed), float(slope)


def _share(backend: PairBackend) -> Interval | None:
    """Over launches, at the point nearest to the study's; the shortest m there."""
    point = min(
        (p.point for p in backend.points),
        key=lambda p: (abs(math.log(p.context_tokens / NEAR_TOKENS)), p.append_tokens),
    )
    measured = [
        np.array([series.pair_ms, series.alone_ms]).T
        for launch in backend.launches
        for series in launch.series
        if series.point == point and launch.failure is None and series.alone_ms
    ]
    if not measured:
        return None
    without = [[_more_of(np.array(less)) for less in leave_one_out(list(m))] for m in measured]
    return launch_interval([_more_of(samples) for samples in measured], without)


def _more_of(samples: FloatArray) -> float:
    """What the pair adds, in parts of one alone; rows of both, taken one after the other."""
    pair_ms, alone_ms = samples.T
    return float(np.median(pair_ms - alone_ms) / np.median(alone_ms))


def _more_ms(series: PairSeries) -> float | None:
    more = np.subtract(series.pair_ms, series.alone_ms)
    return float(np.median(more)) if more.size else None


def _alone_ms(series: PairSeries) -> float | None:
    return float(np.median(series.alone_ms)) if series.alone_ms else None


def _of(
    launches: Sequence[PairLaunch], point: Point, of: Callable[[PairSeries], float | None]
) -> list[float]:
    """One value a launch that has any at the point."""
    own = [series for launch in launches for series in launch.series if series.point == point]
    return [value for series in own if (value := of(series)) is not None]


def _estimate(values: Sequence[float]) -> Estimate:
    if not values:
        return Estimate(value=None, low=None, high=None)
    interval = t_interval(values)
    return Estimate(value=interval.value, low=interval.low, high=interval.high)


def _gated(
    share: Interval | None, bound: Bound | None, profile: str, backends: Sequence[PairBackend]
) -> Gated:
    """A machine on which no pair runs has nothing to judge."""
    if not any(backend.points for backend in backends):
        why = "; ".join(f"{backend.backend}: {backend.reason}" for backend in backends)
        return Gated("not-applicable", FindingGround(code="no-pair", text=why))
    return gate_cost(share, bound, profile, "pair-costs")
