"""Answers /generate: waits as the scheduler says, sends what the protocol and the faults say."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from append_prefill.planted.clock import SPIN_NS, sleep_until
from append_prefill.planted.faults import Faults
from append_prefill.planted.prefix_cache import pack
from append_prefill.planted.protocol import (
    Generate,
    RequestError,
    Settings,
    answer_body,
    error_body,
    parse_generate,
)
from append_prefill.planted.scheduler import Job, Scheduler
from append_prefill.planted.wire import Connection, Request, event


@dataclass(frozen=True, slots=True)
class Served:
    """The truth about one request whose prefill ran.

    `cached_tokens` were really matched, whatever was reported. `prefill_ms` is what the prefill
    was to take; `overshoot_us` is by how much the wait for it ended late.
    """

    prompt_tokens: int
    cached_tokens: int
    max_new_tokens: int
    prefill_ms: float
    overshoot_us: float


class _DroppedError(OSError):
    """The fault `drop` struck: the connection is gone."""


class Answerer:
    """Serves generating and prefill-only requests, one thread a request."""

    def __init__(
        self,
        scheduler: Scheduler,
        faults: Faults,
        settings: Settings,
        served: deque[Served],
        on_death: Callable[[], None],
    ) -> None:
        self._scheduler = scheduler
        self._faults = faults
        self._settings = settings
        self._served = served
        self._on_death = on_death
        self._numbers = itertools.count(1)

    def probe(self, request: Request) -> None:
        """What /health does: generate one token for the prompt [0]. It enters the cache."""
        probe = Generate("HEALTH_CHECK", pack([0]), 1, 1, stream=False)
        job = self._scheduler.admit(probe, request.arrived_ns)
        try:
            sleep_until(job.first_ns)
            self._scheduler.store(probe, b"")
        finally:
            self._scheduler.finish()

    def answer(self, http: Request, connection: Connection) -> None:
        """Answer one /generate. Raises OSError where the connection breaks."""
        number = next(self._numbers)
        if self._faults.die_after is not None and number > self._faults.die_after:
            self._on_death()
            raise _DroppedError
        try:
            request = parse_generate(http.body, self._settings)
        except RequestError as error:
            self._refuse(str(error), connection, in_stream=error.in_stream)
            return
        if request.max_new_tokens > 0 and self._scheduler.strikes(self._faults.http_500):
            connection.answer(HTTPStatus.INTERNAL_SERVER_ERROR, b"Internal Server Error")
            return
        job = self._scheduler.admit(request, http.arrived_ns)
        try:
            if request.stream:
                self._stream(request, job, connection)
                body = None
            else:
                body = self._whole(request, job)
        finally:
            self._scheduler.finish()
        # Only now, so that a client which has seen the end can flush at once.
        if body is None:
            connection.close_stream()
        else:
            connection.answer_json(HTTPStatus.OK, body)

    def _stream(self, request: Generate, job: Job, connection: Connection) -> None:
        """Send everything of a stream but its end."""
        connection.open_stream()
        output_ids = request.output_ids()
        fate = self._fate(request)
        if fate == "error":
            self._prefill(request, job)
            connection.send(event(error_body("Internal error: simulated", self._settings)))
            return
        if fate == "no tokens":
            self._prefill(request, job)
            return
        total = request.max_new_tokens
        if total == 0:
            body = self._body(request, job, output_ids, 0, 0)
            self._prefill(request, job)
            connection.send(event(body))
            return
        sent = 0
        stops = range(self._faults.coalesce, total, self._faults.coalesce)
        for token in (*stops, total):
            chunk = event(self._body(request, job, output_ids, sent, token))
            if sent == 0:
                self._prefill(request, job)
            due_ns = job.token_due_ns(token)
            if token == total:
                self._store_output(request, output_ids, due_ns)
            sleep_until(due_ns)
            connection.send(chunk)
            sent = token
            if fate == "drop":
                connection.abort()
                raise _DroppedError

    def _whole(self, request: Generate, job: Job) -> dict[str, Any]:
        """Wait for the whole answer; its body."""
        output_ids = request.output_ids()
        total = request.max_new_tokens
        self._prefill(request, job)
        if total > 0:
            due_ns = job.token_due_ns(total)
            self._store_output(request, output_ids, due_ns)
            sleep_until(due_ns)
        return self._body(request, job, output_ids, 0, total)

    def _fate(self, request: Generate) -> str | None:
        """The fault that strikes this stream, the first that does."""
        if request.max_new_tokens == 0:
            return None
        shares = {
            "error": self._faults.stream_error,
            "no tokens": self._faults.no_tokens,
            "drop": self._faults.drop,
        }
        return next(
            (fate for fate, share in shares.items() if self._scheduler.strikes(share)), None
        )

    def _prefill(self, request: Generate, job: Job) -> None:
        """Wait for the prefill; its prompt is in the cache when this returns."""
        # Fill the cache just before the time is up: it then adds nothing to the simulated time.
        sleep_until(job.first_ns - SPIN_NS)
        self._scheduler.store(request, b"")
        sleep_until(job.first_ns)
        self._served.append(
            Served(
                prompt_tokens=request.prompt_tokens,
                cached_tokens=job.cached_tokens,
                max_new_tokens=request.max_new_tokens,
                prefill_ms=job.prefill_ms,
                overshoot_us=(time.perf_counter_ns() - job.first_ns) / 1000,
            )
        )

    def _store_output(self, request: Generate, output_ids: list[int], due_ns: int) -> None:
        """Cache of the output what the version does: the last token may not have been an input."""
        traits = self._settings.traits
        kept = len(output_ids) - traits.uncached_tail_tokens if traits.caches_replies else 0
        sleep_until(due_ns - SPIN_NS)
        self._scheduler.store(request, pack(output_ids[:kept]))

    def _body(
        self, request: Generate, job: Job, output_ids: list[int], sent: int, token: int
    ) -> dict[str, Any]:
        """The event at `token` tokens, of which `sent` have been sent."""
        delta = self._settings.traits.output_ids == "delta" and request.stream
        last = token == request.max_new_tokens
        reported = min(job.cached_tokens + self._faults.cached_inflated, request.prompt_tokens)
        return answer_body(
            request,
            self._settings,
            output_ids=output_ids[sent if delta else 0 : token],
            completion_tokens=token,
            cached_tokens=reported,
            retractions=int(job.retracted and token > 1),
            finished_after_s=(
                (job.token_due_ns(max(token, 1)) - job.arrived_ns) / 1e9 if last else None
            ),
        )

    def _refuse(self, message: str, connection: Connection, *, in_stream: bool) -> None:
        body = error_body(message, self._settings)
        if in_stream:
            connection.open_stream()
            connection.send(event(body))
            connection.close_stream()
        else:
            connection.answer_json(HTTPStatus.BAD_REQUEST, body)
