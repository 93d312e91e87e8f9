"""Answers what generates: waits as the scheduler says, sends what protocol and faults say."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from append_prefill.planted.chat import ChatAnswer, refusal
from append_prefill.planted.clock import SPIN_NS, sleep_until
from append_prefill.planted.faults import Faults
from append_prefill.planted.halves import Rooms, ask
from append_prefill.planted.native import NativeAnswer, Progress, aborted_body, spoilt
from append_prefill.planted.prefix_cache import pack
from append_prefill.planted.protocol import Generate, RequestError, Settings, error_body
from append_prefill.planted.reading import Asked, read_chat, read_generate
from append_prefill.planted.scheduler import Job, Scheduler
from append_prefill.planted.sessions import Sessions
from append_prefill.planted.wire import Connection, Request, event

GENERATE_PATH = "/generate"
CHAT_PATH = "/v1/chat/completions"
# Pieces of an event that drips.
_DRIPS = 8


@dataclass(frozen=True, slots=True)
class Served:
    """The truth about one request whose prefill ran.

    `cached_tokens` were really matched, whatever was reported. `prefill_ms` is what the prefill
    was to take, `evict_ms` of it for room in the cache; before it came `form_ms` of making ids and
    `queue_ms` of waiting for other prefills. `overshoot_us` is by how much the wait for its end
    ended late.
    """

    prompt_tokens: int
    cached_tokens: int
    max_new_tokens: int
    form_ms: float
    queue_ms: float
    prefill_ms: float
    evict_ms: float
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
        self.sessions = Sessions(streaming=settings.traits.streaming_sessions)
        self.rooms = Rooms()
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
            self._scheduler.store(probe.prompt)
        finally:
            self._scheduler.finish(job)

    def answer(self, http: Request, connection: Connection) -> None:
        """Answer one /generate or chat. Raises OSError where the connection breaks."""
        number = next(self._numbers)
        if self._faults.die_after is not None and number > self._faults.die_after:
            self._on_death()
            raise _DroppedError
        try:
            if http.path == CHAT_PATH:
                asked = read_chat(http.body, self._settings)
            else:
                asked = read_generate(http.body, self._settings, self.sessions)
        except RequestError as error:
            self._refuse(error, connection, chat=http.path == CHAT_PATH)
            return
        request = asked.request
        refusals = {
            HTTPStatus.INTERNAL_SERVER_ERROR: self._faults.http_500,
            HTTPStatus.UNAUTHORIZED: self._faults.http_401,
        }
        for status, share in refusals.items():
            if request.max_new_tokens > 0 and self._scheduler.strikes(share):
                self._end_turn(asked, None, 0)
                connection.answer(status, status.phrase.encode())
                return
        try:
            job = self._admit(request, http.arrived_ns)
        except OSError as error:
            connection.answer(HTTPStatus.INTERNAL_SERVER_ERROR, str(error).encode())
            return
        reply: list[int] | None = None
        try:
            output_ids = request.output_ids()
            answer = self._answer_of(asked, output_ids)
            if request.stream:
                body = None
                whole = self._stream(asked, answer, job, connection, output_ids)
            else:
                body = self._whole(asked, answer, job, output_ids)
                whole = True
            reply = output_ids if whole else None
        finally:
            self._scheduler.finish(job)
            self._end_turn(asked, reply, job.kept_reply_tokens)
        # Only now, so that a client which has seen the end can flush at once.
        if body is None:
            connection.close_stream()
        else:
            connection.answer_json(HTTPStatus.OK, body)

    def _admit(self, request: Generate, arrived_ns: int) -> Job:
        """Queue it: at once, or as the decode half of a pair once its KV can be moved here.

        Raises OSError where the prefill half does not have it.
        """
        here = self._settings.disaggregation_mode == "decode"
        if not here or request.room is None or request.room_port is None:
            return self._scheduler.admit(request, arrived_ns)
        cached_tokens = ask(request.room_port, request.room)
        return self._scheduler.admit_moved(request, time.perf_counter_ns(), cached_tokens)

    def _answer_of(self, asked: Asked, output_ids: list[int]) -> NativeAnswer | ChatAnswer:
        if asked.chat is None:
            return NativeAnswer(asked.request, self._settings, output_ids)
        return ChatAnswer(asked.request, asked.chat, self._settings, output_ids)

    def _end_turn(self, asked: Asked, reply: list[int] | None, kept_reply_tokens: int) -> None:
        if asked.turn is not None:
            packed = None if reply is None else pack(reply)
            kept_tokens = asked.request.prompt_tokens + kept_reply_tokens
            self.sessions.ended(asked.turn, packed, kept_tokens)

    def _stream(
        self,
        asked: Asked,
        answer: NativeAnswer | ChatAnswer,
        job: Job,
        connection: Connection,
        output_ids: list[int],
    ) -> bool:
        """Send everything of a stream but its end; whether it is all that was asked for."""
        request = asked.request
        if answer.head_first:
            connection.open_stream()
        fate = self._fate(request)
        if fate in ("error", "no tokens"):
            self._prefill(request, job)
            if not answer.head_first:
                connection.open_stream()
            if fate == "error":
                connection.send(answer.error("Internal error: simulated"))
            return False
        total = request.max_new_tokens
        if total and answer.head_first and self._faults.empty_first:
            connection.send(answer.events(self._progress(request, job, 0, 0, job.arrived_ns)))
        if total == 0:
            chunk = answer.events(self._progress(request, job, 0, 0, job.first_ns))
            self._prefill(request, job)
            connection.send(chunk)
            return True
        sent = 0
        stops = range(self._faults.coalesce, total, self._faults.coalesce)
        for token in (*stops, total):
            # Made before it is due, so that making it takes none of the time.
            due_ns = job.token_due_ns(token)
            chunk = answer.events(self._progress(request, job, sent, token, due_ns))
            if sent == 0:
                self._prefill(request, job)
            if token == total:
                self._store_output(asked, output_ids, job)
            sleep_until(due_ns)
            while (later_ns := job.token_due_ns(token)) > due_ns:  # another's prefill came between
                due_ns = later_ns
                chunk = answer.events(self._progress(request, job, sent, token, due_ns))
                sleep_until(due_ns)
            if sent == 0 and not answer.head_first:
                connection.open_stream()
            self._send(connection, chunk, fate)
            sent = token
            if fate == "drop":
                connection.abort()
                raise _DroppedError
        return True

    def _whole(
        self, asked: Asked, answer: NativeAnswer | ChatAnswer, job: Job, output_ids: list[int]
    ) -> dict[str, Any]:
        """Wait for the whole answer; its body."""
        request = asked.request
        total = request.max_new_tokens
        self._prefill(request, job)
        due_ns = job.first_ns
        if total > 0:
            self._store_output(asked, output_ids, job)
            while (later_ns := job.token_due_ns(total)) > due_ns:
                due_ns = later_ns
                sleep_until(due_ns)
        return answer.body(self._progress(request, job, 0, total, due_ns))

    def _send(self, connection: Connection, chunk: bytes, fate: str | None) -> None:
        """An event as the fault that strikes its stream leaves it."""
        content = spoilt(fate)
        if content is not None:
            chunk = content
        if not self._faults.drip_ms:
            connection.send(chunk)
            return
        step = max(1, -(-len(chunk) // _DRIPS))
        for begin in range(0, len(chunk), step):
            connection.send(chunk[begin : begin + step])
            time.sleep(self._faults.drip_ms / 1000)

    def _fate(self, request: Generate) -> str | None:
        """The fault that strikes this stream, the first that does."""
        if request.max_new_tokens == 0:
            return None
        shares = {
            "error": self._faults.stream_error,
            "no tokens": self._faults.no_tokens,
            "drop": self._faults.drop,
            "garbage": self._faults.garbage,
            "wrong types": self._faults.wrong_types,
            "no meta": self._faults.no_meta,
        }
        return next(
            (fate for fate, share in shares.items() if self._scheduler.strikes(share)), None
        )

    def _prefill(self, request: Generate, job: Job) -> None:
        """Wait for the prefill; its prompt is in the cache when this returns."""
        # Fill the cache just before the time is up: it then adds nothing to the simulated time.
        sleep_until(job.first_ns - SPIN_NS)
        # A streaming session's later turns are in its own KV, and nobody else finds them.
        if request.kept_tokens is None:
            self._scheduler.store(request.prompt)
        sleep_until(job.first_ns)
        if request.room is not None and self._settings.disaggregation_mode == "prefill":
            self.rooms.done(request.room, job.cached_tokens)
        self._served.append(
            Served(
                prompt_tokens=request.prompt_tokens,
                cached_tokens=job.cached_tokens,
                max_new_tokens=request.max_new_tokens,
                form_ms=job.form_ms,
                queue_ms=job.queue_ms,
                prefill_ms=job.prefill_ms,
                evict_ms=job.evict_ms,
                overshoot_us=(time.perf_counter_ns() - job.first_ns) / 1000,
            )
        )

    def _store_output(self, asked: Asked, output_ids: list[int], job: Job) -> None:
        """Cache as much of the reply as this version does, just before its last token is due."""
        sleep_until(job.token_due_ns(job.last_token) - SPIN_NS)
        kept = output_ids[: job.kept_reply_tokens]
        if kept and not (asked.turn is not None and asked.turn.session.streaming):
            self._scheduler.store(asked.request.prompt + pack(kept))

    def _progress(
        self, request: Generate, job: Job, sent: int, token: int, due_ns: int
    ) -> Progress:
        """What there is to say at `token` tokens, of which `sent` have been sent."""
        reported = min(job.cached_tokens + self._faults.cached_inflated, request.prompt_tokens)
        last = token == request.max_new_tokens
        return Progress(
            sent=sent,
            token=token,
            cached_tokens=reported,
            retractions=int(job.retracted and token > 1),
            finished_after_s=(due_ns - job.arrived_ns) / 1e9 if last else None,
        )

    def _refuse(self, error: RequestError, connection: Connection, *, chat: bool) -> None:
        message = str(error)
        if chat:
            connection.answer_json(HTTPStatus.BAD_REQUEST, refusal(message))
        elif not error.in_stream:
            connection.answer_json(HTTPStatus.BAD_REQUEST, error_body(message, self._settings))
        else:
            connection.open_stream()
            if error.aborted_rid is None:
                connection.send(event(error_body(message, self._settings)))
            else:
                connection.send(event(aborted_body(message, error.aborted_rid)))
            connection.close_stream()
