"""Overloading a server: a burst far over what it can take, until the last of it has ended."""

from __future__ import annotations

import time

from append_prefill.probe.call import Call, Crowd, UnderWay
from append_prefill.records.states import Burst
from append_prefill.workload.points import Point
from append_prefill.workload.prompts import PromptSource
from append_prefill.workload.states import Overload


def overload(crowd: Crowd, prompts: PromptSource, burst: Overload) -> Burst:
    """Send all of the burst at once, each on a connection of its own, and wait for all answers.

    A request that the server refuses or drops, as it may when overloaded, counts as failed. Raises
    InfrastructureError where a connection breaks, or no byte comes for as long as one request may
    be silent.
    """
    point = Point(burst.prompt_tokens, 1)
    with crowd.opened(burst.requests) as clients:
        calls = [
            Call(client, prompts.draw(point)[0], max_new_tokens=burst.output_tokens)
            for client in clients
        ]
        began_s = time.monotonic()
        with UnderWay() as traffic:
            for call in calls:
                traffic.send(call)
            traffic.read()
        drained_s = time.monotonic() - began_s
        timings = [call.timing for call in calls]
    waited_ms = [timing.ttft_ms for timing in timings if timing.ttft_ms is not None]
    return Burst(
        requests=burst.requests,
        prompt_tokens=burst.prompt_tokens,
        output_tokens=burst.output_tokens,
        failed=sum(timing.error is not None for timing in timings),
        retracted=sum(bool(timing.retractions) for timing in timings),
        waited_ms=max(waited_ms, default=None),
        drained_s=drained_s,
    )
