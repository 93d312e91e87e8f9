"""Admission, cache and time line: decides when each token of a request is due. Sends nothing."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass

from append_prefill.planted.cost import Cost, Draws
from append_prefill.planted.faults import Faults
from append_prefill.planted.prefix_cache import PrefixCache
from append_prefill.planted.protocol import Generate, Settings


@dataclass(frozen=True, slots=True)
class Job:
    """One admitted request. Times are on `time.perf_counter_ns`'s clock.

    `cached_tokens` were really matched. `prefill_ms` includes noise and slowness on purpose, not
    the wait for another request's prefill; `first_ns` is when the first token is due. `retracted`:
    between the first and the second token lies a second prefill.
    """

    arrived_ns: int
    cached_tokens: int
    prefill_ms: float
    decode_ms: float
    first_ns: int
    retracted: bool

    def token_due_ns(self, token: int) -> int:
        """When token number `token` (from 1) is due."""
        pause_ms = self.prefill_ms if self.retracted and token > 1 else 0.0
        return self.first_ns + int(((token - 1) * self.decode_ms + pause_ms) * 1e6)


class Scheduler:
    """One device: prefills run one after the other, decodes beside them at no cost.

    The clock counts from the arrival of a request's last byte. Thread-safe.
    """

    def __init__(
        self,
        cost: Cost,
        faults: Faults,
        settings: Settings,
        start_seed: int,
        drift_from_unix_s: float | None,
    ) -> None:
        self.cost = cost
        self.draws = Draws(cost, start_seed)
        self.cache = PrefixCache(settings.kv_capacity_tokens, settings.page_size_tokens)
        self._faults = faults
        self._page_tokens = settings.page_size_tokens
        self._chance = random.Random(f"faults {start_seed}")  # noqa: S311  # not secrets
        self._drift_from_unix_s = drift_from_unix_s
        self._ready_ns = time.perf_counter_ns()
        self._ready_unix_s = time.time()
        self._idle = threading.Condition()
        self._running = 0
        self._device_free_ns = 0
        self._last_event_ns: int | None = None

    @property
    def running(self) -> int:
        """How many admitted requests are not finished."""
        return self._running

    def begin(self) -> None:
        """Readiness: drift and throttling count from here."""
        self._ready_ns = time.perf_counter_ns()
        self._ready_unix_s = time.time()

    def strikes(self, share: float) -> bool:
        """Whether a fault of this share strikes now; draws only where there is one."""
        if share <= 0:
            return False
        with self._idle:
            return self._chance.random() < share

    def admit(self, request: Generate, arrived_ns: int) -> Job:
        """Match the prompt, draw the noise, queue the prefill. Pair with `finish`."""
        generating = request.max_new_tokens > 0
        retracted = generating and self.strikes(self._faults.retraction)
        with self._idle:
            self._running += 1
            cached = 0
            if not self._faults.radix_off:
                kept = self.cache.match(request.prompt) * (1 - self._faults.cache_loss)
                cached = int(kept) // self._page_tokens * self._page_tokens
            elapsed_s = (arrived_ns - self._ready_ns) / 1e9
            drifted_s = elapsed_s
            if self._drift_from_unix_s is not None:
                drifted_s += self._ready_unix_s - self._drift_from_unix_s
            noise = self.draws.next(elapsed_s=drifted_s, generating=generating)
            throttle = self._faults.throttle_factor(elapsed_s)
            slow = self._faults.prefill_factor(
                prompt_tokens=request.prompt_tokens,
                cached_tokens=cached,
                page_tokens=self._page_tokens,
            )
            mean_ms = self.cost.ttft_ms(request.prompt_tokens - cached, cached)
            prefill_ms = mean_ms * noise.prefill * throttle * slow
            first_ns = max(arrived_ns, self._device_free_ns) + int(prefill_ms * 1e6)
            self._device_free_ns = first_ns
            return Job(
                arrived_ns=arrived_ns,
                cached_tokens=cached,
                prefill_ms=prefill_ms,
                decode_ms=self.cost.decode_ms * noise.decode * throttle,
                first_ns=first_ns,
                retracted=retracted,
            )

    def store(self, request: Generate, output_ids: bytes) -> None:
        """Put the prompt and the packed output tokens whose KV exists into the cache."""
        if self._faults.radix_off:
            return
        with self._idle:
            self.cache.insert(request.prompt + output_ids)

    def finish(self) -> None:
        """The request of an `admit` has sent its last event, or failed."""
        with self._idle:
            self._running -= 1
            self._last_event_ns = time.perf_counter_ns()
            self._idle.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Empty the cache unless a request still runs after `timeout_s` seconds; whether it did."""
        deadline_ns = time.perf_counter_ns() + int(timeout_s * 1e9)
        with self._idle:
            while self._busy_ns() > 0:
                left_ns = deadline_ns - time.perf_counter_ns()
                if left_ns <= 0:
                    return False
                self._idle.wait(min(left_ns, self._busy_ns()) / 1e9)
            self.cache.clear()
            return True

    def _busy_ns(self) -> int:
        """For how long at least the server is not idle; a second while a request runs."""
        if self._running:
            return 1_000_000_000
        if self._last_event_ns is None:
            return 0
        until_ns = self._last_event_ns + int(self._faults.busy_after * 1e6)
        return max(0, until_ns - time.perf_counter_ns())
