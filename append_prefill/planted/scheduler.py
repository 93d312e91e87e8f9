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
from append_prefill.planted.timeline import Timeline


@dataclass(frozen=True, eq=False, slots=True)
class Job:
    """One admitted request. Times are on `time.perf_counter_ns`'s clock.

    `cached_tokens` were really matched. `form_ms` is what making ids of a text took, `queue_ms` the
    wait for other prefills. `prefill_ms` includes noise, eviction, the requests that decode and
    slowness on purpose; `evict_ms` is the eviction's part of it. `first_ns` is when the first token
    is due. `retracted`: between the first and the second token lies a second prefill. Of the reply
    the first `kept_reply_tokens` will be cached.
    """

    arrived_ns: int
    cached_tokens: int
    form_ms: float
    queue_ms: float
    prefill_ms: float
    evict_ms: float
    decode_ms: float
    first_ns: int
    last_token: int
    retracted: bool
    kept_reply_tokens: int
    timeline: Timeline

    def token_due_ns(self, token: int) -> int:
        """When token number `token` (from 1) is due; later than said where a prefill comes."""
        pause_ms = self.prefill_ms if self.retracted and token > 1 else 0.0
        work_ns = int(((token - 1) * self.decode_ms + pause_ms) * 1e6)
        return self.timeline.due_ns(self.first_ns, work_ns)

    def decodes_at(self, ns: int) -> bool:
        """Whether it decodes then, with the prefills that are known now."""
        return self.first_ns <= ns < self.token_due_ns(self.last_token)


class Scheduler:
    """One device: prefills run one after the other in the order of admission.

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
        self._settings = settings
        self._chance = random.Random(f"faults {start_seed}")  # noqa: S311  # not secrets
        self._drift_from_unix_s = drift_from_unix_s
        self._ready_ns = time.perf_counter_ns()
        self._ready_unix_s = time.time()
        self._idle = threading.Condition()
        self._timeline = Timeline(cost.interference)
        self._jobs: set[Job] = set()
        self._tokenized_ns = 0
        self._last_event_ns: int | None = None
        self._served = self._most_running = 0

    @property
    def running(self) -> int:
        """How many admitted requests are not finished."""
        return len(self._jobs)

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
        lost = generating and self.strikes(self._faults.reply_lost)
        with self._idle:
            cached = self._cached(request)
            elapsed_s = (arrived_ns - self._ready_ns) / 1e9
            drifted_s = elapsed_s
            if self._drift_from_unix_s is not None:
                drifted_s += self._ready_unix_s - self._drift_from_unix_s
            noise = self.draws.next(elapsed_s=drifted_s, generating=generating)
            throttle = self._faults.throttle_factor(elapsed_s)
            form_ms = self.cost.form_ms(request.form, request.text_tokens)
            form_ms *= noise.decode * throttle
            ready_ns = arrived_ns
            if form_ms:
                ready_ns = max(arrived_ns, self._tokenized_ns) + int(form_ms * 1e6)
                self._tokenized_ns = ready_ns
            start_ns = self._timeline.start_ns(ready_ns)
            evict_ms = self._evict_ms(request.prompt_tokens - cached) * noise.prefill * throttle
            prefill_ms = evict_ms + noise.prefill * throttle * self._mean_ms(
                request, cached, start_ns
            )
            decode_ms = self.cost.decode_ms * noise.decode * throttle
            first_ns = self._timeline.prefill(
                ready_ns,
                self._chunks_ns(request.prompt_tokens - cached, prefill_ms),
                step_ns=int(decode_ms * 1e6),
                decodes=self._decoding,
            )
            job = Job(
                arrived_ns=arrived_ns,
                cached_tokens=cached,
                form_ms=form_ms,
                queue_ms=(start_ns - ready_ns) / 1e6,
                prefill_ms=prefill_ms,
                evict_ms=evict_ms,
                decode_ms=decode_ms,
                first_ns=first_ns,
                last_token=max(1, request.max_new_tokens),
                retracted=retracted,
                kept_reply_tokens=self._kept_reply_tokens(request, lost=lost),
                timeline=self._timeline,
            )
            self._jobs.add(job)
            self._served += 1
            self._most_running = max(self._most_running, len(self._jobs))
            return job

    def admit_moved(self, request: Generate, moved_ns: int, cached_tokens: int) -> Job:
        """Take over a prompt that another server prefilled, of which so much had been cached there.

        Its first token is due once the KV is moved, from `moved_ns` on. Pair with `finish`.
        """
        with self._idle:
            noise = self.draws.next(elapsed_s=(moved_ns - self._ready_ns) / 1e9, generating=True)
            moving_ms = self.cost.transfer_ms + self.cost.transfer_us * request.prompt_tokens / 1000
            moving_ms *= noise.prefill
            job = Job(
                arrived_ns=moved_ns,
                cached_tokens=cached_tokens,
                form_ms=0.0,
                queue_ms=0.0,
                prefill_ms=moving_ms,
                evict_ms=0.0,
                decode_ms=self.cost.decode_ms * noise.decode,
                first_ns=moved_ns + int(moving_ms * 1e6),
                last_token=max(1, request.max_new_tokens),
                retracted=False,
                kept_reply_tokens=0,
                timeline=self._timeline,
            )
            self._jobs.add(job)
            return job

    def _cached(self, request: Generate) -> int:
        if self._faults.radix_off:
            return 0
        share = 1 - self._faults.cache_loss
        if request.kept_tokens is not None:
            # What a streaming session keeps is its own, page or not.
            return int(min(request.kept_tokens, request.prompt_tokens - 1) * share)
        page_tokens = self._settings.page_size_tokens
        return int(self.cache.match(request.prompt) * share) // page_tokens * page_tokens

    def _kept_reply_tokens(self, request: Generate, *, lost: bool) -> int:
        traits = self._settings.traits
        if lost or not traits.caches_replies:
            return 0
        return max(0, request.max_new_tokens - traits.uncached_tail_tokens)

    def _mean_ms(self, request: Generate, cached: int, start_ns: int) -> float:
        """The prefill without noise and eviction."""
        slow = self._faults.prefill_factor(
            prompt_tokens=request.prompt_tokens,
            cached_tokens=cached,
            page_tokens=self._settings.page_size_tokens,
        )
        if self.cost.decode_load:
            slow *= 1 + self.cost.decode_load * self._decoding(start_ns)
        # Only once a burst is over: in it, nobody can tell that from the queue.
        if not self._jobs:
            slow *= self._faults.overloaded_factor(self._most_running)
        piled_ms = self.cost.served_us * self._served / 1000
        chunk_tokens = self._settings.chunked_prefill_tokens
        new_tokens = request.prompt_tokens - cached
        return piled_ms + self.cost.ttft_ms(new_tokens, cached, chunk_tokens) * slow

    def _evict_ms(self, new_tokens: int) -> float:
        """What making room for a prompt's new tokens takes."""
        full = self.cache.tokens + new_tokens > self.cache.capacity_tokens
        return self.cost.evict_us_per_leaf * self.cache.leaves / 1000 if full else 0.0

    def _chunks_ns(self, new_tokens: int, prefill_ms: float) -> list[int]:
        """The prefill's time, shared out among its chunks by their tokens."""
        size = self._settings.chunked_prefill_tokens
        whole, rest = divmod(new_tokens, size)
        chunks_ns = [int(prefill_ms * 1e6 * size / new_tokens)] * whole
        if rest:
            chunks_ns.append(int(prefill_ms * 1e6) - sum(chunks_ns))
        return chunks_ns

    def _decoding(self, ns: int) -> int:
        """How many requests decode at a time."""
        return sum(job.decodes_at(ns) for job in self._jobs)

    def store(self, sequence: bytes) -> None:
        """Put packed tokens whose KV exists into the cache."""
        if self._faults.radix_off:
            return
        with self._idle:
            self.cache.insert(sequence)

    def finish(self, job: Job) -> None:
        """The request of an `admit` has sent its last event, or failed."""
        with self._idle:
            self._jobs.remove(job)
            self._timeline.forget_before(min((j.first_ns for j in self._jobs), default=None))
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
        if self._jobs:
            return 1_000_000_000
        if self._last_event_ns is None:
            return 0
        until_ns = self._last_event_ns + int(self._faults.busy_after * 1e6)
        return max(0, until_ns - time.perf_counter_ns())
