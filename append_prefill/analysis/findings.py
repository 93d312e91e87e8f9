"""The study's findings as claims that a run can break.

`FINDINGS` is the registry: a finding is its words, its formula, the value in the study's tables
and a function from `Inputs` to `Measured`; its bound comes from the profile's table of bounds under
the same id. Formulas are those of the study's audit, with T the median TTFT in ms, L, m and
N = L + m in tokens. An experiment of one's own brings its claims along in its profile and needs
nothing here: see `claims` and docs/add-an-experiment.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from append_prefill.analysis.measures import (
    Axis,
    Cells,
    Measured,
    MissingError,
    band_of,
    elasticity,
    grouped_spread_of,
    log_table,
    ratio_of,
    share_of,
)
from append_prefill.analysis.summary import usable
from append_prefill.analysis.transfer import STUDY_TRANSFER_MS, transfer_ms
from append_prefill.records.launch import Start
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile

STUDY_KV_BYTES_PER_TOKEN = 131_072  # Llama-3.1-8B, bf16: 2 * 32 layers * 8 heads * 128 * 2 bytes
STUDY_KV_BYTES = 2**20  # "about 1 MB per 1024 tokens", which is off by 128
STUDY_LINK_GB_PER_S = 25.0
TRANSFER_CONTEXT_TOKENS = 1024

STUDY_EXPERIMENTS = ("cache_rate", "scale", "append", "context")

# Boundaries of the cache rate between low, mid and high, as in the study's table.
RANGES = {"low": (0.0, 0.3), "mid": (0.3, 0.7), "high": (0.7, 1.01)}


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a finding may look at: the launches of one side (as candidate), and the profile.

    `without`: by launch, the same without each of its blocks; see `own_scatter`.
    """

    starts: Sequence[Start]
    cells: Cells
    profile: Profile
    kv_bytes_per_token: int | None
    link_gb_per_s: float
    kv_fixed_bytes: int = 0
    without: Sequence[Sequence[Inputs]] = ()


class NotApplicableError(ValueError):
    """The profile does not plan what the finding needs; the text says what."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One finding. `measure` raises NotApplicableError (unplanned) or MissingError (no sample)."""

    id: str
    claim: str
    formula: str
    study_value: float | None
    measure: Callable[[Inputs], Measured]


def context(point: Point) -> float:
    """The L of a point."""
    return float(point.context_tokens)


def append(point: Point) -> float:
    """The m of a point."""
    return float(point.append_tokens)


def total(point: Point) -> float:
    """The N = L + m of a point."""
    return float(point.total_tokens)


def planned(profile: Profile, experiment_id: str) -> tuple[Point, ...]:
    """The experiment's points. Raises NotApplicableError where none of that id is planned."""
    try:
        return profile.experiment(experiment_id).as_points
    except KeyError as error:
        raise NotApplicableError(f"this run has no experiment {experiment_id!r}") from error


def _with_details(
    measured: Measured, cells: Cells, points: Sequence[Point], axes: Mapping[str, Axis]
) -> Measured:
    table = log_table(cells, points)
    means = table.mean(axis=0)
    extra: dict[str, float | None] = {
        f"elasticity_over_{name}": elasticity(table, [axis(p) for p in points])
        for name, axis in axes.items()
    }
    extra["max_over_min"] = float(np.exp(means.max() - means.min()))
    return replace(measured, details={**extra, **measured.details})


def ends(
    experiment_id: str, axis: Axis, details: Mapping[str, Axis], *, over: Axis | None = None
) -> Callable[[Inputs], Measured]:
    """A finding about T at the two ends of an experiment, with elasticities as details."""

    def measure(inputs: Inputs) -> Measured:
        points = planned(inputs.profile, experiment_id)
        if len({axis(point) for point in points}) < 2:
            raise NotApplicableError(f"{experiment_id} has fewer than two different points")
        measured = ratio_of(inputs.cells, points, axis, over=over)
        return _with_details(measured, inputs.cells, points, details)

    return measure


def band(experiment_id: str) -> Callable[[Inputs], Measured]:
    """A finding about how far T spreads over an experiment's points."""

    def measure(inputs: Inputs) -> Measured:
        points = planned(inputs.profile, experiment_id)
        if len(points) < 2:
            raise NotApplicableError(f"{experiment_id} has fewer than two points")
        return band_of(inputs.cells, points)

    return measure


def ranges_of(profile: Profile) -> dict[str, list[Point]]:
    """The points of the study's four experiments by range of cache rate, r to 2 decimals.

    A point of several experiments is listed once for each, as in the study's tables; experiments
    a profile adds, say beyond the launch-bound regime, are no part of the claim.
    """
    rows = [
        point
        for experiment in profile.experiments
        if experiment.id in STUDY_EXPERIMENTS
        for point in experiment.as_points
    ]
    return {
        name: [point for point in rows if low <= round(point.cache_rate, 2) < high]
        for name, (low, high) in RANGES.items()
    }


def _ranges(inputs: Inputs) -> Measured:
    for experiment_id in STUDY_EXPERIMENTS:
        planned(inputs.profile, experiment_id)
    groups = ranges_of(inputs.profile)
    if sum(bool(points) for points in groups.values()) < 2:
        raise NotApplicableError("all planned points lie in one range of the cache rate")
    return grouped_spread_of(inputs.cells, groups)


def _ttft_share(inputs: Inputs) -> Measured:
    wanted = inputs.profile.plan.share_output_tokens
    shares = []
    for start in usable(inputs.starts, "candidate"):
        values = [
            ttft_ms / e2e_ms
            for series in start.series
            for ttft_ms, e2e_ms, tokens in zip(
                series.ttft_ms, series.e2e_ms, series.output_tokens, strict=True
            )
            if tokens == wanted
        ]
        if values:
            shares.append(float(np.median(values)))
    if not shares:
        raise MissingError(f"no valid sample has {wanted} output tokens")
    return share_of(shares)


def _kv_transfer(inputs: Inputs) -> Measured:
    size = inputs.kv_bytes_per_token
    if size is None:
        raise NotApplicableError("the model's geometry is not known, so neither is its KV size")
    if not inputs.profile.points:
        raise NotApplicableError("no point of the profile's experiments is planned")
    # The study argues at L = 1024; the nearest L by ratio stands in for it, the shortest m
    # there being nearest to the floor the claim speaks of.
    point = min(
        inputs.profile.points,
        key=lambda p: (abs(np.log(p.context_tokens / TRANSFER_CONTEXT_TOKENS)), p.append_tokens),
    )
    moved_bytes = size * point.context_tokens + inputs.kv_fixed_bytes
    took_ms = transfer_ms(moved_bytes, inputs.link_gb_per_s)
    ttft_ms = np.exp(log_table(inputs.cells, (point,))[:, 0])
    measured = share_of([took_ms / float(t) for t in ttft_ms], (point,))
    # Beside the nominal link: those the device was seen to have. One device's stand for all.
    links = next((s.kv_links_gb_per_s for s in inputs.starts if s.kv_links_gb_per_s), {})
    corrected = transfer_ms(STUDY_KV_BYTES_PER_TOKEN * TRANSFER_CONTEXT_TOKENS, STUDY_LINK_GB_PER_S)
    return replace(
        measured,
        details={
            "kv_bytes_per_token": float(size),
            # No key for a model that keeps every token in every layer, as before there was one.
            **({"kv_fixed_bytes": float(inputs.kv_fixed_bytes)} if inputs.kv_fixed_bytes else {}),
            "link_gb_per_s": inputs.link_gb_per_s,
            "context_tokens": float(point.context_tokens),
            "append_tokens": float(point.append_tokens),
            "transfer_ms": took_ms,
            "ttft_ms": float(np.exp(np.log(ttft_ms).mean())),
            "study_transfer_ms": STUDY_TRANSFER_MS,
            "corrected_study_transfer_ms": corrected,
            "study_off_by": STUDY_KV_BYTES_PER_TOKEN * TRANSFER_CONTEXT_TOKENS / STUDY_KV_BYTES,
            **{f"{name}_gb_per_s": speed for name, speed in links.items()},
            **{
                f"{name}_transfer_ms": transfer_ms(moved_bytes, speed)
                for name, speed in links.items()
            },
        },
    )


FINDINGS: tuple[Spec, ...] = (
    Spec(
        "cache_rate_band",
        "At a fixed total length, TTFT hardly depends on the cache rate",
        "(max T - min T) / max T over the points of cache_rate",
        0.15,
        band("cache_rate"),
    ),
    Spec(
        "scale_factor",
        "At a cache rate of one half, TTFT grows far less than the input does",
        "(T(N_max) / T(N_min)) / (N_max / N_min) over the points of scale",
        0.143,
        ends("scale", total, {"total": total}, over=total),
    ),
    Spec(
        "append_flatness",
        "At a fixed context, TTFT is nearly constant in the number of appended tokens",
        "T(m_max) / T(m_min) over the points of append",
        1.019,
        ends("append", append, {"append": append}),
    ),
    Spec(
        "context_flatness",
        "At a fixed append, TTFT is nearly constant in the length of the cached context",
        "T(L_max) / T(L_min) over the points of context",
        1.260,
        ends("context", context, {"context": context, "total": total}),
    ),
    Spec(
        "context_factor",
        "At a fixed append, TTFT grows far less than the total input does",
        "(T(L_max) / T(L_min)) / (N at L_max / N at L_min) over the points of context",
        0.111,
        ends("context", context, {"context": context, "total": total}, over=total),
    ),
    Spec(
        "cache_range_consistency",
        "Low, mid and high cache rates have the same mean TTFT",
        "max / min of the mean T in r < 0.3, 0.3 <= r < 0.7, r >= 0.7 (r to 2 decimals)",
        1.111,
        _ranges,
    ),
    Spec(
        "ttft_share",
        "TTFT is a small part of the whole latency of a short answer",
        "median TTFT / end-to-end latency at plan.share_output_tokens output tokens",
        0.091,
        _ttft_share,
    ),
    Spec(
        "kv_transfer_time",
        "Moving the cached context's KV is cheap beside the TTFT floor",
        "L * KV bytes a token / link speed / T, at the planned L nearest to 1024",
        0.002,
        _kv_transfer,
    ),
)
