"""The client floor: what the timed client itself adds to a TTFT, against a bare socket.

Both send the same bytes in turn to a server that holds its first event back for a fixed delay. No
sleep is exact, so the server says how long it held each answer and that much is taken off; what
is left is the client and the kernel, and the difference of two neighbours is the client's own.
"""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from append_prefill.errors import InfrastructureError
from append_prefill.probe.client import TimedClient, generate_body

_SERVER = Path(__file__).with_name("floor_server.py")
_FIRST_TOKEN = b'"completion_tokens":1'
_LAST_BYTES = b"0\r\n\r\n"
REPEATS = 40
"""Pairs of requests at each length: they put the median within some hundredths of a ms, next to
TTFTs of many ms."""

TtftMs = Callable[[Sequence[int]], float]
"""Sends one prompt and returns its TTFT in ms."""


@dataclass(frozen=True, slots=True)
class ClientFloor:
    """TTFT of one client minus a bare socket's, over `repeats` neighbouring pairs of requests.

    `ttft_ms` is the client's own median, as measured. With few repeats `p99_ms` is close to the
    largest difference seen.
    """

    client: str
    tokens: int
    body_bytes: int
    repeats: int
    ttft_ms: float
    median_ms: float
    p99_ms: float


class FloorServer:
    """The fixed-delay server in a child process, for as long as the context lasts.

    It ends with its standard input, so none outlives a parent that was killed. Raises
    InfrastructureError if it does not come up.
    """

    def __init__(self, *, delay_ms: float) -> None:
        self._delay_ms = delay_ms

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_SERVER), str(self._delay_ms)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        port = self._process.stdout.readline().strip()
        if not port:
            self.__exit__(None, None, None)
            raise InfrastructureError("the server that measures the client floor did not start")
        self.address = ("127.0.0.1", int(port))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Closing its standard input ends it; a last request takes one delay at most.
        try:
            self._process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.address[1]}"


class RawSocket:
    """The least a client can be: sends ready bytes, reads until the first token's event is in."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._host = f"{address[0]}:{address[1]}"

    def close(self) -> None:
        self._socket.close()

    def ttft_ms(self, input_ids: Sequence[int]) -> float:
        body = generate_body(input_ids, max_new_tokens=2)
        request = (
            f"POST /generate HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        recv = self._socket.recv
        data = b""
        sent_ns = time.monotonic_ns()
        self._socket.sendall(request)
        while _FIRST_TOKEN not in data:
            data = recv(65536)
        first_ns = time.monotonic_ns()
        while not data.endswith(_LAST_BYTES):
            data = recv(65536)
        return (first_ns - sent_ns) / 1e6


def probe_ttft_ms(client: TimedClient, input_ids: Sequence[int]) -> float:
    """TTFT of one request through the timed client; InfrastructureError if there is none."""
    timing = client.generate(input_ids, max_new_tokens=2)
    if timing.ttft_ms is None:
        raise InfrastructureError(f"no first token while measuring the floor: {timing.error}")
    return timing.ttft_ms


def measure_client_floor(
    tokens: Sequence[int] = (64, 1024), *, repeats: int | None = None, delay_ms: float = 1.0
) -> list[ClientFloor]:
    """The timed client's floor at each prompt length; about 0.4 s at the defaults.

    `repeats` None: `REPEATS` pairs of requests. The short delay is what makes this cheap enough for
    every run; it takes nothing from the difference.
    """
    with FloorServer(delay_ms=delay_ms) as server, TimedClient(server.base_url) as client:
        return compare_clients(
            server,
            {"probe": lambda input_ids: probe_ttft_ms(client, input_ids)},
            tokens,
            repeats=REPEATS if repeats is None else repeats,
        )


def compare_clients(
    server: FloorServer,
    clients: Mapping[str, TtftMs],
    tokens: Sequence[int],
    *,
    repeats: int,
    seed: int = 0,
) -> list[ClientFloor]:
    """Floors of several clients against a bare socket, all interleaved in random order.

    Every round sends one prompt through each client and through the socket. The first rounds
    (a tenth, at least two) warm sockets and caches and are not counted. Nothing else may talk to
    `server` meanwhile.
    """
    draw = random.Random(seed)  # noqa: S311 - an order, no secret
    raw = RawSocket(server.address)
    callers: dict[str, TtftMs] = {"": raw.ttft_ms, **clients}
    warm_rounds = max(2, repeats // 10)
    floors: list[ClientFloor] = []
    try:
        with TimedClient(server.base_url) as control:
            for length in tokens:
                input_ids = [draw.randrange(1000, 128000) for _ in range(length)]
                order: list[str] = []
                seen_ms: list[float] = []
                control.get_json("/held")  # empties the server's list
                for _ in range(warm_rounds + repeats):
                    for name in draw.sample(list(callers), len(callers)):
                        order.append(name)
                        seen_ms.append(callers[name](input_ids))
                held_ms = np.array(control.get_json("/held")) / 1e6
                by_name = _by_client(order, np.array(seen_ms), held_ms, warm_rounds)
                body_bytes = len(generate_body(input_ids, max_new_tokens=2))
                for name in clients:
                    difference_ms = by_name[name][:, 1] - by_name[""][:, 1]
                    floors.append(
                        ClientFloor(
                            client=name,
                            tokens=length,
                            body_bytes=body_bytes,
                            repeats=repeats,
                            ttft_ms=float(np.median(by_name[name][:, 0])),
                            median_ms=float(np.median(difference_ms)),
                            p99_ms=float(np.percentile(difference_ms, 99)),
                        )
                    )
    finally:
        raw.close()
    return floors


def _by_client(
    order: Sequence[str],
    seen_ms: np.ndarray[tuple[int], np.dtype[np.float64]],
    held_ms: np.ndarray[tuple[int], np.dtype[np.float64]],
    warm_rounds: int,
) -> dict[str, np.ndarray[tuple[int, int], np.dtype[np.float64]]]:
    """For each client an array (counted rounds, 2): TTFT as seen, and with the hold taken off."""
    both = np.column_stack([seen_ms, seen_ms - held_ms])
    names = np.array(order)
    return {name: both[names == name][warm_rounds:] for name in set(order)}
