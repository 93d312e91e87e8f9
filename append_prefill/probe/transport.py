"""One warm HTTP/1.1 connection under httpx that stamps around the socket's own send and recv.

httpx builds the request, the headers and the response as always; what lies between is ours, since
its stock transport runs framing code between the socket and whoever reads the clock. Here the
whole request is one ready bytes object before the clock starts, every `recv` is stamped the moment
it returns, and the bytes are parsed when the answer is complete.

The clock is `time.monotonic_ns`: it cannot be set back, and on Linux it is CLOCK_MONOTONIC at 1 ns
resolution, the very clock `perf_counter_ns` reads, so nothing is lost by the plainer name.
"""

from __future__ import annotations

import gc
import re
import select
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import h11
import httpx

EXCHANGE = "append_prefill.exchange"  # key of the Exchange in `httpx.Response.extensions`

_RECV_BYTES = 65536  # one event is far smaller; a whole JSON answer takes a few calls
# uvicorn drops a connection that idled 5 s (SGLang keeps that default). Renewing it well before
# leaves no moment in which a close can race the next timed request.
_MAX_IDLE_S = 2.0
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
_BLANK_LINE = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the clock saw of one request and its answer, in ns of `time.monotonic_ns`.

    `sent_ns` is read just before the first byte goes to the socket. `body` holds the answer's
    body without its framing, as it arrived: (stamp of the `recv` that brought the bytes, bytes).
    """

    sent_ns: int
    body: list[tuple[int, bytes]]


class TimingTransport(httpx.BaseTransport):
    """An `httpx.BaseTransport` over one persistent blocking TCP connection.

    `handle_request` returns when the answer is complete; it does not stream. The stamps are in
    `response.extensions[EXCHANGE]`, an `Exchange`. A connection that is missing, was closed by the
    server or idled too long is replaced *before* the clock starts, and each new one is warmed with
    `GET warm_path` (any status will do), so that no timed request pays for the handshake or for
    the server's set-up of a connection; with None it is only opened. The garbage collector rests
    while the clock runs.

    `begin` and `finish` are its two halves, for whoever has several requests under way at once.

    One thread at a time. Raises httpx's own errors: `UnsupportedProtocol` for anything but http,
    `ConnectError`/`ConnectTimeout`, and, once the request is under way, `NetworkError`,
    `ReadTimeout` (no byte for the request's read timeout) and `RemoteProtocolError` (closed or
    garbled before the answer's end). A request is never sent twice.
    """

    def __init__(self, *, warm_path: str | None = "/model_info") -> None:
        self._warm_path = warm_path
        self._origin: tuple[str, int] | None = None
        self._socket: socket.socket | None = None
        self._connection = h11.Connection(h11.CLIENT)
        self._last_used_s = 0.0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        flight = self.begin(request)
        with self.errors(request):
            _converse(flight)
        return self.finish(flight)

    def begin(self, request: httpx.Request) -> Flight:
        """A warm connection and the request's bytes, ready: nothing of it is sent yet."""
        body = request.read()
        self._ready(request)
        head = h11.Request(
            method=request.method, target=request.url.raw_path, headers=request.headers.raw
        )
        return self._flight(request, head, body)

    def finish(self, flight: Flight) -> httpx.Response:
        """The response of a flight whose answer is complete; the connection is free again."""
        self._settle()
        head, exchange = flight.answer()
        return httpx.Response(
            status_code=head.status_code,
            headers=head.headers.raw_items(),
            content=b"".join(data for _, data in exchange.body),
            extensions={EXCHANGE: exchange},
        )

    @contextmanager
    def errors(self, request: httpx.Request) -> Iterator[None]:
        """Inside, what breaks becomes httpx's error of that kind, and closes the connection."""
        try:
            yield
        except TimeoutError as error:
            self.close()
            raise httpx.ReadTimeout(f"no byte came: {error}", request=request) from error
        except OSError as error:
            self.close()
            raise httpx.NetworkError(str(error), request=request) from error
        except h11.RemoteProtocolError as error:
            self.close()
            raise httpx.RemoteProtocolError(str(error), request=request) from error
        except h11.LocalProtocolError as error:
            self.close()
            raise httpx.LocalProtocolError(str(error), request=request) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ready(self, request: httpx.Request) -> None:
        """Make sure a warm connection to the request's origin is open."""
        if request.url.scheme != "http":
            raise httpx.UnsupportedProtocol(
                f"the timed connection speaks plain http, not {request.url.scheme!r}: TLS would "
                "put its own time between the socket and the clock",
                request=request,
            )
        origin = (request.url.host, request.url.port or 80)
        if self._socket is not None and (origin != self._origin or self._stale(self._socket)):
            self.close()
        if self._socket is not None:
            return
        self._connect(origin, request)
        if self._warm_path is None:
            return
        head = h11.Request(
            method="GET", target=self._warm_path, headers=_without_body(request.headers.raw)
        )
        flight = self._flight(request, head, b"")
        with self.errors(request):
            _converse(flight)
        self._settle()
        if self._socket is None:
            raise httpx.RemoteProtocolError(
                "the server closes its connection after each answer; a warm one is needed",
                request=request,
            )

    def _stale(self, sock: socket.socket) -> bool:
        """Whether the idle connection was closed (or sent something unasked), or soon may be."""
        if time.monotonic() - self._last_used_s > _MAX_IDLE_S:
            return True
        poller = select.poll()
        poller.register(sock, select.POLLIN)
        return bool(poller.poll(0))

    def _connect(self, origin: tuple[str, int], request: httpx.Request) -> None:
        try:
            sock = socket.create_connection(origin, timeout=_timeout(request, "connect"))
        except TimeoutError as error:
            raise httpx.ConnectTimeout(str(error), request=request) from error
        except OSError as error:
            raise httpx.ConnectError(str(error), request=request) from error
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._origin, self._socket = origin, sock
        self._connection = h11.Connection(h11.CLIENT)

    def _flight(self, request: httpx.Request, head: h11.Request, body: bytes) -> Flight:
        sock, connection = self._socket, self._connection
        assert sock is not None
        with self.errors(request):
            sock.settimeout(_timeout(request, "read"))
            payload = b"".join(
                connection.send(event) or b""
                for event in (head, h11.Data(data=body), h11.EndOfMessage())
            )
        return Flight(sock, connection, payload)

    def _settle(self) -> None:
        """Make the connection ready for another request, or close one that cannot be."""
        connection = self._connection
        self._last_used_s = time.monotonic()
        if connection.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE} and (
            connection.trailing_data == (b"", False)
        ):
            connection.start_next_cycle()
        else:
            self.close()


class Flight:
    """One request: sent, then read piece by piece until h11 says that its answer is complete.

    h11 is asked as late as can be: parsing the head of an event stream while its first event is
    under way would add the parser's time to the first token's. `events` counts those of an event
    stream that have come, by their ends. Errors are the socket's and h11's own (see
    `TimingTransport.errors`).
    """

    def __init__(self, sock: socket.socket, connection: h11.Connection, payload: bytes) -> None:
        self.socket = sock
        self.sent_ns = self.events = 0
        self._payload, self._recv = payload, sock.recv
        self._answer = _Answer(connection)
        self._arrivals: list[tuple[int, bytes]] = []
        self._chunked = False
        self._tail: bytes | None = None

    def send(self) -> None:
        """Read the clock, and send all of it."""
        self.sent_ns = time.monotonic_ns()
        self.socket.sendall(self._payload)

    def read(self) -> bool:
        """Wait for the next piece and stamp it; whether the answer is complete with it."""
        data = self._recv(_RECV_BYTES)
        self._arrivals.append((time.monotonic_ns(), data))
        # Neither a head nor JSON has one line's end right after another.
        self.events += data.count(b"\n\n")
        if self._tail is None:
            # A chunked body ends with a blank line (RFC 9112, 7.1), so while the last bytes are not
            # one there is nothing to ask. Any other answer is no event stream and is parsed as it
            # comes; so is one whose head came in pieces.
            head, blank, self._tail = data.partition(_BLANK_LINE)
            self._chunked = bool(blank) and _CHUNKED.search(head + _BLANK_LINE) is not None
        else:
            self._tail = self._tail[-3:] + data
        if data and self._chunked and not self._tail.endswith(_BLANK_LINE):
            return False
        if self._answer.take(self._arrivals):
            return True
        self._arrivals.clear()
        return False

    def answer(self) -> tuple[h11.Response, Exchange]:
        """Head and exchange of a complete answer."""
        assert self._answer.head is not None  # h11 ends no message without a head
        return self._answer.head, Exchange(self.sent_ns, self._answer.body)


def _converse(flight: Flight) -> None:
    """Send it and read its whole answer; the garbage collector rests meanwhile."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        flight.send()
        while not flight.read():
            pass
    finally:
        if collecting:
            gc.enable()


class _Answer:
    """The answer h11 has parsed so far."""

    def __init__(self, connection: h11.Connection) -> None:
        self._connection = connection
        self.head: h11.Response | None = None
        self.body: list[tuple[int, bytes]] = []

    def take(self, arrivals: Iterable[tuple[int, bytes]]) -> bool:
        """Parse what arrived (b"" is the end of the connection); True once it is complete."""
        for stamp_ns, data in arrivals:
            if not data and self.head is None:
                raise h11.RemoteProtocolError("the server closed the connection without an answer")
            self._connection.receive_data(data)
            while (event := self._connection.next_event()) is not h11.NEED_DATA:
                if isinstance(event, h11.Response):
                    self.head = event
                elif isinstance(event, h11.Data):
                    self.body.append((stamp_ns, bytes(event.data)))
                elif isinstance(event, h11.EndOfMessage):
                    return True
        return False


def _timeout(request: httpx.Request, kind: str) -> float | None:
    """The request's timeout of this kind in seconds; None waits for ever."""
    timeouts: dict[str, float | None] = request.extensions.get("timeout", {})
    return timeouts.get(kind)


def _without_body(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [
        (name, value)
        for name, value in headers
        if not name.lower().startswith((b"content-", b"transfer-"))
    ]
