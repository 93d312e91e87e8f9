"""Soaking servers: a steady trickle of requests, to all servers of a pair at the same time."""

from __future__ import annotations

import time
from collections.abc import Sequence

from append_prefill.errors import InfrastructureError
from append_prefill.probe.call import Call, Crowd, UnderWay
from append_prefill.workload.points import Point
from append_prefill.workload.prompts import PromptSource

WINDOW_S = 5.0
"""After so long all answers are waited for: while requests are under way the client's garbage is
not collected, and half an hour of it would be much."""

AT_ONCE = 32
"""Requests under way at one server; a server that is further behind is waited for."""


class _Feed:
    """What one server is sent."""

    def __init__(self, crowd: Crowd, prompts: PromptSource, point: Point, tokens: int) -> None:
        self._idle = list(crowd.of(AT_ONCE))
        self._flying: list[Call] = []
        self._prompts, self._point, self._tokens = prompts, point, tokens

    def send(self, traffic: UnderWay) -> None:
        """The next request, once fewer than `AT_ONCE` are under way."""
        if not self._idle:
            traffic.read(until=lambda: any(call.complete for call in self._flying))
            self.settle()
        context, suffix = self._prompts.draw(self._point)
        call = Call(self._idle.pop(), context + suffix, max_new_tokens=self._tokens)
        traffic.send(call)
        self._flying.append(call)

    def settle(self) -> None:
        """Take back the connections of what is complete."""
        for call in [call for call in self._flying if call.complete]:
            if (error := call.timing.error) is not None:
                raise InfrastructureError(f"the server refused steady traffic: {error}")
            self._flying.remove(call)
            self._idle.append(call.client)


def soak(
    servers: Sequence[tuple[Crowd, PromptSource]],
    point: Point,
    *,
    per_s: float,
    seconds_s: float,
    output_tokens: int,
) -> int:
    """Send each server `per_s` requests a second, evenly, for so long; how many each was sent.

    Each is a prompt of the point's tokens of which nothing is cached; with `per_s` 0 nothing is
    sent. Raises InfrastructureError if one is refused or a connection breaks.
    """
    began_s, sent = time.monotonic(), 0
    feeds = [_Feed(crowd, prompts, point, output_tokens) for crowd, prompts in servers]
    while (now_s := time.monotonic()) < began_s + seconds_s:
        until_s = min(now_s + WINDOW_S, began_s + seconds_s)
        if per_s == 0:
            time.sleep(until_s - now_s)
            continue
        with UnderWay() as traffic:
            while (due_s := began_s + sent / per_s) < until_s:
                traffic.read(due_ns=round(due_s * 1e9))
                for feed in feeds:
                    feed.send(traffic)
                sent += 1
            traffic.read(due_ns=round(until_s * 1e9))
            traffic.read()
        for feed in feeds:
            feed.settle()
    return sent
