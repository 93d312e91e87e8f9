from __future__ import annotations

import socket
import struct
from urllib.parse import urlsplit

import pytest

from append_prefill.errors import InfrastructureError
from append_prefill.probe import floor
from append_prefill.probe.client import TimedClient
from append_prefill.probe.floor import (
    FloorServer,
    RawSocket,
    compare_clients,
    measure_client_floor,
)


def test_each_prompt_length_gets_a_floor() -> None:
    short, long = measure_client_floor((64, 1024), repeats=5)
    assert (short.client, short.tokens, short.repeats) == ("probe", 64, 5)
    assert long.tokens == 1024
    assert long.body_bytes > short.body_bytes > 64
    # the server held each answer back for a millisecond, and that is in the client's own TTFT
    assert short.ttft_ms > 1
    assert short.median_ms <= short.p99_ms


def test_a_client_that_adds_a_known_time_reads_that_time() -> None:
    """Deterministic but for the noise of a median of 15 pairs, taken as less than 25 of 50 ms."""
    with FloorServer(delay_ms=1) as server:
        raw = RawSocket(server.address)
        try:
            (slow,) = compare_clients(
                server, {"slow": lambda ids: raw.ttft_ms(ids) + 50.0}, [16], repeats=15
            )
        finally:
            raw.close()
    assert slow.median_ms == pytest.approx(50.0, abs=25.0)


def test_the_server_streams_what_the_client_reads_and_says_how_long_it_held() -> None:
    with FloorServer(delay_ms=3) as server, TimedClient(server.base_url) as client:
        timing = client.generate(list(range(1000, 1200)), max_new_tokens=2)
        (held_ns,) = client.get_json("/held")
        assert client.get_json("/held") == []
    assert timing.error is None
    assert [tokens for tokens, _ in timing.token_times_ms] == [1, 2]
    assert timing.ttft_ms is not None
    assert 3 <= held_ns / 1e6 <= timing.ttft_ms


def test_no_server_is_left_behind() -> None:
    with FloorServer(delay_ms=1) as server:
        process = server._process
        assert process.poll() is None
    assert process.poll() == 0


@pytest.mark.parametrize("sent", ["whole", "head", "part of the body"])
def test_a_client_that_leaves_is_no_fault_of_the_server(sent: str) -> None:
    """As the client of a run that is killed does: before its answer is due, or while it sends."""
    body = b"x" * 1000
    head = b"POST /generate HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body)
    request = {"whole": head + body, "head": head, "part of the body": head + body[:10]}[sent]
    with FloorServer(delay_ms=50) as server:
        address = urlsplit(server.base_url)
        assert address.hostname is not None
        with socket.create_connection((address.hostname, address.port)) as gone:
            # Closed with data unsent, so that the server's next write is refused.
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            gone.sendall(request)
        with TimedClient(server.base_url) as client:
            assert client.generate(list(range(1000, 1200)), max_new_tokens=2).error is None
        process = server._process
    assert process.poll() == 0


def test_a_server_that_does_not_start_is_the_infrastructures_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(floor, "_SERVER", floor._SERVER.with_name("absent.py"))
    with pytest.raises(InfrastructureError, match="did not start"), FloorServer(delay_ms=1):
        pass
