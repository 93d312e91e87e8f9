"""Append-prefills that are due at times of their own, whatever has become of those before them.

`together:k` are k of them due at once, `rate:r` Poisson arrivals. Times count from when a request
was due, not from when it left, so that a client that is held up cannot make a server look better
than it is (coordinated omission); how late it left is kept beside.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from zlib import crc32

import numpy as np

from append_prefill.probe.call import Call, Crowd, UnderWay
from append_prefill.probe.client import TimedClient
from append_prefill.probe.sample import Company, Sample, Times, result_of
from append_prefill.workload.prompts import PromptSource
from append_prefill.workload.traffic_experiment import Unit


def due_times_s(unit: Unit, seed: Sequence[int]) -> list[float]:
    """When each request of the unit is due, s after the first one is.

    For `rate:r` gaps are exponential with mean 1/r, drawn from `seed` and the experiment's name, so
    that both sides, and all blocks of a launch, see the same arrivals.
    """
    if unit.traffic.company_kind != "rate":
        return [0.0] * unit.size
    rng = np.random.default_rng([*seed, crc32(unit.experiment.encode())])
    gaps_s = rng.exponential(1 / unit.traffic.company_size, size=unit.size - 1)
    return [0.0, *np.cumsum(gaps_s).tolist()]


def take_due(
    client: TimedClient,
    crowd: Crowd,
    prompts: PromptSource,
    unit: Unit,
    due_s: Sequence[float],
    *,
    page_tokens: int,
    output_tokens: int,
    pause: Callable[[float], None],
) -> list[Sample]:
    """One sample a request, due `due_s` after the first: its context is primed before any is sent.

    Each has a connection of its own and its bytes are ready beforehand. Raises InfrastructureError
    if a connection breaks.
    """
    point = unit.points[0]
    drawn = [prompts.draw(point) for _ in due_s]
    for context, _ in drawn:
        if (error := client.prime(context).error) is not None:
            return [Sample(point, f"prime failed: {error}", unit.traffic) for _ in due_s]
    pause(0.0)
    if unit.traffic.company_kind == "rate":
        with crowd.opened(len(drawn)) as clients:
            calls, due_ns = send_due(clients, [a + b for a, b in drawn], due_s, output_tokens)
    else:
        clients = crowd.of(len(drawn))
        calls, due_ns = send_due(clients, [a + b for a, b in drawn], due_s, output_tokens)
    samples = []
    for call, due in zip(calls, due_ns, strict=True):
        late_ms = (call.sent_ns - due) / 1e6
        result = result_of(call.timing, point, page_tokens, output_tokens)
        company = Company(due_ms=(due - due_ns[0]) / 1e6, late_ms=late_ms)
        if isinstance(result, Times):
            result = replace(
                result, ttft_ms=result.ttft_ms + late_ms, e2e_ms=result.e2e_ms + late_ms
            )
        samples.append(Sample(point, result, unit.traffic, company=company))
    return samples


def send_due(
    clients: Sequence[TimedClient],
    prompts: Sequence[Sequence[int]],
    due_s: Sequence[float],
    output_tokens: int,
) -> tuple[list[Call], list[int]]:
    """The complete calls, and when each was due, ns on the monotonic clock."""
    calls = [
        Call(client, ids, max_new_tokens=output_tokens)
        for client, ids in zip(clients, prompts, strict=True)
    ]
    with UnderWay() as traffic:
        began_ns = time.monotonic_ns()
        due_ns = [began_ns + round(after_s * 1e9) for after_s in due_s]
        for call, due in zip(calls, due_ns, strict=True):
            traffic.read(due_ns=due)
            traffic.send(call)
        traffic.read()
    return calls, due_ns
