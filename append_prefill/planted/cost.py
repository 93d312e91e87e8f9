"""The simulated cost model: how long a prefill and a decode step take. Pure, no clock, no I/O.

The mean is one of the two forms the surface fit knows; noise multiplies it. All spreads are
standard deviations on the log scale, so a factor has median 1 and never turns negative.
"""

from __future__ import annotations

import bisect
import math
import random
from dataclasses import dataclass
from typing import Literal

Form = Literal["sum", "max"]
# What a prompt comes as: ids, a text, or chat messages.
RequestForm = Literal["ids", "text", "chat"]


def graph_buckets(chunk_tokens: int) -> tuple[int, ...]:
    """The token counts that SGLang captures prefill graphs at, up to a chunk (cuda_graph_hook.py of
    0.5.23); a chunk is padded up to the next one.
    """
    grid = (
        *range(4, 33, 4),
        *range(48, 257, 16),
        *range(288, 513, 32),
        *range(576, 1025, 64),
        *range(1280, 4097, 256),
        *range(4608, chunk_tokens + 1, 512),
    )
    return tuple(tokens for tokens in grid if tokens <= chunk_tokens)


# Those of a chunk of 8192.
GRAPH_BUCKETS = graph_buckets(8192)
# SGLang runs eagerly what a bucket would more than double (_MAX_PREFILL_CUDA_GRAPH_PADDING_FACTOR).
MAX_PADDING_FACTOR = 2


def padded_tokens(new_tokens: int, buckets: tuple[int, ...] = GRAPH_BUCKETS) -> int:
    """The tokens a prefill graph computes for `new_tokens`; unchanged where SGLang goes eager."""
    index = bisect.bisect_left(buckets, new_tokens)
    if index == len(buckets) or buckets[index] > MAX_PADDING_FACTOR * new_tokens:
        return new_tokens
    return buckets[index]


_TIMES = (
    *("floor_ms", "new_token_us", "cached_token_us", "decode_ms", "chunk_ms", "attention_ns"),
    *("text_us", "template_us", "evict_us_per_leaf", "served_us"),
    *("transfer_ms", "transfer_us"),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a request costs.

    `form` "sum": floor + new + cached; "max": max(floor, new) + cached, where new is
    `new_token_us` x new tokens and cached is `cached_token_us` x cached tokens, in µs. With
    `prefill_graph` the new tokens of a chunk are padded to SGLang's graph buckets (a staircase in
    m). Each chunk beyond a prefill's first takes `chunk_ms`, and each pair of a new token and one
    that it attends to (itself, those before it) `attention_ns`, in either form.

    `start_sd` spreads one factor per server launch, `within_sd` one per generating request, the
    latter with autocorrelation `lag1` from one generating request to the next. A share
    `outlier_rate` of the generating requests takes `outlier_factor` times as long.
    `drift_per_hour` is relative and linear. The defaults are of the size the study saw on an H100
    with an 8B model, without noise.

    A prompt that comes as text takes `text_us` per token of all of it, whatever is cached, and one
    that comes as chat messages `template_us` more; no prefill begins before that. Both are paid one
    request after another, since one process tokenizes.

    `interference` is the share of a prefill's time for which requests that decode stand still: 1
    where a prefill has the device to itself, 0 where both go on side by side. Each request that
    decodes makes a prefill longer by `decode_load` of its time. A prefill that finds the KV pool
    full takes `evict_us_per_leaf` for each leaf of the prefix tree, as an eviction that walks all,
    and any prefill `served_us` for each request that was there before it, as if garbage piled up.
    The decode half of a P/D pair takes `transfer_ms` for the KV of a prompt and `transfer_us` for
    each of its tokens, once the prefill half has it.

    Raises ValueError for a value that has no meaning (a negative time or spread, |lag1| >= 1).
    """

    floor_ms: float = 20.0
    new_token_us: float = 14.5
    cached_token_us: float = 1.0
    decode_ms: float = 6.7
    form: Form = "max"
    prefill_graph: bool = False
    start_sd: float = 0.0
    within_sd: float = 0.0
    lag1: float = 0.0
    outlier_rate: float = 0.0
    outlier_factor: float = 3.0
    drift_per_hour: float = 0.0
    # A fast tokenizer takes about a microsecond a token (1.15 µs in TensorRT-LLM's issue 18389), a
    # template some tenths: 2 and 0.4 ms for 2,000 tokens, a tenth of the floor and so measurable.
    text_us: float = 1.0
    template_us: float = 0.2
    interference: float = 1.0
    decode_load: float = 0.0
    evict_us_per_leaf: float = 0.0
    served_us: float = 0.0
    transfer_ms: float = 0.0
    transfer_us: float = 0.0
    chunk_ms: float = 0.0
    attention_ns: float = 0.0

    def __post_init__(self) -> None:
        for name in _TIMES:
            if not (0 <= getattr(self, name) < math.inf):
                raise ValueError(f"{name} must be a time of at least 0, not {getattr(self, name)}")
        if not 0 <= self.interference <= 1:
            raise ValueError(f"interference must lie between 0 and 1, not {self.interference}")
        if not 0 <= self.decode_load < math.inf:
            raise ValueError(f"decode_load must be a share of at least 0, not {self.decode_load}")
        if self.form not in ("sum", "max"):
            raise ValueError(f"form must be 'sum' or 'max', not {self.form!r}")
        if self.start_sd < 0 or self.within_sd < 0:
            raise ValueError("start_sd and within_sd must be at least 0")
        if not -1 < self.lag1 < 1:
            raise ValueError(f"lag1 must lie between -1 and 1, not {self.lag1}")
        if not 0 <= self.outlier_rate <= 1:
            raise ValueError(f"outlier_rate must lie between 0 and 1, not {self.outlier_rate}")
        if self.outlier_factor <= 0:
            raise ValueError("outlier_factor must be positive")

    def ttft_ms(self, new_tokens: int, cached_tokens: int, chunk_tokens: int = 8192) -> float:
        """The noiseless time of a prefill of `new_tokens` over `cached_tokens`, ms; it is computed
        in chunks of `chunk_tokens`.
        """
        whole, last = divmod(max(new_tokens - 1, 0), chunk_tokens)
        computed = new_tokens
        if self.prefill_graph:
            buckets = graph_buckets(chunk_tokens)
            computed = whole * padded_tokens(chunk_tokens, buckets)
            computed += padded_tokens(last + 1, buckets) if new_tokens else 0
        new_ms = self.new_token_us * computed / 1000
        pairs = new_tokens * (cached_tokens + (new_tokens + 1) / 2)
        beside_ms = self.cached_token_us * cached_tokens / 1000
        beside_ms += self.chunk_ms * whole + self.attention_ns * pairs / 1e6
        if self.form == "max":
            return max(self.floor_ms, new_ms) + beside_ms
        return self.floor_ms + new_ms + beside_ms

    def form_ms(self, form: RequestForm, prompt_tokens: int) -> float:
        """The noiseless time to make ids of a prompt that comes in this form, ms."""
        if form == "ids":
            return 0.0
        per_token_us = self.text_us + (self.template_us if form == "chat" else 0.0)
        return per_token_us * prompt_tokens / 1000


@dataclass(frozen=True, slots=True)
class Factors:
    """What noise makes of one request: multiply the prefill and each decode step by these."""

    prefill: float
    decode: float


class Draws:
    """The random part of a cost, drawn from the launch's seed: same seed, same sequence.

    Two streams are kept apart, so that a plan with other primes sees the same noise on what it
    measures: a prefill-only request (`max_new_tokens` 0) takes a draw of its own stream and does
    not advance the autocorrelated one.
    """

    def __init__(self, cost: Cost, seed: int) -> None:
        self._cost = cost
        self._samples = random.Random(f"samples {seed}")  # noqa: S311  # noise, not secrets
        self._primes = random.Random(f"primes {seed}")  # noqa: S311
        start = random.Random(f"start {seed}")  # noqa: S311
        self.start_factor: float = math.exp(cost.start_sd * start.gauss(0.0, 1.0))
        # Drawn from the stationary law, so the first sample is no different from the rest.
        self._level = self._samples.gauss(0.0, 1.0)

    def drift(self, elapsed_s: float) -> float:
        """The factor that `elapsed_s` seconds of drift make; never below 0.01."""
        return max(0.01, 1.0 + self._cost.drift_per_hour * elapsed_s / 3600)

    def next(self, *, elapsed_s: float, generating: bool) -> Factors:
        """Factors of the next request; `generating` is False for a prefill-only one."""
        cost = self._cost
        common = self.start_factor * self.drift(elapsed_s)
        if not generating:
            within = math.exp(cost.within_sd * self._primes.gauss(0.0, 1.0))
            return Factors(prefill=common * within, decode=common)
        fresh = self._samples.gauss(0.0, 1.0)
        within = math.exp(cost.within_sd * self._level)
        self._level = cost.lag1 * self._level + math.sqrt(1 - cost.lag1**2) * fresh
        if self._samples.random() < cost.outlier_rate:
            within *= cost.outlier_factor
        return Factors(prefill=common * within, decode=common)
