"""Ageing a server: its KV pool is filled until it evicts, then with ever more leaves.

A server in production has a full cache of very many prefixes, and each new prompt evicts. What an
eviction costs grew with the number of leaves of the prefix tree in releases of SGLang (#14339),
which a server that is flushed before each block never shows. The pool is full from the first stage
on, so that between stages the leaves alone grow.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Collection, Iterator

import psutil

from append_prefill.errors import InfrastructureError
from append_prefill.probe.call import Call, Crowd, UnderWay
from append_prefill.records.states import Aged
from append_prefill.workload.points import Point
from append_prefill.workload.prompts import PromptSource
from append_prefill.workload.states import Aging

AT_ONCE = 32
"""Requests under way: enough that the server never waits for the client."""

OVERFULL = 1.02
"""Of the pool's tokens that are cached in all, so that it evicts whatever it keeps in reserve."""

LEAVES_SHARE = 0.9
"""Of the pool's tokens that all leaves take together: the samples of the stages, and of the blocks
that follow, then evict what is older than the leaves."""


class Ager:
    """Fills the pool of one server, a step at a time.

    `filler_tokens`: what the pool is filled with at first. Prompts no longer than what a sample
    appends, so that each append-prefill has to evict, as it does among leaves.
    """

    def __init__(
        self,
        crowd: Crowd,
        prompts: PromptSource,
        aging: Aging,
        *,
        capacity_tokens: int,
        page_tokens: int,
        filler_tokens: int,
    ) -> None:
        self._crowd, self._prompts, self._aging = crowd, prompts, aging
        self._capacity_tokens = capacity_tokens
        self._leaf_tokens = _pages(LEAVES_SHARE * capacity_tokens / aging.leaves, page_tokens)
        self._filler_tokens = max(self._leaf_tokens, _pages(filler_tokens, page_tokens))
        # By the order of their use, the tokens of each leaf that is not evicted yet.
        self._kept: deque[int] = deque()
        self._kept_tokens = 0
        self._short = self._tokens = 0
        self._spent_s = 0.0

    @property
    def leaves(self) -> int:
        """Of the tree, if what is used longest ago is evicted first."""
        return len(self._kept)

    def add(self, tokens: int) -> None:
        """A sequence of so many tokens, which shares nothing with others, was cached."""
        self._tokens += tokens
        self._kept.append(tokens)
        self._kept_tokens += tokens
        while self._kept_tokens > self._capacity_tokens:
            self._kept_tokens -= self._kept.popleft()

    def fill(self) -> int:
        """Fill the pool beyond its brim; the prompts that took.

        Raises InfrastructureError if one is refused.
        """
        wanted_tokens = OVERFULL * self._capacity_tokens
        return self._cache(self._filler_tokens, math.ceil(wanted_tokens / self._filler_tokens))

    def grow(self, share: float) -> int:
        """Cache leaves until there are that share of them, or that share of the time is spent.

        Says how many more there are. Raises InfrastructureError if a prompt is refused.
        """
        until_s = time.monotonic() + share * self._aging.seconds_max - self._spent_s
        missing = round(share * self._aging.leaves) - self._short
        grown = self._cache(self._leaf_tokens, missing, until_s)
        self._short += grown
        return grown

    def record(self, before_bytes: int | None, full_bytes: int | None) -> Aged:
        return Aged(
            leaves=self._short,
            leaf_tokens=self._leaf_tokens,
            tokens=self._tokens,
            capacity_tokens=self._capacity_tokens,
            seconds_s=self._spent_s,
            resident_before_bytes=before_bytes,
            resident_full_bytes=full_bytes,
        )

    def _cache(self, tokens: int, count: int, until_s: float = math.inf) -> int:
        """At most so many prompts of so many tokens; how many there was time for."""
        began_s, sent = time.monotonic(), 0

        def drawn() -> Iterator[list[int]]:
            nonlocal sent
            while sent < count and time.monotonic() < until_s:
                sent += 1
                # Reckoned as it is sent: of some dozens under way the order may be another.
                self.add(tokens)
                yield self._prompts.draw(Point(tokens, 1))[0]

        send_all(self._crowd, drawn())
        self._spent_s += time.monotonic() - began_s
        return sent


def _pages(tokens: float, page_tokens: int) -> int:
    return max(page_tokens, int(tokens) // page_tokens * page_tokens)


def resident_bytes(pids: Collection[int]) -> int | None:
    """Memory of these processes, resident sets summed; None for none, or where one is gone."""
    try:
        sizes = [psutil.Process(pid).memory_info().rss for pid in pids]
    except psutil.Error:
        return None
    return sum(sizes) or None


def send_all(crowd: Crowd, prompts: Iterator[list[int]]) -> None:
    """Send prompts that ask for no token, several at once.

    Raises InfrastructureError if one is refused.
    """
    idle = list(crowd.of(AT_ONCE))
    flying: list[Call] = []
    out = False
    with UnderWay() as traffic:
        while flying or not out:
            while idle and not out:
                prompt = next(prompts, None)
                out = prompt is None
                if prompt is not None:
                    flying.append(Call(idle.pop(), prompt, max_new_tokens=0))
                    traffic.send(flying[-1])
            traffic.read(until=lambda: any(call.complete for call in flying))
            for call in [call for call in flying if call.complete]:
                if (error := call.timing.error) is not None:
                    raise InfrastructureError(f"the server could not be aged: {error}")
                flying.remove(call)
                idle.append(call.client)
