"""Launches and profiles for the tests of the analysis, from plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from append_prefill.records.grounds import Side
from append_prefill.records.launch import BlockState, Series, Start
from append_prefill.workload.points import Point
from append_prefill.workload.policy import Noise, Policy
from append_prefill.workload.profile import Profile

# The study's tables, one row a printed line: experiment, L, m, TTFT in ms.
STUDY_ROWS: dict[str, list[tuple[int, int, float]]] = {
    "cache_rate": [
        (102, 922, 24.0),
        (204, 820, 21.7),
        (307, 717, 23.0),
        (512, 512, 20.9),
        (716, 308, 20.4),
        (922, 102, 20.9),
    ],
    "scale": [(128, 128, 20.7), (256, 256, 20.8), (512, 512, 19.6), (1024, 1024, 23.7)],
    "append": [
        (512, 32, 20.9),
        (512, 64, 19.5),
        (512, 128, 19.3),
        (512, 256, 19.5),
        (512, 512, 19.6),
        (512, 1024, 21.3),
    ],
    "context": [
        (64, 128, 19.6),
        (256, 128, 19.1),
        (512, 128, 19.2),
        (1024, 128, 19.6),
        (2048, 128, 24.7),
    ],
}

POINTS = sorted({Point(context, m) for rows in STUDY_ROWS.values() for context, m, _ in rows})

POLICY = Policy(
    min_effect=0.015,
    must_catch=0.03,
    false_alarm_rate=0.01,
    fdr=0.05,
    looks=4,
    argument="The shipped policy, repeated for the tests.",
)
NOISE = Noise(
    start_sd=0.01, within_sd=0.02, night_sd=0.01, argument="The shipped assumption, repeated."
)


def series(
    point: Point,
    ttft_ms: Sequence[float],
    *,
    output_tokens: int = 2,
    e2e_ms: Sequence[float] | None = None,
) -> Series:
    count = len(ttft_ms)
    return Series(
        context_tokens=point.context_tokens,
        append_tokens=point.append_tokens,
        ttft_ms=list(ttft_ms),
        e2e_ms=list(e2e_ms) if e2e_ms is not None else [t + 7.0 for t in ttft_ms],
        itl_ms=[None] * count,
        output_tokens=[output_tokens] * count,
        cached_tokens=[point.context_tokens] * count,
        block=list(range(count)),
    )


def start(
    index: int,
    values: Mapping[Point, Sequence[float]],
    *,
    side: Side = "candidate",
    failure: str | None = None,
    state: Sequence[BlockState] = (),
    **of_series: Any,
) -> Start:
    """One launch from its samples by point."""
    return Start(
        index=index,
        side=side,
        pair=index // 2,
        host="host",
        device="GPU-0",
        started_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=index),
        ready_s=30.0,
        measured_s=20.0,
        server_args=[],
        subject={},
        warmup=None,
        state=list(state),
        client_floor_ms=None,
        series=[series(point, samples, **of_series) for point, samples in values.items()],
        failure=failure,
    )


def starts_of(
    log_ms: Any, points: Sequence[Point] = POINTS, *, side: Side = "candidate", first: int = 0
) -> list[Start]:
    """Launches from log statistics, shape (launches, points); one sample a point, NaN leaves it
    out."""
    return [
        start(
            first + row,
            {p: [float(np.exp(v))] for p, v in zip(points, values, strict=True) if not np.isnan(v)},
            side=side,
        )
        for row, values in enumerate(np.asarray(log_ms, dtype=float))
    ]


def study_cells() -> dict[str, dict[Point, dict[int, float]]]:
    """The study's medians by experiment; a point of two experiments has a value in each."""
    return {
        name: {Point(context, m): {0: t} for context, m, t in rows}
        for name, rows in STUDY_ROWS.items()
    }


def profile(**changes: Any) -> Profile:
    """The study's profile with its bounds; `changes` replace whole tables."""
    why = {"argument": "An argument of at least twenty letters."}
    limits = {
        "cache_rate_band": 0.2,
        "scale_factor": 0.2,
        "append_flatness": 1.2,
        "context_flatness": 1.35,
        "context_factor": 0.2,
        "cache_range_consistency": 1.2,
        "kv_transfer_time": 0.2,
    }
    table: dict[str, Any] = {
        "name": "study",
        "title": "The study's points",
        "device": "cuda",
        "model": {"name": "Llama-3.1-8B"},
        "server": {},
        "plan": {"starts": 5, "samples": 10, "budget_minutes": 30},
        "limits": {"context_tokens": [16, 4096], "append_tokens": [1, 4096], "total_tokens": 8192},
        "experiments": [
            {"id": name, "title": name, "points": [[context, m] for context, m, _ in rows]}
            for name, rows in STUDY_ROWS.items()
        ],
        "bounds": {name: {"limit": limit, **why} for name, limit in limits.items()}
        | {"ttft_share": why},
        "policy": POLICY.model_dump(),
        "noise": NOISE.model_dump(),
        "link": {"name": "PCIe", "gb_per_s": 25.0},
    }
    return Profile.model_validate({**table, **changes})
