"""Small records for the tests of this room and of the commands."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from append_prefill.records.definition import UNTOLD, defined_by
from append_prefill.records.figures import Estimate
from append_prefill.records.grounds import Side
from append_prefill.records.identity import compose_identity
from append_prefill.records.launch import BlockState, Series, Start, Void, Warmup
from append_prefill.records.run import PlanRecord, PointSummary, Run, Surface
from append_prefill.workload.points import Point

POINTS = (Point(64, 128), Point(512, 32), Point(512, 1024), Point(2048, 128))
CREATED = datetime(2026, 11, 2, 3, 4, 5, tzinfo=UTC)


def identity(**changes: Any) -> dict[str, Any]:
    device = {
        "device_kind": "cuda",
        "device": "NVIDIA H200",
        "memory_bytes": 150_754_820_096,
        "driver": "580.95.05",
        "power_cap_w": 700,
        "mig": "off",
    }
    model = {"name": "Llama-3.1-8B-Instruct", "config_sha256": "ab" * 32, "dtype": "bfloat16"}
    return (
        compose_identity(
            device=device,
            model=model,
            server_args=["--chunked-prefill-size", "8192"],
            server_env={},
            definition="d" * 64,
            protocol=UNTOLD,
        )
        | changes
    )


def start(
    index: int = 0,
    side: Side = "candidate",
    *,
    version: str = "0.5.23",
    base_ms: float = 20.0,
    samples: int = 5,
    seed: int = 0,
    points: Sequence[Point] = POINTS,
    **changes: Any,
) -> Start:
    rng = np.random.default_rng([seed, index, side == "reference"])
    level = base_ms * float(np.exp(rng.normal(0, 0.005)))
    fields: dict[str, Any] = {
        "index": index,
        "side": side,
        "pair": index,
        "host": "node",
        "device": "GPU-1",
        "started_at": CREATED,
        "ready_s": 40.0,
        "measured_s": 12.0,
        "server_args": ["--chunked-prefill-size", "8192", "--api-key", "hunter2"],
        "subject": {"sglang": version},
        "warmup": Warmup(rounds=6, stationary=True, seconds_s=3.0),
        "state": [BlockState(block=0, side=side, void=None, readings={"clock_mhz": [1980] * 50})],
        "client_floor_ms": 0.2,
        "series": [series(p, level, rng, samples) for p in points],
    }
    return Start(**(fields | changes))


def series(point: Point, level: float, rng: np.random.Generator, samples: int) -> Series:
    ttft = (level + point.append_tokens * 1e-3) * np.exp(rng.normal(0, 0.01, samples))
    return Series(
        context_tokens=point.context_tokens,
        append_tokens=point.append_tokens,
        ttft_ms=ttft.tolist(),
        e2e_ms=(ttft + 7).tolist(),
        itl_ms=[None] * samples,
        output_tokens=[2] * samples,
        cached_tokens=[point.context_tokens] * samples,
        block=list(range(samples)),
        void=[Void(reason="wrong split", count=1)],
    )


def run(version: str = "0.5.23", *, starts: int = 5, **changes: Any) -> Run:
    base_ms = changes.pop("base_ms", 20.0)
    seed = changes.pop("seed", 0)
    fields: dict[str, Any] = {
        "created_at": CREATED,
        "suite": {"version": "0.1.0", "purpose": "try"},
        "definition": "d" * 64,
        "profile": "llama-3.1-8b",
        "seed": seed,
        "identity": identity(),
        "subject": {"sglang": version, "torch": "2.14.1"},
        "state": {"replicated": True},
        "plan": PlanRecord(
            sides=["candidate"],
            starts=starts,
            samples=5,
            points=[(p.context_tokens, p.append_tokens) for p in POINTS],
            drawn=[],
            pairs=[["candidate"]] * starts,
            budget_minutes=60,
            link_gb_per_s=450,
        ),
        "starts": [
            start(index, version=version, base_ms=base_ms, seed=seed) for index in range(starts)
        ],
        "points": [
            PointSummary(
                experiment=["append"],
                context_tokens=p.context_tokens,
                append_tokens=p.append_tokens,
                median_ms=base_ms,
                low_ms=base_ms * 0.99,
                high_ms=base_ms * 1.01,
                starts=starts,
                samples=starts * 5,
                void=0,
            )
            for p in POINTS
        ],
        "surface": Surface(
            form="sum",
            floor_ms=Estimate(value=base_ms, low=base_ms * 0.99, high=base_ms * 1.01),
            new_token_us=Estimate(value=1.0, low=0.9, high=1.1),
            cached_token_us=Estimate(value=None, low=None, high=None),
            crossover_tokens=Estimate(value=2e4, low=None, high=None),
            residual=0.01,
            starts=starts,
        ),
        "verdict": "pass",
    }
    return Run(**(fields | changes))


def as_before_protocols(made: Run, points: Sequence[Point] = POINTS) -> Run:
    """`made` as written before the identity told the protocol: it holds one hash for all.

    `points` are those of its profile.
    """
    definition = defined_by(UNTOLD, points)
    identity = {k: v for k, v in made.identity.items() if k != "protocol"}
    return made.model_copy(
        update={"definition": definition, "identity": identity | {"definition": definition}}
    )


def side_by_side(
    version: str = "0.5.23",
    reference: str = "0.5.19",
    *,
    reference_ms: float = 20.0,
    points: Sequence[Point] = POINTS,
    **changes: Any,
) -> Run:
    """A run of two sides; `changes` are those of `run`, but for what the launches are made of."""
    made = run(version, starts=3, **changes)
    sides: list[tuple[Side, str, float]] = [
        ("candidate", version, 20.0),
        ("reference", reference, reference_ms),
    ]
    made.starts = [
        start(index, side, version=of, base_ms=ms, seed=made.seed, points=points)
        for index in range(3)
        for side, of, ms in sides
    ]
    made.plan.sides = [side for side, *_ in sides]
    made.plan.points = [(p.context_tokens, p.append_tokens) for p in points]
    return made
