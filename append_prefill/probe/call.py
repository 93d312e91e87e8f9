"""Requests under way at once, sent and read by one thread: what company is made of.

Threads would take the interpreter from each other between the arrival of a token and the reading of
the clock. One thread that asks which connections have bytes stamps each as it comes; answers are
parsed when they are complete.
"""

from __future__ import annotations

import gc
import select
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

import httpx

from append_prefill.errors import InfrastructureError
from append_prefill.probe.client import TimedClient, explained, timing_of
from append_prefill.probe.timing import Timing

POLL_S = 1e-3
"""What the kernel's poll rounds a wait up to. In the last millisecond before something is due it is
asked again and again instead, so that nothing leaves late for that reason."""

SILENCE_LIMIT_S = 120.0
"""As a lone client's: how long no connection may bring a byte while something is under way."""


class Call:
    """A request of ids whose bytes are ready on the client's own connection.

    `send` it, then `read` whenever its socket has bytes, until it is complete; until then the
    client can do nothing else. Every method, and making one, raises InfrastructureError as the
    client's own do.
    """

    def __init__(
        self, client: TimedClient, input_ids: Sequence[int], *, max_new_tokens: int
    ) -> None:
        self.client = client
        self._max_new_tokens = max_new_tokens
        self._request = client.request_of(input_ids, max_new_tokens)
        self._response: httpx.Response | None = None
        with explained(self._request):
            self._flight = client.transport.begin(self._request)

    @property
    def complete(self) -> bool:
        return self._response is not None

    @property
    def sent_ns(self) -> int:
        """When it was sent, on `time.monotonic_ns`'s clock; 0 before."""
        return self._flight.sent_ns

    @property
    def tokens_seen(self) -> int:
        """At least so many tokens have come: an event brings one or more, and the last none."""
        return self._flight.events - self.complete

    def fileno(self) -> int:
        return self._flight.socket.fileno()

    def send(self) -> None:
        with explained(self._request), self.client.transport.errors(self._request):
            self._flight.send()

    def read(self) -> None:
        """Take what has come, waiting for it."""
        with explained(self._request), self.client.transport.errors(self._request):
            if self._flight.read():
                self._response = self.client.transport.finish(self._flight)

    @property
    def timing(self) -> Timing:
        """Of a complete answer, since the call was sent. Raises ValueError before."""
        if self._response is None:
            raise ValueError("the answer is not complete yet")
        return timing_of(self._response, self._max_new_tokens)[0]


class UnderWay:
    """The calls that are under way, in one thread. No garbage is collected meanwhile."""

    def __init__(self) -> None:
        self._calls: dict[int, Call] = {}

    def __enter__(self) -> Self:
        self._poller = select.epoll()
        self._collecting = gc.isenabled()
        gc.disable()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._poller.close()
        # What is still under way leaves its connection in the middle of an answer.
        for call in self._calls.values():
            call.client.transport.close()
        if self._collecting:
            gc.enable()

    def send(self, call: Call) -> None:
        call.send()
        self._poller.register(call.fileno(), select.EPOLLIN)
        self._calls[call.fileno()] = call

    def read(self, *, due_ns: int | None = None, until: Callable[[], bool] | None = None) -> None:
        """Read all that comes: until `due_ns`, or `until` holds, or nothing is under way.

        With `due_ns` the time is waited for in any case. Raises InfrastructureError for a
        connection that breaks, and where none brings a byte for `SILENCE_LIMIT_S`.
        """
        heard_ns = time.monotonic_ns()
        while until is None or not until():
            now_ns = time.monotonic_ns()
            if due_ns is None and not self._calls:
                return
            if due_ns is not None and now_ns >= due_ns:
                return
            ready = self._poller.poll(_wait_s(now_ns, due_ns))
            for number, _ in ready:
                call = self._calls[number]
                call.read()
                if call.complete:
                    # A connection that is kept has its number still, one that ended has none.
                    with suppress(OSError):
                        self._poller.unregister(number)
                    del self._calls[number]
            if ready or not self._calls:
                heard_ns = time.monotonic_ns()
            elif now_ns - heard_ns > SILENCE_LIMIT_S * 1e9:
                raise InfrastructureError(
                    f"no byte came for {SILENCE_LIMIT_S:.0f} s, with {len(self._calls)} requests "
                    "under way"
                )


def _wait_s(now_ns: int, due_ns: int | None) -> float:
    if due_ns is None:
        return 1.0
    left_s = (due_ns - now_ns) / 1e9
    return 0.0 if left_s <= POLL_S else min(1.0, left_s - POLL_S)


class Crowd:
    """Connections of their own to one server, kept and warm from one use to the next."""

    def __init__(self, base_url: str, api_key: str | None) -> None:
        self._address = (base_url, api_key)
        self._clients: list[TimedClient] = []

    def of(self, count: int) -> list[TimedClient]:
        """So many clients, all of them idle."""
        while len(self._clients) < count:
            self._clients.append(TimedClient(*self._address))
        return self._clients[:count]

    @contextmanager
    def opened(self, count: int) -> Iterator[list[TimedClient]]:
        """So many more, not warmed, for as long as the context lasts.

        A server ends a warm connection that idles for some seconds (uvicorn's five), and none that
        was never used: these can wait for as long as they have to.
        """
        clients = [TimedClient(*self._address, warm=False) for _ in range(count)]
        try:
            yield clients
        finally:
            for client in clients:
                client.close()

    def close(self) -> None:
        for client in self._clients:
            client.close()
