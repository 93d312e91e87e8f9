"""The requests that are profiled: append-prefills of one condition, one batch after the other.

Only what is asked about may run while the profiler looks on. At a point in the default traffic the
context is primed before a batch, and each append-prefill of it has a suffix of its own, so that no
prime is among them; a first token is all they ask for, since what follows is no part of TTFT. A
unit of other traffic is taken as it is measured, with what it has to send before: a conversation's
first turn, the contexts of those that come together. So is a point whose change does not show
behind one context: each request then has a prime of its own before it, as a run's samples have.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from append_prefill.engines.base import ServerDescription
from append_prefill.errors import InfrastructureError
from append_prefill.probe.client import TimedClient
from append_prefill.probe.sample import Sample, Times, result_of
from append_prefill.probe.shooter import Shooter
from append_prefill.workload.points import Point
from append_prefill.workload.prompts import FIRST_ORDINARY_ID, PromptSource
from append_prefill.workload.traffic_experiment import Unit

POOL_SHARE = 0.5
"""Of the KV pool for one batch: far from where an insertion has to evict first."""

UNTOLD_BATCH = 8
"""Append-prefills of a batch where a server does not tell how large its pool is."""

Outcome = Times | str


class Work(Protocol):
    """What is sent to one server."""

    def prepare(self) -> int:
        """Empty the cache and do what comes before a batch; how many requests that holds."""
        ...

    def send(self, count: int) -> list[Outcome]:
        """So many requests, one after the other, or a few more where they come in groups."""
        ...


class PointWork:
    """Append-prefills of one point, alone, all behind one primed context."""

    def __init__(
        self,
        client: TimedClient,
        prompts: PromptSource,
        description: ServerDescription,
        point: Point,
        *,
        vocab_size: int,
        idle_s: float,
    ) -> None:
        # Each suffix of a batch begins with an id of its own, which are drawn until they do.
        self._most = (vocab_size - FIRST_ORDINARY_ID) // 2
        self._client, self._prompts, self._point = client, prompts, point
        self._page_tokens = description.page_size_tokens
        self._capacity_tokens = description.kv_capacity_tokens
        self._idle_s = idle_s
        self._context: Sequence[int] = ()
        self._first: set[int] = set()

    def prepare(self) -> int:
        self._client.flush_cache()
        self._context = self._prompts.draw(self._point)[0]
        self._first = set()
        primed = self._client.prime(self._context)
        if primed.error is not None:
            raise InfrastructureError(f"the context could not be primed: {primed.error}")
        if self._capacity_tokens is None:
            return min(UNTOLD_BATCH, self._most)
        left = self._capacity_tokens * POOL_SHARE - self._point.context_tokens
        # Each suffix takes whole pages, one of them begun by the context.
        each = self._point.append_tokens + 1 + self._page_tokens
        return max(1, min(int(left / each), self._most))

    def send(self, count: int) -> list[Outcome]:
        return [self._one() for _ in range(count)]

    def _one(self) -> Outcome:
        suffix = self._prompts.suffix(self._point.append_tokens)
        # One that begins like another of the batch would find a token more in the cache.
        while suffix[0] in self._first:
            suffix = self._prompts.suffix(self._point.append_tokens)
        self._first.add(suffix[0])
        time.sleep(self._idle_s)
        timing = self._client.generate([*self._context, *suffix], max_new_tokens=1)
        return result_of(timing, self._point, self._page_tokens, 1)


class SampleWork:
    """Append-prefills of one point as a run takes them, each behind a context primed for it."""

    def __init__(
        self,
        client: TimedClient,
        prompts: PromptSource,
        description: ServerDescription,
        point: Point,
        *,
        output_tokens: int,
        idle_s: float,
    ) -> None:
        self._client, self._prompts, self._point = client, prompts, point
        self._page_tokens = description.page_size_tokens
        self._capacity_tokens = description.kv_capacity_tokens
        self._output_tokens, self._idle_s = output_tokens, idle_s

    def prepare(self) -> int:
        self._client.flush_cache()
        if self._capacity_tokens is None:
            return UNTOLD_BATCH
        each = self._point.total_tokens + self._output_tokens + self._page_tokens
        return max(1, int(self._capacity_tokens * POOL_SHARE / each))

    def send(self, count: int) -> list[Outcome]:
        return [self._one() for _ in range(count)]

    def _one(self) -> Outcome:
        context, suffix = self._prompts.draw(self._point)
        primed = self._client.prime(context)
        if primed.error is not None:
            return f"the context could not be primed: {primed.error}"
        time.sleep(self._idle_s)
        timing = self._client.generate([*context, *suffix], max_new_tokens=self._output_tokens)
        return result_of(timing, self._point, self._page_tokens, self._output_tokens)


class UnitWork:
    """Units of other traffic, one after the other."""

    def __init__(self, shoot: Shooter, units: Sequence[Unit]) -> None:
        self._shoot, self._units = shoot, units

    def prepare(self) -> int:
        self._shoot.client.flush_cache()
        return sum(unit.samples for unit in self._units)

    def send(self, count: int) -> list[Outcome]:
        samples: list[Sample] = []
        for unit in self._units:
            if len(samples) >= count:
                break
            samples += self._shoot(unit)
        return [sample.result for sample in samples]
