"""How a server is brought into a state that is not fresh: what a profile says of each."""

from __future__ import annotations

from pydantic import Field

from append_prefill.workload.experiment import Argument, Strict

BURST_MAX = 1024
"""Requests of one burst: each is a connection, and a process may have some thousand files open."""


class Aging(Strict):
    """How a server is aged: its KV pool is filled until it evicts, then `leaves` short prompts that
    share nothing are cached, for `seconds_max` at the most; see `probe.aging`.
    """

    leaves: int = Field(default=10_000, ge=1)
    seconds_max: float = Field(default=60, gt=0)
    argument: Argument = (
        "What SGLang's evictions cost grew with the leaves, to 7 ms each (#14339): ten thousand "
        "are what a pool of a hundred thousand tokens holds of short prompts."
    )


class Overload(Strict):
    """The burst that a server is overloaded with: `requests` at once, nothing of them cached, each
    of `prompt_tokens` with `output_tokens` to make. It is over when all of them have ended.
    """

    requests: int = Field(default=256, ge=2, le=BURST_MAX)
    prompt_tokens: int = Field(default=1024, ge=1)
    output_tokens: int = Field(default=64, ge=1)
    argument: Argument = (
        "More than twice what a pool of a hundred thousand tokens holds, all due at once: requests "
        "wait for room and running ones may lose theirs."
    )


class Soak(Strict):
    """How long a server is used before it is measured: `minutes` of `per_s` requests a second, 0
    for none, each a prompt of the experiment's first point that is not cached.
    """

    minutes: float = Field(default=30, gt=0)
    per_s: float = Field(default=2, ge=0, le=1000)
    argument: Argument = (
        "What grows with time or with requests shows after half an hour, as a nightly's launches "
        "of some minutes never do; two requests a second leave any server time to spare."
    )
