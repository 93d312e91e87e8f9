"""Ageing a server: its KV pool is filled with short prompts until it evicts.

A server in production has a full cache of very many prefixes, and each new prompt evicts. What an
eviction costs grew with the number of leaves of the prefix tree in releases of SGLang (#14339),
which a server that is flushed before each block never shows.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator

import psutil

from append_prefill.errors import InfrastructureError
from append_prefill.probe.call import Call, Crowd, UnderWay
from append_prefill.records.launch import Aged
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Aging
from append_prefill.workload.prompts import PromptSource

AT_ONCE = 32
"""Requests under way: enough that the server never waits for the client."""

OVERFULL = 1.02
"""Of the pool's tokens that are cached in all, so that it evicts whatever it keeps in reserve."""

LONG_SHARE = 0.02
"""Of the pool's tokens in each of the longer prompts that fill what the short ones have left."""


def age(
    crowd: Crowd,
    prompts: PromptSource,
    aging: Aging,
    *,
    capacity_tokens: int,
    page_tokens: int,
    longest_tokens: int | None,
    pids: Collection[int],
) -> Aged:
    """Fill the pool of `capacity_tokens` beyond its brim; what it took, and the processes' memory.

    `longest_tokens`: the longest prompt the server takes, None if it does not say. `pids`: the
    server's processes. Raises InfrastructureError where the server refuses a prompt.
    """
    before = resident_bytes(pids)
    began_s = time.monotonic()
    leaf_tokens = max(page_tokens, capacity_tokens // aging.leaves // page_tokens * page_tokens)
    wanted = round(OVERFULL * capacity_tokens)
    leaves = _cache(
        crowd,
        (_prompt(prompts, leaf_tokens) for _ in range(min(aging.leaves, wanted // leaf_tokens))),
        until_s=began_s + aging.seconds_max,
    )
    left = wanted - leaves * leaf_tokens
    long_tokens = max(leaf_tokens, int(LONG_SHARE * capacity_tokens))
    if longest_tokens is not None:
        long_tokens = min(long_tokens, longest_tokens - 1)
    more = _cache(crowd, (_prompt(prompts, long_tokens) for _ in range(-(-left // long_tokens))))
    return Aged(
        leaves=leaves,
        leaf_tokens=leaf_tokens,
        tokens=leaves * leaf_tokens + more * long_tokens,
        capacity_tokens=capacity_tokens,
        seconds_s=time.monotonic() - began_s,
        resident_before_bytes=before,
        resident_full_bytes=resident_bytes(pids),
    )


def resident_bytes(pids: Collection[int]) -> int | None:
    """Memory of these processes, resident sets summed; None for none, or where one is gone."""
    try:
        sizes = [psutil.Process(pid).memory_info().rss for pid in pids]
    except psutil.Error:
        return None
    return sum(sizes) or None


def _prompt(prompts: PromptSource, tokens: int) -> list[int]:
    return prompts.draw(Point(tokens, 1))[0]


def _cache(crowd: Crowd, prompts: Iterator[list[int]], until_s: float | None = None) -> int:
    """Send prompts that ask for no token, several at once, until they or the time are out.

    How many were cached.
    """
    idle = list(crowd.of(AT_ONCE))
    flying: list[Call] = []
    cached = 0
    out = False
    with UnderWay() as traffic:
        while flying or not out:
            while idle and not out:
                prompt = next(prompts, None)
                out = prompt is None or (until_s is not None and time.monotonic() > until_s)
                if prompt is not None and not out:
                    flying.append(Call(idle.pop(), prompt, max_new_tokens=0))
                    traffic.send(flying[-1])
            traffic.read(until=lambda: any(call.complete for call in flying))
            for call in [call for call in flying if call.complete]:
                if (error := call.timing.error) is not None:
                    raise InfrastructureError(f"the server could not be aged: {error}")
                cached += 1
                flying.remove(call)
                idle.append(call.client)
    return cached
