"""Just enough HTTP/1.1 on a blocking socket: keep-alive, one write per event, no added delay.

The standard library's server and the asyncio ones put a parser, a buffer or a timer between the
last byte of a request and its handler; here the arrival is stamped as the bytes are read.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

import orjson

_HEAD_END = b"\r\n\r\n"
_MAX_HEAD_BYTES = 64 * 1024
# A prompt of a million tokens is some 7 MB of JSON; more is a mistake.
_MAX_BODY_BYTES = 256 * 1024 * 1024


class BadRequestError(Exception):
    """The bytes are not a request this server reads. Carries the status to answer with."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        self.status = status
        super().__init__(message)


@dataclass(slots=True)
class Request:
    """One request. `arrived_ns`: when its last byte was read, on `time.perf_counter_ns`'s clock.

    Header names are lower case; of repeated query keys the first counts.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytearray
    arrived_ns: int

    @property
    def keep_alive(self) -> bool:
        return self.headers.get("connection", "").lower() != "close"


class Connection:
    """One client's connection: `read()` requests in turn, write answers."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._left_over = bytearray()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self) -> Request | None:
        """The next request, or None when the client is done.

        Raises BadRequestError for what is not HTTP/1.1 as clients of SGLang speak it, OSError when
        the connection breaks.
        """
        buffer = self._left_over
        while (end := buffer.find(_HEAD_END)) < 0:
            if len(buffer) > _MAX_HEAD_BYTES:
                raise BadRequestError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head too long")
            received = self._sock.recv(_MAX_HEAD_BYTES)
            if not received:
                return None
            buffer += received
        method, target, headers = _parse_head(bytes(buffer[:end]))
        del buffer[: end + len(_HEAD_END)]
        length = _body_length(headers)
        if headers.get("expect", "").lower() == "100-continue" and len(buffer) < length:
            self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self._read_body(length)
        if body is None:
            return None
        arrived_ns = time.perf_counter_ns()
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        return Request(method, parts.path, query, headers, body, arrived_ns)

    def _read_body(self, length: int) -> bytearray | None:
        body = self._left_over[:length]
        del self._left_over[:length]
        filled = len(body)
        body.extend(bytes(length - filled))
        with memoryview(body) as view:
            while filled < length:
                received = self._sock.recv_into(view[filled:])
                if not received:
                    return None
                filled += received
        return body

    def answer(
        self,
        status: HTTPStatus,
        body: bytes = b"",
        *,
        content_type: str = "text/plain; charset=utf-8",
        close: bool = False,
    ) -> None:
        """Send a whole response in one write."""
        self._sock.sendall(
            f"HTTP/1.1 {status.value} {status.phrase}\r\n"
            f"content-type: {content_type}\r\ncontent-length: {len(body)}\r\n"
            f"{'connection: close' if close else 'connection: keep-alive'}\r\n\r\n".encode()
            + body
        )

    def answer_json(self, status: HTTPStatus, content: object) -> None:
        self.answer(status, orjson.dumps(content), content_type="application/json")

    def open_stream(self) -> None:
        """Send the head of an event stream at once, as SGLang does: it is no sign of a token."""
        self._sock.sendall(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )

    def send(self, made: bytes) -> None:
        """Send bytes made by `event`, or by `chunk`."""
        self._sock.sendall(made)

    def close_stream(self) -> None:
        """Send `data: [DONE]` and the end of the body."""
        self._sock.sendall(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")

    def abort(self) -> None:
        """Break the connection off, in the middle of whatever was being sent."""
        self._sock.shutdown(socket.SHUT_RDWR)


def event(content: object) -> bytes:
    """One server-sent event as one chunk of the body, ready to send."""
    return chunk(b"data: " + orjson.dumps(content) + b"\n\n")


def chunk(data: bytes) -> bytes:
    """Bytes as one chunk of the body, ready to send."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _parse_head(head: bytes) -> tuple[str, str, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    try:
        method, target, version = first.split(" ")
        pairs = [line.split(":", 1) for line in lines]
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
    except ValueError:
        raise BadRequestError(HTTPStatus.BAD_REQUEST, "not an HTTP request") from None
    if version != "HTTP/1.1":
        raise BadRequestError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, f"{version} is not spoken")
    return method, target, headers


def _body_length(headers: dict[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise BadRequestError(HTTPStatus.LENGTH_REQUIRED, "send the body with a content-length")
    text = headers.get("content-length", "0")
    if not text.isdecimal():
        raise BadRequestError(HTTPStatus.BAD_REQUEST, f"content-length {text!r}")
    if int(text) > _MAX_BODY_BYTES:
        raise BadRequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body too long")
    return int(text)
