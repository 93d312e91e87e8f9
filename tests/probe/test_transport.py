from __future__ import annotations

import gc
import socket
from collections import deque
from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import cast

import h11
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from append_prefill.probe import transport
from append_prefill.probe.transport import EXCHANGE, Exchange, TimingTransport

from .fake_server import END, HEAD, FakeServer, Reply, chunk, plain, stream


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake


@pytest.fixture
def client(server: FakeServer) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=server.base_url, transport=TimingTransport(), timeout=5, trust_env=False
    ) as client:
        yield client


class ScriptedSocket:
    """Hands out the pieces it was given; a read past the answer's end fails the test."""

    def __init__(self, pieces: list[bytes], *, closes: bool) -> None:
        self._pieces = deque(pieces)
        self._closes = closes

    def sendall(self, _: bytes) -> None:
        pass

    def recv(self, _: int) -> bytes:
        if self._pieces:
            return self._pieces.popleft()
        assert self._closes, "read on after the answer was complete"
        return b""


ANSWERS = {
    "chunked": (HEAD + chunk(b"data: 1\n\n") + chunk(b"data: 2\n\n") + END, False),
    # blank lines inside the data look like the end of the body and are not
    "chunked, CRLF": (HEAD + chunk(b"data: 1\r\n\r\n") + chunk(b"0\r\n\r\n") + END, False),
    "chunked, trailers": (HEAD + chunk(b"data: 1\n\n") + b"0\r\nx-sum: 1\r\n\r\n", False),
    "length": (plain(200, b'{"a":\r\n\r\n1}'), False),
    "empty": (plain(200, b""), False),
    "until close": (b"HTTP/1.1 200 OK\r\n\r\nsome words\r\n\r\nmore", True),
    "hints first": (b"HTTP/1.1 103 Early Hints\r\n\r\n" + plain(200, b"late"), False),
}
BODIES = {
    "chunked": b"data: 1\n\ndata: 2\n\n",
    "chunked, CRLF": b"data: 1\r\n\r\n0\r\n\r\n",
    "chunked, trailers": b"data: 1\n\n",
    "length": b'{"a":\r\n\r\n1}',
    "empty": b"",
    "until close": b"some words\r\n\r\nmore",
    "hints first": b"late",
}


@settings(derandomize=True, deadline=None)
@given(st.sampled_from(sorted(ANSWERS)), st.data())
def test_an_answer_cut_anywhere_is_read_to_its_end_and_no_further(
    kind: str, data: st.DataObject
) -> None:
    answer, closes = ANSWERS[kind]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(answer) - 1))))
    pieces = [answer[start:end] for start, end in pairwise([0, *cuts, len(answer)])]
    connection = h11.Connection(h11.CLIENT)
    payload = b"".join(
        connection.send(event) or b""
        for event in (
            h11.Request(method="GET", target="/", headers=[("Host", "x")]),
            h11.EndOfMessage(),
        )
    )
    flight = transport.Flight(
        cast(socket.socket, ScriptedSocket(pieces, closes=closes)), connection, payload
    )
    transport._converse(flight)
    head, exchange = flight.answer()
    assert head.status_code == 200
    assert b"".join(part for _, part in exchange.body) == BODIES[kind]
    stamps = [stamp for stamp, _ in exchange.body]
    assert stamps == sorted(stamps)


class Clock:
    """Time that passes only where a socket is told to take some, in ns."""

    def __init__(self) -> None:
        self.now_ns = 1_000

    def monotonic_ns(self) -> int:
        return self.now_ns

    def monotonic(self) -> float:
        return self.now_ns / 1e9


class SlowSocket(ScriptedSocket):
    """Takes 500 ns to send, and 70 for each piece it receives."""

    def __init__(self, clock: Clock, pieces: list[bytes]) -> None:
        super().__init__(pieces, closes=False)
        self.clock, self.sent = clock, b""

    def sendall(self, payload: bytes) -> None:
        self.clock.now_ns += 500
        self.sent += payload

    def recv(self, _: int) -> bytes:
        self.clock.now_ns += 70
        return super().recv(_)


def test_the_clock_is_read_before_the_first_byte_goes_and_after_each_piece_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(transport, "time", clock)
    sock = SlowSocket(clock, [HEAD, chunk(b"data: 1\n\n"), chunk(b"data: 2\n\n") + END])
    connection = h11.Connection(h11.CLIENT)
    request = h11.Request(method="GET", target="/", headers=[("Host", "x")])
    payload = (connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b"")
    flight = transport.Flight(cast(socket.socket, sock), connection, payload)
    transport._converse(flight)
    _, exchange = flight.answer()
    assert sock.sent == payload
    assert exchange.sent_ns == 1_000
    assert exchange.body == [(1_640, b"data: 1\n\n"), (1_710, b"data: 2\n\n")]
    assert flight.events == 2


def test_the_parser_is_asked_once_the_last_blank_line_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Single bytes after the head: the blank line that ends the answer comes in four pieces."""
    asked: list[int] = []
    take = transport._Answer.take

    def counted(answer: transport._Answer, arrivals: list[tuple[int, bytes]]) -> bool:
        asked.append(len(arrivals))
        return take(answer, arrivals)

    monkeypatch.setattr(transport._Answer, "take", counted)
    rest = chunk(b"data: 1") + END
    pieces = [HEAD + rest[:1], *(rest[i : i + 1] for i in range(1, len(rest)))]
    connection = h11.Connection(h11.CLIENT)
    request = h11.Request(method="GET", target="/", headers=[("Host", "x")])
    payload = (connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b"")
    sock = cast(socket.socket, ScriptedSocket(pieces, closes=False))
    flight = transport.Flight(sock, connection, payload)
    transport._converse(flight)
    _, exchange = flight.answer()
    assert b"".join(data for _, data in exchange.body) == b"data: 1"
    assert asked == [len(pieces)]


def test_stamps_bracket_what_the_server_did(server: FakeServer, client: httpx.Client) -> None:
    server.replies.append(stream(b"first", b"second"))
    response = client.post("/generate", content=b"{}")
    exchange: Exchange = response.extensions[EXCHANGE]
    assert response.content == b"firstsecond"
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    (first_ns, first), (second_ns, second) = exchange.body
    assert (first, second) == (b"first", b"second")
    # the head went out 20 ms before the first chunk, and that 20 ms before the second
    assert exchange.sent_ns + 20e6 <= first_ns
    assert exchange.sent_ns + 40e6 <= second_ns
    assert first_ns <= second_ns


def test_one_warm_connection_serves_all_requests(server: FakeServer, client: httpx.Client) -> None:
    for body in (b"a", b"b", b"c"):
        server.replies.append(stream(body))
        assert client.post("/generate", content=b"{}").content == body
    assert [seen.method for seen in server.seen] == ["GET", "POST", "POST", "POST"]
    assert {seen.connection for seen in server.seen} == {1}
    # Nagle's algorithm would hold a request back until the last one's answer is acknowledged.
    sock = client._transport._socket  # type: ignore[attr-defined]
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_a_connection_closed_while_idle_is_replaced_and_warmed_before_the_next_request(
    server: FakeServer, client: httpx.Client
) -> None:
    server.close_after_post = True
    server.replies.extend([stream(b"a"), stream(b"b")])
    client.post("/generate", content=b"1")
    idle = client._transport._socket  # type: ignore[attr-defined]
    idle.recv(1, socket.MSG_PEEK)  # until the server's close is here
    assert client.post("/generate", content=b"2").content == b"b"
    assert [(seen.method, seen.connection) for seen in server.seen] == [
        ("GET", 1),
        ("POST", 1),
        ("GET", 2),
        ("POST", 2),
    ]


def test_a_connection_idle_for_too_long_is_replaced(
    server: FakeServer, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.replies.extend([stream(b"a"), stream(b"b")])
    client.post("/generate", content=b"1")
    monkeypatch.setattr(transport, "_MAX_IDLE_S", -1.0)
    client.post("/generate", content=b"2")
    assert [seen.connection for seen in server.posts] == [1, 2]


@pytest.mark.parametrize(("idle_s", "stale"), [(2.0, False), (2.001, True)])
def test_a_connection_may_idle_for_two_seconds(
    monkeypatch: pytest.MonkeyPatch, idle_s: float, stale: bool
) -> None:
    waited: list[int] = []
    poller = SimpleNamespace(register=lambda *_: None, poll=lambda ms: waited.append(ms) or [])
    monkeypatch.setattr(transport, "select", SimpleNamespace(poll=lambda: poller, POLLIN=1))
    monkeypatch.setattr(transport, "time", SimpleNamespace(monotonic=lambda: idle_s))
    assert TimingTransport()._stale(cast(socket.socket, None)) is stale
    assert waited == ([] if stale else [0])


@pytest.mark.parametrize(
    ("url", "origin"), [("http://host/", ("host", 80)), ("http://host:81/", ("host", 81))]
)
@pytest.mark.parametrize(
    ("raised", "error"),
    [(TimeoutError, httpx.ConnectTimeout), (ConnectionRefusedError, httpx.ConnectError)],
)
def test_connecting_has_a_timeout_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    origin: tuple[str, int],
    raised: type[OSError],
    error: type[httpx.HTTPError],
) -> None:
    asked: list[object] = []

    def connect(to: tuple[str, int], timeout: float | None = None) -> socket.socket:
        asked.append((to, timeout))
        raise raised("no")

    monkeypatch.setattr(transport.socket, "create_connection", connect)
    timeout = httpx.Timeout(9, connect=7)
    with (
        httpx.Client(transport=TimingTransport(), timeout=timeout, trust_env=False) as client,
        pytest.raises(error, match="no"),
    ):
        client.get(url)
    assert asked == [(origin, 7)]


def test_what_describes_a_body_stays_with_it() -> None:
    headers = [(b"Host", b"x"), (b"Content-Length", b"3"), (b"Transfer-Encoding", b"chunked")]
    assert transport._without_body(headers) == [(b"Host", b"x")]


@pytest.mark.parametrize(
    "reply",
    [
        Reply((b"",), close=True),
        Reply((HEAD[:30],), close=True),
        stream(b"half", close=True),
        Reply((b"no HTTP at all\r\n\r\n",)),
    ],
    ids=["no answer", "half a head", "half a body", "garbage"],
)
def test_a_request_cut_off_is_an_error_and_is_not_sent_again(
    server: FakeServer, client: httpx.Client, reply: Reply
) -> None:
    server.replies.extend([reply, stream(b"fine")])
    with pytest.raises(httpx.RemoteProtocolError):
        client.post("/generate", content=b"{}")
    assert len(server.posts) == 1
    assert client.post("/generate", content=b"{}").content == b"fine"


def test_silence_is_a_read_timeout(server: FakeServer, client: httpx.Client) -> None:
    server.replies.append(Reply((HEAD, END), gap_s=0.5))
    with pytest.raises(httpx.ReadTimeout):
        client.post("/generate", content=b"{}", timeout=0.05)


def test_a_large_body_arrives_whole(server: FakeServer, client: httpx.Client) -> None:
    body = b"7" * 3_000_000  # more than any socket buffer holds by default
    server.replies.append(stream(b"ok"))
    client.post("/generate", content=body)
    assert server.posts[0].body == body


def test_the_collector_rests_during_a_request_and_is_as_before_afterwards(
    server: FakeServer, client: httpx.Client
) -> None:
    server.replies.extend([stream(b"a"), Reply((b"",), close=True), stream(b"c")])
    client.post("/generate", content=b"{}")
    assert gc.isenabled()
    with pytest.raises(httpx.RemoteProtocolError):
        client.post("/generate", content=b"{}")
    assert gc.isenabled()
    gc.disable()
    try:
        client.post("/generate", content=b"{}")
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert not any(seen.collecting for seen in server.posts)


def test_warming_carries_the_headers_but_no_body(server: FakeServer, client: httpx.Client) -> None:
    server.replies.append(stream(b"a"))
    client.post("/generate", json={"a": 1}, headers={"Authorization": "Bearer key"})
    warm = server.seen[0]
    assert (warm.method, warm.path, warm.body) == ("GET", "/model_info", b"")
    assert warm.headers["authorization"] == "Bearer key"
    assert "content-type" not in warm.headers


def test_a_server_that_keeps_no_connection_open_is_named(
    server: FakeServer, client: httpx.Client
) -> None:
    server.gets["/model_info"] = Reply((plain(200, b"{}", b"connection: close"),), close=True)
    with pytest.raises(httpx.RemoteProtocolError, match="closes its connection"):
        client.post("/generate", content=b"{}")
    assert server.posts == []


def test_https_is_refused_with_the_reason() -> None:
    with (
        httpx.Client(transport=TimingTransport()) as client,
        pytest.raises(httpx.UnsupportedProtocol, match="TLS"),
    ):
        client.get("https://127.0.0.1/")


def test_nobody_listening_is_a_connect_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with (
        httpx.Client(transport=TimingTransport(), trust_env=False) as client,
        pytest.raises(httpx.ConnectError),
    ):
        client.get(f"http://127.0.0.1:{port}/")
