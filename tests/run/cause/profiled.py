"""Launches that were profiled, and records of them."""

from __future__ import annotations

from typing import Any

from append_prefill.analysis.profiles import Profile
from append_prefill.records.cause import Cause, LaunchProfiled
from append_prefill.run.cause.launch import Measured
from append_prefill.run.cause.record import cause_of
from append_prefill.run.cause.where import Moved
from append_prefill.workload.traffic import DEFAULT
from tests.run.cause.test_where import effect

LOOP = ("scheduler", "<string>:main", "sglang.s:loop")
MATCH = (*LOOP, "sglang.cache:match")
BATCH = (*LOOP, "sglang.s:batch")
POLL = (*LOOP, "zmq:poll")
SERVE = ("http", "uvicorn:run", "sglang.t:tokenize")
OLD = (*LOOP, "sglang.s:gone")


def launch(side: str, pair: int, busy_ms: dict, kernels: dict | None = None) -> Measured:
    """A hundred requests, `busy_ms` of each in a stack; the scheduler polls beside."""
    record = LaunchProfiled(
        side=side,
        pair=pair,
        requests=100,
        invalid=0,
        plain_ms=12.0 if side == "candidate" else 10.0,
        profiled_ms=10.5,
        recorded_s=1.0,
        idle_s=1.0,
        unread=3,
        kernels_ms=None if kernels is None else 11.0,
    )
    busy = {stack: ms * 100 for stack, ms in busy_ms.items()} | {POLL: 300.0}
    return Measured(record, Profile(busy, 100, {POLL: 1000.0}), kernels)


def pairs(*, kernels: bool = False) -> list[tuple[Measured, Measured]]:
    """The candidate takes 2 ms more in `match`, one in `fresh` and less in `batch`."""
    made = []
    for pair, more in enumerate((0.0, 0.1, -0.1)):
        new = {MATCH: 2.5 + more, BATCH: 3.0, SERVE: 1.0, (*BATCH, "new:fresh"): 1.0}
        old = {MATCH: 0.5, BATCH: 3.2, SERVE: 1.0 + more, OLD: 0.3}
        made.append(
            (
                launch("candidate", pair, new, {"gemm": 0.4, "copy": 0.1} if kernels else None),
                launch("reference", pair, old, {"gemm": 0.3} if kernels else None),
            )
        )
    return made


def cause(
    *,
    ratio: float = 1.2,
    ends: tuple[float, float] | None = None,
    made: Any = None,
    kernels: bool = False,
    with_primes: bool = False,
) -> Cause:
    one = effect(448, 64, ratio)
    moved = Moved(None, DEFAULT, one, one.ratio, *(ends or (one.low, one.high)))
    return cause_of(
        moved,
        made or pairs(kernels=kernels),
        run="reports/latest",
        command="append-prefill cause reports/latest",
        profile="cpu-nano",
        names=("0.5.23", "0.5.19"),
        rate_hz=100,
        profiler="py-spy 0.4.1",
        with_primes=with_primes,
    )
