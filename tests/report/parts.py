"""Parts of sample runs for the report's tests: a cost model, a seed, no I/O.

TTFT(L, m) = max(floor, a m) + b L, with a launch's level, noise and simulated changes on top.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from append_prefill.analysis.findings import STUDY_EXPERIMENTS
from append_prefill.records.comparison import Change as FittedChange
from append_prefill.records.comparison import (
    ChangeAt,
    ChangeIn,
    ChangeTerm,
    Comparison,
    Effect,
    PointEffect,
)
from append_prefill.records.figures import Estimate
from append_prefill.records.grounds import ComparisonVerdict, FindingVerdict, Side
from append_prefill.records.launch import BlockState, Series, Start, Warmup
from append_prefill.records.noise import NoisePoint, NoiseRecord
from append_prefill.records.run import Finding, PlanRecord, PointSummary, Run, Surface
from append_prefill.workload.loading import load_profile
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile

CREATED = datetime(2026, 11, 20, 2, 14, tzinfo=UTC)
GPU = "GPU-5c7e3f9a-1b52-4c0e-9d0a-6a1f3a7b2c44"
Change = Callable[[Point], float]


@cache
def profile() -> Profile:
    """The shipped profile with the study's experiments, whatever else it may have by now."""
    whole = load_profile("llama-3.1-8b")
    studys = tuple(whole.experiment(name) for name in STUDY_EXPERIMENTS)
    return whole.model_copy(update={"experiments": studys, "traffic": ()})


@dataclass(frozen=True)
class Model:
    floor_ms: float = 19.4
    new_us: float = 20.5
    cached_us: float = 1.9

    def __call__(self, p: Point) -> float:
        return max(self.floor_ms, self.new_us * p.append_tokens / 1e3) + (
            self.cached_us * p.context_tokens / 1e3
        )


def subject(version: str, **changes: Any) -> dict[str, Any]:
    return {
        "sglang": version,
        "torch": "2.13.0",
        "kernels": "0.3.21",
        "flashinfer": "0.6.2",
        "transformers": "5.12.1",
        "cuda": "13.0",
        "python": "3.12.11",
        "page_size_tokens": 1,
        "chunked_prefill_tokens": 8192,
        "kv_capacity_tokens": 262144,
        "context_length_tokens": 131072,
        "attention_backend": "fa3",
        "prefill_graph": "breakable",
        "radix_cache": True,
        **changes,
    }


IDENTITY: dict[str, Any] = {
    "definition": "f2b8c1d09a47",
    "device": {
        "name": "NVIDIA H100 80GB HBM3",
        "memory_bytes": 85520809984,
        "driver": "580.95.05",
        "power_limit_w": 700.0,
        "mig": None,
    },
    "model": {"name": "Llama-3.1-8B-Instruct", "config": "9a31c0d2", "dtype": "bfloat16"},
    "server_args": {"dtype": "bfloat16", "chunked-prefill-size": "8192"},
    "server_env": {"names": [], "digest": "44136fa355b3678a"},
}


def starts_of(
    points: list[Point],
    side: Side,
    model: Model,
    rng: random.Random,
    *,
    count: int = 5,
    samples: int = 10,
    sd: float = 0.008,
    change: Change = lambda _: 1.0,
    version: str = "0.5.23",
    device: str = GPU,
) -> list[Start]:
    starts = []
    for index in range(count):
        level = rng.lognormvariate(0, sd)
        series = []
        for point in points:
            local = rng.lognormvariate(0, sd / 2)
            values = [
                model(point) * change(point) * level * local * rng.lognormvariate(0, 0.015)
                for _ in range(samples)
            ]
            series.append(
                Series(
                    context_tokens=point.context_tokens,
                    append_tokens=point.append_tokens,
                    ttft_ms=values,
                    e2e_ms=[v + 6.7 for v in values],
                    itl_ms=[None] * samples,
                    output_tokens=[2] * samples,
                    cached_tokens=[point.context_tokens] * samples,
                    block=list(range(samples)),
                )
            )
        starts.append(
            Start(
                index=index,
                side=side,
                pair=index,
                host="gpu-node-07",
                device=device,
                started_at=CREATED + timedelta(minutes=4 * index + (side == "reference") * 2),
                ready_s=41.0 + rng.random() * 6,
                measured_s=88.0 + rng.random() * 9,
                server_args=["--dtype", "bfloat16", "--chunked-prefill-size", "8192"],
                subject=subject(version),
                warmup=Warmup(rounds=rng.randint(4, 9), stationary=True, seconds_s=12.0),
                state=[
                    BlockState(block=b, side=side, void=None, readings={"sm_clock_mhz": 1980})
                    for b in range(samples)
                ],
                client_floor_ms=0.18 + rng.random() * 0.03,
                series=series,
            )
        )
    return starts


def level_of(starts: list[Start], side: Side, point: Point) -> list[float]:
    return [
        statistics.median(series.ttft_ms)
        for start in starts
        if start.side == side
        for series in start.series
        if series.point == point and series.ttft_ms
    ]


def spread(values: list[float]) -> tuple[float | None, float | None, float | None]:
    """Median and a t-like 95 % interval over launches; (median, None, None) for one launch."""
    if not values:
        return None, None, None
    middle = statistics.median(values)
    if len(values) < 2:
        return middle, None, None
    half = 2.78 * statistics.stdev(values) / len(values) ** 0.5
    return middle, middle - half, middle + half


def summaries(starts: list[Start], points: list[Point], of: Profile) -> list[PointSummary]:
    rows = []
    for point in points:
        middle, low, high = spread(level_of(starts, "candidate", point))
        mine = [x for s in starts if s.side == "candidate" for x in s.series if x.point == point]
        rows.append(
            PointSummary(
                experiment=of.experiments_of(point),
                context_tokens=point.context_tokens,
                append_tokens=point.append_tokens,
                median_ms=middle,
                low_ms=low,
                high_ms=high,
                starts=sum(bool(x.ttft_ms) for x in mine),
                samples=sum(len(x.ttft_ms) for x in mine),
                void=sum(v.count for x in mine for v in x.void),
            )
        )
    return rows


def point_effect(
    point: Point, starts: list[Start], forced: ComparisonVerdict | None
) -> PointEffect:
    candidate = level_of(starts, "candidate", point)
    reference = level_of(starts, "reference", point)
    a, b = statistics.median(candidate), statistics.median(reference)
    ratio = a / b
    half = (
        2.3
        * (
            (statistics.stdev(candidate) / a) ** 2 / len(candidate)
            + (statistics.stdev(reference) / b) ** 2 / len(reference)
        )
        ** 0.5
    )
    low, high = ratio * (1 - half), ratio * (1 + half)
    verdict: ComparisonVerdict = "pass" if high < 1.03 else "inconclusive"
    if low > 1 and ratio > 1.015:
        verdict = "regression"
    elif high < 1 and ratio < 0.985:
        verdict = "improvement"
    return PointEffect(
        context_tokens=point.context_tokens,
        append_tokens=point.append_tokens,
        reference_ms=b,
        candidate_ms=a,
        ratio=ratio,
        low=low,
        high=high,
        p=0.0004 if verdict in ("regression", "improvement") else 0.31,
        mde=half * 1.6,
        verdict=forced or verdict,
    )


def additive(effects: list[PointEffect], level: Effect, *, fits: bool = True) -> FittedChange:
    """The model of change that adds the same milliseconds everywhere."""
    points = [e for e in effects if e.ratio is not None and e.reference_ms is not None]
    delta = statistics.fmean((e.ratio or 1) * (e.reference_ms or 1) for e in points)
    delta -= statistics.fmean(e.reference_ms or 1 for e in points)
    assert level.ratio is not None
    assert level.low is not None
    assert level.high is not None
    scale = delta / (level.ratio - 1)
    ends = {"low": (level.low - 1) * scale, "high": (level.high - 1) * scale}
    return FittedChange(
        parts=[
            ChangeIn(
                region="level",
                ratio=level.ratio,
                low=level.low,
                high=level.high,
                delta_ms=delta,
                low_ms=ends["low"],
                high_ms=ends["high"],
                points=[(e.context_tokens, e.append_tokens) for e in points],
            )
        ],
        terms=[ChangeTerm(kind="everywhere", value=delta, **ends)],
        points=[
            ChangeAt(
                context_tokens=e.context_tokens,
                append_tokens=e.append_tokens,
                reference_ms=e.reference_ms or 1,
                delta_ms=delta,
            )
            for e in points
        ],
        misfit=0.4,
        fits=fits,
    )


def effect(name: str, a: float, b: float, half: float, verdict: ComparisonVerdict) -> Effect:
    ratio = a / b
    return Effect(
        name=name,
        reference=b,
        candidate=a,
        ratio=ratio,
        low=ratio - half,
        high=ratio + half,
        p=None,
        mde=half * 1.4,
        verdict=verdict,
    )


_CLAIMS: list[tuple[str, str, str, float, float]] = [
    ("cache_rate_band", "At a fixed total length, TTFT hardly depends on the cache rate",
     "(max T - min T) / max T over the points of cache_rate", 0.15, 0.2),
    ("scale_factor", "At a cache rate of one half, TTFT grows far less than the input does",
     "(T(N_max) / T(N_min)) / (N_max / N_min) over the points of scale", 0.143, 0.2),
    ("append_flatness",
     "At a fixed context, TTFT is nearly constant in the number of appended tokens",
     "T(m_max) / T(m_min) over the points of append", 1.019, 1.2),
    ("context_flatness",
     "At a fixed append, TTFT is nearly constant in the length of the cached context",
     "T(L_max) / T(L_min) over the points of context", 1.26, 1.35),
    ("cache_range_consistency", "Low, mid and high cache rates have the same mean TTFT",
     "max / min of the mean T in r < 0.3, 0.3 <= r < 0.7, r >= 0.7 (r to 2 decimals)", 1.111, 1.2),
]  # fmt: skip


def findings(**verdicts: FindingVerdict) -> list[Finding]:
    """The study's findings; a keyword gives one a verdict other than `holds`."""
    made = []
    for name, claim, formula, study, bound in _CLAIMS:
        verdict = verdicts.get(name, "holds")
        beyond = verdict in ("broken", "regime-shift")
        measured = bound * (1.09 if beyond else 0.995 if verdict == "inconclusive" else 0.86)
        low, high = measured * 0.985, measured * 1.015
        where = "beyond" if beyond else "within"
        made.append(
            Finding(
                id=name,
                claim=claim,
                formula=formula,
                study_value=study,
                measured=measured,
                low=low,
                high=high,
                bound=bound,
                argument=profile().bounds[name].argument,
                verdict=verdict,
                reason=f"The whole 95 % interval [{low:.4g}, {high:.4g}] is {where} the bound "
                f"{bound:g}.",
                details={"elasticity_over_append": 0.0123, "max_over_min": measured * 1.01},
            )
        )
    made.append(
        Finding(
            id="ttft_share",
            claim="TTFT is a small part of the whole latency of a short answer",
            formula="median TTFT / end-to-end latency at plan.share_output_tokens output tokens",
            study_value=0.091,
            measured=0.0934,
            low=0.0921,
            high=0.0947,
            bound=None,
            argument=profile().bounds["ttft_share"].argument,
            verdict="not-applicable",
            reason="Reported, not gated.",
        )
    )
    made.append(
        Finding(
            id="kv_transfer_time",
            claim="Moving the cached context's KV is cheap beside the TTFT floor",
            formula="L * KV bytes a token / link speed / T, at the planned L nearest to 1024",
            study_value=0.002,
            measured=0.0141,
            low=0.0139,
            high=0.0143,
            bound=0.2,
            argument=profile().bounds["kv_transfer_time"].argument,
            verdict="holds",
            reason="The whole 95 % interval [0.0139, 0.0143] is within the bound 0.2.",
            details={
                "kv_bytes_per_token": 131072.0,
                "link_gb_per_s": 450.0,
                "context_tokens": 1024.0,
                "append_tokens": 128.0,
                "transfer_ms": 0.298,
                "ttft_ms": 21.2,
                "study_transfer_ms": 0.04,
                "corrected_study_transfer_ms": 5.369,
                "study_off_by": 134.2,
            },
        )
    )
    return made


def surface(model: Model, starts: int = 5) -> Surface:
    def around(value: float) -> Estimate:
        return Estimate(value=value, low=value * 0.985, high=value * 1.015)

    return Surface(
        form="max",
        floor_ms=around(model.floor_ms),
        new_token_us=around(model.new_us),
        cached_token_us=around(model.cached_us),
        crossover_tokens=around(model.floor_ms / model.new_us * 1e3),
        residual=0.011,
        starts=starts,
    )


def bare(planned: list[Point], of: Profile, starts: list[Start], **fields: Any) -> Run:
    """A measured run with nothing judged but what `fields` brings."""
    pairs = max((s.index for s in starts), default=-1) + 1
    sides: list[Side] = ["candidate", "reference"]
    both = [side for side in sides if any(s.side == side for s in starts)] or ["candidate"]
    values: dict[str, Any] = {
        "created_at": CREATED,
        "suite": {"version": "0.1.0", "python": "3.12.11"},
        "definition": "f2b8c1d09a47",
        "profile": of.name,
        "seed": 20261120,
        "identity": IDENTITY,
        "subject": subject("0.5.23"),
        "state": {"host": "gpu-node-07", "replicated": True, "workers": 1},
        "plan": PlanRecord(
            sides=list(both),
            starts=5,
            samples=10,
            points=[(p.context_tokens, p.append_tokens) for p in planned],
            drawn=[(1733, 61), (95, 1410)],
            pairs=[list(both if i % 2 == 0 else reversed(both)) for i in range(pairs)],
            budget_minutes=60,
            link_gb_per_s=450,
        ),
        "starts": starts,
        **fields,
    }
    return Run(**values)


def study_points() -> list[Point]:
    return [*profile().points, Point(1733, 61), Point(95, 1410)]


def side_by_side(
    change: Change,
    verdict: ComparisonVerdict,
    where: str,
    *,
    reason: str,
    points: list[Point] | None = None,
    sd: float = 0.008,
    candidate: Model | None = None,
    finding_verdicts: dict[str, FindingVerdict] | None = None,
    run_verdict: str | None = None,
    seed: int = 7,
    **comparison_fields: Any,
) -> Run:
    of, rng = profile(), random.Random(seed)
    points = points or study_points()
    base, other = Model(), candidate or Model()
    starts = starts_of(points, "candidate", other, rng, sd=sd, change=change)
    starts += starts_of(points, "reference", base, rng, sd=sd, version="0.5.22")
    for i, start in enumerate(starts):
        if start.side == "reference":
            starts[i] = start.model_copy(
                update={"subject": subject("0.5.22", torch="2.12.1", kernels="0.3.20")}
            )
    effects = [point_effect(p, starts, None) for p in points]
    joint: ComparisonVerdict = "pass" if verdict in ("pass", "inconclusive") else verdict
    level = statistics.geometric_mean([e.ratio or 1.0 for e in effects])
    comparison = Comparison(
        reference="0.5.22",
        kind="side-by-side",
        provenance="suite",
        confirmed=verdict in ("regression", "improvement", "pass"),
        method="Welch on log medians of launches, Benjamini-Hochberg over points, one joint test",
        points=effects,
        surface=[
            effect("overall level", level, 1.0, 0.006, joint),
            effect("floor", other.floor_ms * 1.001, base.floor_ms, 0.009, "pass"),
            effect("per new token", other.new_us * 1.02, base.new_us, 0.02, joint),
            effect("per cached token", other.cached_us, base.cached_us, 0.06, "inconclusive"),
        ],
        verdict=verdict,
        where=where,
        reason=reason,
        **{"mde": 0.019, "starts_needed": None, **comparison_fields},
    )
    return bare(
        points,
        of,
        starts,
        points=summaries(starts, points, of),
        findings=findings(**(finding_verdicts or {})),
        surface=surface(other),
        comparison=comparison,
        noise=noise(points),
        verdict=run_verdict or verdict,
    )


def noise(points: list[Point]) -> NoiseRecord:
    return NoiseRecord(
        starts=10,
        nights=4,
        start_sd=0.0083,
        within_sd=0.0152,
        night_sd=0.0071,
        points=[
            NoisePoint(
                context_tokens=p.context_tokens,
                append_tokens=p.append_tokens,
                start_sd=0.008,
                within_sd=0.015,
                lag1=0.07,
                effective_n=8.7,
            )
            for p in points
        ],
    )
