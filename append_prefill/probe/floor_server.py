"""The server behind `floor.py`: answers every POST with three fixed events after a fixed delay.

Run by its path in a process of its own, with nothing but the standard library, so that it starts
in tens of milliseconds and shares no interpreter lock with the client that is being measured:

    python -I -S floor_server.py DELAY_MS

Prints its port (loopback) on standard output and ends when its standard input does. It sends the
head of a POST's answer at once, as SGLang's web framework does, and the first event DELAY_MS after
the request's last byte. `GET /held` returns, as a JSON list of ns and in the order of the POSTs
since the last such call, how long it really held each first event back; any other GET returns {}.
It holds as many answers at once as it is asked for.
"""

import collections
import contextlib
import selectors
import socket
import sys
import time

_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nserver: floor\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(completion_tokens: int) -> bytes:
    # One of SGLang's events, in size and in keys; the counts mean nothing here.
    return _chunk(
        b'data: {"text":" floor","output_ids":[17],"meta_info":{"id":"0","finish_reason":null,'
        b'"prompt_tokens":1,"weight_version":"default","num_retractions":0,'
        b'"completion_tokens":%d,"cached_tokens":0}}\n\n' % completion_tokens
    )


_FIRST = _event(1)
_REST = _event(2) + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def _receive(connection: socket.socket) -> tuple[str, str]:
    """Read one request whole; its method and path, or two empty strings at the end."""
    data = bytearray()
    while (end := data.find(b"\r\n\r\n")) < 0:
        part = connection.recv(65536)
        if not part:
            return "", ""
        data += part
    head = bytes(data[:end]).decode("latin-1")
    length = 0
    for line in head.split("\r\n")[1:]:
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            length = int(value)
    missing = end + 4 + length - len(data)
    while missing > 0:
        part = connection.recv(min(missing, 1 << 20))
        if not part:
            return "", ""
        missing -= len(part)
    method, path, _ = head.split(" ", 2)
    return method, path


class _Server:
    """Answers that are held back, first come first served, since each is for the same time."""

    def __init__(self, delay_ns: int) -> None:
        self._delay_ns = delay_ns
        self._waiting: collections.deque[tuple[int, socket.socket]] = collections.deque()
        self._held_ns: list[int] = []

    def serve(self, connection: socket.socket) -> bool:
        """Take one request; False when the peer has closed instead, or has left in its midst."""
        try:
            return self._serve(connection)
        except ConnectionError:
            return False

    def _serve(self, connection: socket.socket) -> bool:
        method, path = _receive(connection)
        received_ns = time.monotonic_ns()
        if not method:
            return False
        if method == "POST":
            connection.sendall(_STREAM_HEAD)
            self._waiting.append((received_ns, connection))
            return True
        body = b"{}"
        if path == "/held":
            body = repr(self._held_ns).encode()
            self._held_ns.clear()
        connection.sendall(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (len(body), body)
        )
        return True

    def wait_s(self) -> float | None:
        """Until the next answer is due; None where none is."""
        if not self._waiting:
            return None
        return max(0, self._waiting[0][0] + self._delay_ns - time.monotonic_ns()) / 1e9

    def send_due(self) -> None:
        while self._waiting and self.wait_s() == 0:
            received_ns, connection = self._waiting.popleft()
            sent_ns = time.monotonic_ns()
            # A run that is ended leaves without its answers.
            with contextlib.suppress(ConnectionError):
                connection.sendall(_FIRST)
                self._held_ns.append(sent_ns - received_ns)
                connection.sendall(_REST)


def main() -> None:
    server = _Server(round(float(sys.argv[1]) * 1e6))
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    print(listener.getsockname()[1], flush=True)
    # select, since the others round what they wait up to a whole ms.
    with selectors.SelectSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            ready = selector.select(server.wait_s())
            server.send_due()
            for key, _ in ready:
                if key.fileobj is sys.stdin:
                    return
                if key.fileobj is listener:
                    connection, _ = listener.accept()
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    selector.register(connection, selectors.EVENT_READ)
                elif isinstance(key.fileobj, socket.socket) and not server.serve(key.fileobj):
                    selector.unregister(key.fileobj)
                    key.fileobj.close()


if __name__ == "__main__":
    main()
