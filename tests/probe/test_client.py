from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from append_prefill.errors import InfrastructureError, UsageError
from append_prefill.probe import client as client_module
from append_prefill.probe.client import PrimeRefusedError, RequestRefusedError, TimedClient

from .fake_server import DONE, FakeServer, Reply, event, plain, stream


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake


@pytest.fixture
def client(server: FakeServer) -> Iterator[TimedClient]:
    with TimedClient(server.base_url, api_key="secret", timeout_s=5) as client:
        yield client


def error_event(**problem: Any) -> bytes:
    return b"data: " + orjson.dumps({"error": problem}) + b"\n\n"


COUNTS = {"prompt_tokens": 640, "cached_tokens": 512, "num_retractions": 0}


def test_ttft_is_the_first_event_with_a_token(server: FakeServer, client: TimedClient) -> None:
    server.replies.append(
        stream(
            event(completion_tokens=0, **COUNTS),
            event(completion_tokens=1, **COUNTS),
            event(completion_tokens=2, **COUNTS) + DONE,
        )
    )
    timing = client.generate([5, 6, 7], max_new_tokens=2)
    assert timing.error is None
    assert [tokens for tokens, _ in timing.token_times_ms] == [1, 2]
    assert timing.ttft_ms == timing.token_times_ms[0][1]
    assert timing.e2e_ms == timing.token_times_ms[1][1]
    # 20 ms after the head, the event without a token; 20 ms more, the first with one
    assert timing.ttft_ms is not None
    assert timing.ttft_ms >= 40
    assert timing.e2e_ms is not None
    assert timing.e2e_ms >= 60
    assert (timing.prompt_tokens, timing.cached_tokens) == (640, 512)
    assert (timing.completion_tokens, timing.retractions) == (2, 0)


def test_the_request_is_a_greedy_stream_of_token_ids(
    server: FakeServer, client: TimedClient
) -> None:
    server.replies.append(stream(event(completion_tokens=2) + DONE))
    client.generate([5, 6, 7], max_new_tokens=2)
    post = server.posts[0]
    assert post.path == "/generate"
    assert post.headers["authorization"] == "Bearer secret"
    assert post.headers["content-type"] == "application/json"
    assert post.headers["accept-encoding"] == "identity"
    assert orjson.loads(post.body) == {
        "input_ids": [5, 6, 7],
        "sampling_params": {"temperature": 0, "max_new_tokens": 2, "ignore_eos": True},
        "stream": True,
    }


def test_further_fields_travel_in_the_request(server: FakeServer, client: TimedClient) -> None:
    server.replies.append(stream(event(completion_tokens=1) + DONE))
    client.generate([5, 6, 7], max_new_tokens=1, fields={"bootstrap_room": 7})
    body = orjson.loads(server.posts[0].body)
    assert (body["bootstrap_room"], body["input_ids"]) == (7, [5, 6, 7])


def test_coalesced_events_share_their_arrival(server: FakeServer, client: TimedClient) -> None:
    both = event(completion_tokens=1) + event(completion_tokens=2)
    server.replies.append(stream(both, event(completion_tokens=4) + DONE))
    timing = client.generate([5], max_new_tokens=4)
    (one, first_ms), (two, second_ms), (four, last_ms) = timing.token_times_ms
    assert (one, two, four) == (1, 2, 4)
    assert first_ms == second_ms
    assert last_ms >= 40


def test_an_event_that_repeats_a_count_brings_no_token(
    server: FakeServer, client: TimedClient
) -> None:
    server.replies.append(
        stream(event(completion_tokens=1), event(completion_tokens=1, cached_tokens=3) + DONE)
    )
    timing = client.generate([5], max_new_tokens=1)
    assert [tokens for tokens, _ in timing.token_times_ms] == [1]
    assert timing.cached_tokens == 3
    assert timing.e2e_ms is not None
    assert timing.e2e_ms >= 40


@pytest.mark.parametrize(
    ("meta_info", "expected"),
    [({"num_retractions": 2}, 2), ({"total_retractions": 1}, 1), ({}, None)],
    ids=["since 0.5.12", "before", "absent"],
)
def test_retractions_by_either_name(
    server: FakeServer, client: TimedClient, meta_info: dict[str, int], expected: int | None
) -> None:
    server.replies.append(stream(event(completion_tokens=1, **meta_info) + DONE))
    assert client.generate([5], max_new_tokens=1).retractions == expected


def test_counts_the_server_does_not_say_are_none(server: FakeServer, client: TimedClient) -> None:
    server.replies.append(stream(event(completion_tokens=1) + DONE))
    timing = client.generate([5], max_new_tokens=1)
    assert (timing.prompt_tokens, timing.cached_tokens) == (None, None)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (stream(error_event(message="too long") + DONE), "too long"),
        (stream(b'data: {"error": "plain words"}\n\n' + DONE), "plain words"),
        (stream(b"data: {oops\n\n" + DONE), "no JSON object: {oops"),
        (stream(b"data: [1]\n\n" + DONE), "no JSON object"),
        (stream(event(completion_tokens=0) + DONE), "no event with completion_tokens >= 1"),
        (stream(DONE), "no event with completion_tokens >= 1"),
        (Reply((plain(503, b"busy"),)), "HTTP 503: busy"),
        (Reply((plain(200, b"{}"),)), "not an event stream"),
        (Reply((plain(500, b"x" * 5000),)), "…"),
    ],
)
def test_a_refusal_is_an_error_without_a_ttft(
    server: FakeServer, client: TimedClient, reply: Reply, error: str
) -> None:
    server.replies.append(reply)
    timing = client.generate([5], max_new_tokens=1)
    assert timing.error is not None
    assert error in timing.error
    assert len(timing.error) < 400
    assert timing.ttft_ms is None


@pytest.mark.parametrize(
    ("last", "error"),
    [
        (error_event(message="out of memory", code=500) + DONE, "out of memory"),
        (
            event(completion_tokens=1, finish_reason={"type": "abort", "message": "gone"}) + DONE,
            "aborted: gone",
        ),
        (event(completion_tokens=2), "before [DONE]"),
    ],
)
def test_what_goes_wrong_after_the_first_token_voids_it_too(
    server: FakeServer, client: TimedClient, last: bytes, error: str
) -> None:
    server.replies.append(stream(event(completion_tokens=1), last))
    timing = client.generate([5], max_new_tokens=2)
    assert timing.error is not None
    assert error in timing.error


def test_a_dropped_connection_is_the_infrastructures_fault(
    server: FakeServer, client: TimedClient
) -> None:
    server.replies.append(stream(event(completion_tokens=1), close=True))
    with pytest.raises(InfrastructureError, match="/generate"):
        client.generate([5], max_new_tokens=2)


def test_nobody_listening_is_the_infrastructures_fault() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with (
        TimedClient(f"http://127.0.0.1:{port}") as client,
        pytest.raises(InfrastructureError, match="ConnectError"),
    ):
        client.get_json("/model_info")


def test_https_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="plain http"):
        TimedClient("https://example.org")


def test_priming_with_zero_tokens_needs_no_first_token(
    server: FakeServer, client: TimedClient
) -> None:
    server.replies.append(stream(event(completion_tokens=0, **COUNTS) + DONE))
    timing = client.prime([5, 6])
    assert (timing.error, timing.ttft_ms, timing.completion_tokens) == (None, None, 0)
    assert timing.e2e_ms is not None
    body = orjson.loads(server.posts[0].body)
    assert body["sampling_params"]["max_new_tokens"] == 0


@pytest.mark.parametrize(
    "reply",
    [
        Reply((plain(400, b"max_new_tokens must be positive"),)),
        stream(error_event(message="max_new_tokens must be positive") + DONE),
        stream(error_event(message="max_new_tokens must be positive", code=400) + DONE),
    ],
    ids=["status", "in the stream", "in the stream, with a code"],
)
def test_a_server_that_refuses_zero_is_asked_again_only_by_the_caller(
    server: FakeServer, client: TimedClient, reply: Reply
) -> None:
    server.replies.extend([reply, stream(event(completion_tokens=1) + DONE)])
    with pytest.raises(PrimeRefusedError, match="must be positive"):
        client.prime([5, 6])
    assert len(server.posts) == 1
    assert client.prime([5, 6], max_new_tokens=1).error is None


def test_priming_that_fails_otherwise_is_an_error_of_the_sample(
    server: FakeServer, client: TimedClient
) -> None:
    server.replies.append(Reply((plain(503, b"queue full"),)))
    assert client.prime([5]).error == "HTTP 503: queue full"


def test_generating_nothing_is_a_mistake_of_the_caller(client: TimedClient) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        client.generate([5], max_new_tokens=0)


def test_json_is_read_and_anything_else_refused(server: FakeServer, client: TimedClient) -> None:
    server.gets["/server_info"] = Reply((plain(200, b'{"page_size": 1}'),))
    server.gets["/words"] = Reply((plain(200, b"hello"),))
    assert client.get_json("/server_info") == {"page_size": 1}
    with pytest.raises(RequestRefusedError, match="no JSON"):
        client.get_json("/words")
    with pytest.raises(RequestRefusedError) as refused:
        client.get_json("/absent")
    assert refused.value.status == 404


def test_a_flush_waits_while_the_server_is_busy(server: FakeServer, client: TimedClient) -> None:
    busy = Reply((plain(400, b"not idle"),))
    server.replies.extend([busy, busy, Reply((plain(200, b"flushed"),))])
    client.flush_cache()
    assert [post.path for post in server.posts] == ["/flush_cache"] * 3


def test_a_flush_does_not_wait_for_ever_nor_for_anything_else(
    server: FakeServer, client: TimedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.replies.append(Reply((plain(401, b"who are you"),)))
    with pytest.raises(RequestRefusedError, match="who are you"):
        client.flush_cache()
    monkeypatch.setattr(client_module, "_FLUSH_LIMIT_S", -1.0)
    server.replies.append(Reply((plain(400, b"not idle"),)))
    with pytest.raises(RequestRefusedError, match="not idle"):
        client.flush_cache()
