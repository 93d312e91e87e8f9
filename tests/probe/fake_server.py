"""A scripted HTTP server in a thread: says exactly what a test tells it to, byte for byte."""

from __future__ import annotations

import gc
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

import orjson

HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
END = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(**meta_info: Any) -> bytes:
    return b"data: " + orjson.dumps({"text": "x", "meta_info": meta_info}) + b"\n\n"


def plain(status: int, body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 %d Word" % status, b"content-length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@dataclass(frozen=True)
class Reply:
    """Pieces sent one by one, at least `gap_s` apart.

    A reader that is kept waiting for its processor may still get two at once, so a test can rely
    on "not before" and not on "not together".
    """

    pieces: tuple[bytes, ...]
    close: bool = False
    gap_s: float = 0.02


def stream(*pieces: bytes, close: bool = False) -> Reply:
    """An event stream: the head, then each piece as one chunk; ended properly unless `close`."""
    chunks = [HEAD, *(chunk(piece) for piece in pieces)]
    if not close:
        chunks[-1] += END
    return Reply(tuple(chunks), close)


@dataclass(frozen=True)
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    collecting: bool  # whether the garbage collector was on when the request had come
    connection: int


@dataclass
class FakeServer:
    """Answers POSTs with `replies` in turn and every GET from `gets` (else 404)."""

    replies: deque[Reply] = field(default_factory=deque)
    gets: dict[str, Reply] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    # closed by the server after each answered POST: an idle connection that goes away
    close_after_post: bool = False

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self._listener, *self._open):
            with suppress(OSError):  # closed by a script
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self._thread.join()

    @property
    def posts(self) -> list[Seen]:
        return [seen for seen in self.seen if seen.method == "POST"]

    def _accept(self) -> None:
        number = 0
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            number += 1
            # One client, one live connection: served to its end before the next is accepted.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection, suppress(OSError):  # the client may hang up first
                while self._answer(connection, number):
                    pass

    def _answer(self, connection: socket.socket, number: int) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            part = connection.recv(65536)
            if not part:
                return False
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        while len(body) < int(headers.get("content-length", 0)):
            body += connection.recv(65536)
        method, path, _ = first.split(" ")
        self.seen.append(Seen(method, path, headers, body, gc.isenabled(), number))
        if method == "GET":
            reply = self.gets.get(path, Reply((plain(404, b"{}"),)))
        else:
            reply = self.replies.popleft()
        for index, piece in enumerate(reply.pieces):
            if index:
                time.sleep(reply.gap_s)
            connection.sendall(piece)
        return not (reply.close or (method == "POST" and self.close_after_post))
