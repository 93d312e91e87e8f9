from __future__ import annotations

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import orjson
import pytest

from append_prefill.errors import InfrastructureError, UsageError
from append_prefill.probe import client as client_module
from append_prefill.probe.client import (
    PrimeRefusedError,
    RequestRefusedError,
    TimedClient,
    timing_of,
)
from append_prefill.probe.timing import Timing, shorten
from append_prefill.probe.transport import Exchange

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
        (stream(error_event(kind="odd") + DONE), "{'kind': 'odd'}"),
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


def test_times_are_ms_since_the_request_was_sent() -> None:
    sent_ns = 7_000_000
    body = [
        (8_500_000, event(completion_tokens=0, prompt_tokens=640, cached_tokens=512)),
        (9_000_000, event(completion_tokens=1)),
        (12_250_000, event(completion_tokens=3) + DONE),
    ]
    timing, status = client_module._read_generated(Exchange(sent_ns, body), first_token=True)
    assert status is None
    # An event that omits a count does not unsay it.
    assert timing == Timing(
        ttft_ms=2.0,
        e2e_ms=5.25,
        token_times_ms=[(1, 2.0), (3, 5.25)],
        prompt_tokens=640,
        cached_tokens=512,
        completion_tokens=3,
        retractions=None,
        error=None,
    )


@pytest.mark.parametrize(
    ("last", "error"),
    [
        (event(completion_tokens=0) + DONE, "no event with completion_tokens >= 1"),
        (event(completion_tokens=1), "the stream ended before [DONE]"),
        (b"data: []\n\n" + DONE, "an event that is no JSON object: []"),
        (error_event(code=7) + DONE, "{'code': 7}"),
        (b'data: {"error": "plain words"}\n\n' + DONE, "plain words"),
    ],
)
def test_an_error_says_what_happened_and_no_more(last: bytes, error: str) -> None:
    timing, _ = client_module._read_generated(Exchange(0, [(1, last)]), first_token=True)
    assert timing.error == error


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" words\n", "words"),
        ("x" * 300, "x" * 300),
        ("x" * 301, "x" * 300 + "…"),
        (b"ok\xe9", "ok\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_a_servers_words_are_cut_at_300_characters(text: str | bytes, shown: str) -> None:
    assert shorten(text) == shown


def test_the_wait_for_a_byte_is_bounded(server: FakeServer) -> None:
    server.replies.append(Reply((b"", b""), gap_s=0.5))
    with (
        TimedClient(server.base_url, timeout_s=0.05) as client,
        pytest.raises(InfrastructureError, match="ReadTimeout"),
    ):
        client.generate([5], max_new_tokens=1)
    assert TimedClient(server.base_url)._client.timeout == httpx.Timeout(120)


def test_no_proxy_stands_between(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    server.gets["/x"] = Reply((plain(200, b"1"),))
    with TimedClient(server.base_url) as client:
        assert client.get_json("/x") == 1


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
        stream(b'data: {"error": "must be positive"}\n\n' + DONE),
        stream(
            event(
                finish_reason={"type": "abort", "message": "must be positive", "status_code": 400}
            )
            + DONE
        ),
    ],
    ids=["status", "in the stream", "in the stream, with a code", "plain words", "aborted"],
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
    server.replies.append(stream(error_event(message="out of memory", code=500) + DONE))
    assert client.prime([5]).error == "out of memory"


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


def test_a_flush_is_tried_for_ten_seconds(
    server: FakeServer, client: TimedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last try is at the deadline itself; after it nothing is sent."""
    clock = iter([100.0, 105.0, 110.0, 110.001])
    slept: list[float] = []
    fake = SimpleNamespace(monotonic=lambda: next(clock), sleep=slept.append)
    monkeypatch.setattr(client_module, "time", fake)
    server.replies.extend([Reply((plain(400, b"not idle"),))] * 3)
    with pytest.raises(RequestRefusedError, match="not idle"):
        client.flush_cache()
    assert len(server.posts) == 3
    assert slept == [0.02, 0.02]


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_are_no_noise(
    server: FakeServer, client: TimedClient, status: int
) -> None:
    server.replies.append(Reply((plain(status, b"who are you"),)))
    with pytest.raises(RequestRefusedError, match=f"POST /generate: HTTP {status}: who are you"):
        client.generate([5], max_new_tokens=2)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"meta_info": None}, "token counts are no JSON object"),
        ({"meta_info": [1]}, "token counts are no JSON object"),
        ({"meta_info": {**COUNTS, "completion_tokens": "1"}}, "completion_tokens is no count"),
        ({"meta_info": {**COUNTS, "completion_tokens": True}}, "completion_tokens is no count"),
        ({"meta_info": {**COUNTS, "cached_tokens": 1.5}}, "cached_tokens is no count"),
        ({"meta_info": {**COUNTS, "prompt_tokens": -1}}, "prompt_tokens is no count"),
        ({"meta_info": {**COUNTS, "completion_tokens": 1}, "output_ids": "ids"}, "output_ids"),
        ({"meta_info": {**COUNTS, "completion_tokens": 1}, "output_ids": [None]}, "output_ids"),
    ],
)
def test_an_event_of_other_types_makes_the_sample_invalid_and_no_more(
    server: FakeServer, client: TimedClient, content: dict[str, Any], problem: str
) -> None:
    server.replies.append(stream(b"data: " + orjson.dumps(content) + b"\n\n" + DONE))
    timing = client.generate([5, 6, 7], max_new_tokens=1)
    assert timing.error is not None
    assert problem in timing.error


def test_a_text_travels_as_text(server: FakeServer, client: TimedClient) -> None:
    server.replies.append(stream(event(completion_tokens=1) + DONE))
    client.generate("some words", max_new_tokens=1)
    body = orjson.loads(server.posts[0].body)
    assert (body["text"], "input_ids" in body) == ("some words", False)


def chunk_of(**content: Any) -> bytes:
    return b"data: " + orjson.dumps(content) + b"\n\n"


def test_a_chat_is_a_greedy_stream_of_messages(server: FakeServer, client: TimedClient) -> None:
    usage = {
        "prompt_tokens": 640,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 512},
    }
    server.replies.append(
        stream(
            chunk_of(choices=[{"delta": {"role": "assistant"}}]),
            chunk_of(choices=[{"delta": {"content": "two words"}}]),
            chunk_of(choices=[], usage=usage) + DONE,
        )
    )
    timing = client.chat([("system", "Be brief."), ("user", "Why?")], max_new_tokens=2)
    assert timing.error is None
    assert (timing.prompt_tokens, timing.cached_tokens, timing.text) == (640, 512, "two words")
    assert timing.ttft_ms is not None
    assert timing.ttft_ms >= 40  # 20 ms after the role
    post = server.posts[0]
    assert post.path == "/v1/chat/completions"
    body = orjson.loads(post.body)
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why?"},
    ]
    assert body["max_tokens"] == 2


def test_what_someone_else_sends_is_what_generate_sends(
    server: FakeServer, client: TimedClient
) -> None:
    server.replies.extend([stream(event(completion_tokens=1, **COUNTS) + DONE)] * 2)
    client.generate([5, 6, 7], max_new_tokens=1)
    timing, status = timing_of(client._client.send(client.request_of([5, 6, 7], 1)), 1)
    assert (timing.error, timing.cached_tokens, status) == (None, 512, None)
    usual, own = server.posts
    assert (own.path, own.body) == (usual.path, usual.body)


def test_json_is_posted_and_an_empty_answer_is_none(
    server: FakeServer, client: TimedClient
) -> None:
    empty, told = Reply((plain(200, b""),)), Reply((plain(200, b'{"session": 7}'),))
    server.replies.extend([empty, told, Reply((plain(200, b"words"),)), Reply((plain(500, b""),))])
    assert client.post_json("/open", {"capacity": 9}) is None
    assert client.post_json("/open", {"capacity": 9}) == {"session": 7}
    with pytest.raises(RequestRefusedError, match="POST /open: no JSON"):
        client.post_json("/open", {})
    with pytest.raises(RequestRefusedError, match="POST /open: HTTP 500") as refused:
        client.post_json("/open", {})
    assert refused.value.status == 500
    first = server.posts[0]
    assert (first.path, orjson.loads(first.body)) == ("/open", {"capacity": 9})


def with_ids(ids: list[int], tokens: int) -> bytes:
    told = {"output_ids": ids, "meta_info": {"completion_tokens": tokens}}
    return b"data: " + orjson.dumps(told) + b"\n\n"


@pytest.mark.parametrize(
    ("events", "ids"),
    [
        ([with_ids([8], 1), with_ids([8, 9], 2)], (8, 9)),  # all so far
        ([with_ids([8], 1), with_ids([9], 2)], (8, 9)),  # what is new
        ([with_ids([8], 1), with_ids([9], 3)], None),  # one is missing
        ([with_ids([], 0)], None),
    ],
    ids=["all so far", "what is new", "one is missing", "none"],
)
def test_the_generated_ids_are_those_of_all_events(
    events: list[bytes], ids: tuple[int, ...] | None
) -> None:
    exchange = Exchange(0, [(1, b"".join(events) + DONE)])
    timing, _ = client_module._read_generated(exchange, first_token=True)
    assert timing.output_ids == ids


def test_a_connection_is_warmed_unless_told_not_to(server: FakeServer) -> None:
    for warm, methods in ((True, ["GET", "POST"]), (False, ["POST"])):
        server.seen.clear()
        server.replies.append(stream(event(completion_tokens=1) + DONE))
        with TimedClient(server.base_url, warm=warm) as client:
            client.generate([5], max_new_tokens=1)
        assert [seen.method for seen in server.seen] == methods
    server.seen.clear()
    server.replies.append(stream(event(completion_tokens=1) + DONE))
    with TimedClient(server.base_url) as client:
        client.generate([5], max_new_tokens=1)
    assert [seen.method for seen in server.seen] == ["GET", "POST"]
