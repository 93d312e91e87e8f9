"""How a launch's server came into a state that is not fresh, in `append-prefill/run/2`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from append_prefill.records.figures import Estimate, TimeMs, Tokens
from append_prefill.records.grounds import Record
from append_prefill.workload.traffic import State


class Aged(Record):
    """How a launch's server was aged after its fresh blocks, before the aged ones.

    Its KV pool was filled until it evicted, then `leaves` distinct prompts of `leaf_tokens` were
    cached; `tokens` in all were, more than the pool's `capacity_tokens`, in `seconds_s`.
    `resident_*_bytes`: memory of the server's processes (resident sets, summed) before that, with
    all leaves, and after the last aged block; null where its processes are not known.
    """

    leaves: int = Field(ge=0)
    leaf_tokens: Tokens
    tokens: Tokens
    capacity_tokens: Tokens
    seconds_s: float = Field(ge=0)
    resident_before_bytes: int | None
    resident_full_bytes: int | None
    resident_after_bytes: int | None = None


class Burst(Record):
    """The overload: `requests` at once, of which `failed` had no whole answer.

    `drained_s`: until the last had ended. `waited_ms`: the longest TTFT among them, null where none
    had a first token. `retracted`: how many lost their place once or more.
    """

    requests: int = Field(ge=1)
    prompt_tokens: Tokens
    output_tokens: int = Field(ge=1)
    failed: int = Field(ge=0)
    retracted: int = Field(ge=0)
    waited_ms: float | None
    drained_s: float = Field(ge=0)


class Stage(Record):
    """A launch's server on its way into `state`: TTFT at one point, and what it had behind it.

    The first is the one before anything was done to it. Since then: `after_s` seconds and
    `requests`, those of earlier stages included. `leaves` of the prefix tree, reckoned from what
    was sent, with the KV pool full and evicting; null where the cache is not full. `ttft_ms` are
    the valid samples; `void` is why none of them counts, or null. `resident_bytes` as in `Aged`.
    """

    state: State
    context_tokens: Tokens
    append_tokens: Tokens
    after_s: float = Field(ge=0)
    requests: int = Field(ge=0)
    leaves: int | None
    ttft_ms: list[TimeMs]
    void: str | None
    resident_bytes: int | None


class Growth(Record):
    """What a state adds to TTFT at the stages' point, and to the memory of the processes.

    Over `launches`, each with a line through its own stages: by 1,000 `leaves` while the pool is
    full, by `minutes`; of a `burst` what is more after it than before. `resident_mb` is by 1,000
    requests whatever the state (1e6 bytes). `full_ms`: of an aged server, what it takes more
    with its pool full of few leaves than empty. Values are null where they cannot be told.
    """

    over: Literal["leaves", "minutes", "burst"]
    ttft_ms: Estimate
    resident_mb: Estimate
    full_ms: Estimate | None = None
    launches: int
