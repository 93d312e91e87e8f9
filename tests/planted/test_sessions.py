"""Sessions: what a real 0.5.23 answered to the same requests, the counts to the letter."""

from __future__ import annotations

import concurrent.futures
import time

import httpx
import pytest

from append_prefill.planted.cost import Cost
from append_prefill.planted.faults import Faults
from append_prefill.planted.prefix_cache import pack
from append_prefill.planted.protocol import Settings
from append_prefill.planted.sessions import Sessions
from append_prefill.probe.client import TimedClient
from tests.planted.client import client_of, quick_server

FIRST, NEW = list(range(7000, 7100)), list(range(9000, 9020))


@pytest.fixture
def client():
    with quick_server() as server, client_of(server) as opened:
        yield opened


def opened(client, **more) -> str:
    response = client.post("/open_session", json={"capacity_of_str_len": 100_000, **more})
    assert response.status_code == 200
    name = response.json()
    assert isinstance(name, str)
    return name


def send(client, ids, max_new_tokens, own_rid, *, stream=False, **params) -> httpx.Response:
    """One turn; `params` are its `session_params`."""
    body = {
        "input_ids": ids,
        "rid": own_rid,
        "stream": stream,
        "sampling_params": {"max_new_tokens": max_new_tokens},
        "session_params": params,
    }
    return client.post("/generate", json=body)


def counts(response: httpx.Response) -> tuple[int, int]:
    """Prompt and cached tokens."""
    meta = response.json()["meta_info"]
    return meta["prompt_tokens"], meta["cached_tokens"]


def test_turns_of_a_plain_session_name_the_one_before(client):
    name = opened(client)
    first = send(client, FIRST, 50, "a1", id=name)
    assert counts(first) == (100, 0)
    assert counts(send(client, NEW, 10, "a2", id=name, rid="a1")) == (170, 149)
    assert counts(send(client, NEW, 10, "a3", id=name, rid="a2")) == (200, 179)
    # Without a name it is a first turn, and it is found by others like any request.
    assert counts(send(client, [5, 6, 70, 71], 4, "a4", id=name)) == (4, 0)
    output = first.json()["output_ids"]
    # The second turn computed the last token of the first one's reply.
    assert client.cached([*FIRST, *output, 11_000]) == 150
    # A flush takes the KV and leaves the session.
    assert client.post("/flush_cache").status_code == 200
    assert counts(send(client, NEW, 4, "a7", id=name, rid="a3")) == (230, 0)


def test_turns_of_a_streaming_session_follow_each_other(client):
    name = opened(client, streaming=True)
    first = send(client, FIRST, 50, "a1", id=name)
    assert counts(first) == (100, 0)
    assert counts(send(client, NEW, 10, "a2", id=name, rid="a1")) == (170, 149)
    assert counts(send(client, NEW, 10, "a3", id=name)) == (200, 179)
    assert counts(send(client, [5, 6, 70, 71], 4, "a4", id=name)) == (214, 209)
    # Whatever turn is named, it goes on from the last.
    assert counts(send(client, [5, 6, 70, 71], 4, "a5", id=name, rid="nope")) == (222, 217)
    # Its KV is its own: others find the first prompt, and no reply.
    output = first.json()["output_ids"]
    assert client.cached([*FIRST, *output, 11_000]) == 100
    assert client.post("/flush_cache").status_code == 200
    assert counts(send(client, NEW, 4, "a7", id=name)) == (246, 0)


def test_a_plain_turn_can_rewrite_what_came_before(client):
    name = opened(client)
    send(client, FIRST, 10, "b1", id=name)
    dropped = send(client, NEW, 10, "b2", id=name, rid="b1", drop_previous_output=True)
    assert counts(dropped) == (120, 100)
    assert counts(send(client, NEW, 10, "b3", id=name, rid="b1", offset=50)) == (70, 50)
    assert counts(send(client, NEW, 10, "b4", id=name, rid="b1", replace=True)) == (130, 109)
    # What followed on a replaced turn is gone.
    gone = send(client, NEW, 10, "b5", id=name, rid="b2")
    assert "Invalid request session id" in gone.text
    assert counts(send(client, NEW, 10, "b6", id=name, replace=True)) == (20, 0)


def test_a_page_does_not_bound_what_a_streaming_session_keeps():
    with (
        quick_server(settings=Settings(page_size_tokens=16)) as server,
        client_of(server) as client,
    ):
        for streaming, cached in ((True, 149), (False, 144)):
            client.post("/flush_cache")
            name = opened(client, streaming=streaming)
            send(client, FIRST, 50, "a1", id=name)
            assert counts(send(client, NEW, 2, "a2", id=name, rid="a1")) == (170, cached)


def test_what_a_session_refuses(client):
    plain, streaming = opened(client), opened(client, streaming=True)
    for name, params, words in (
        (plain, {"rid": "nope"}, "Invalid request session id"),
        (streaming, {"replace": True}, "do not support replace"),
        (streaming, {"offset": 3}, "do not support offset"),
        (streaming, {"drop_previous_output": True}, "do not support drop_previous_output"),
        ("no-such", {}, "session id no-such does not exist"),
    ):
        response = send(client, NEW, 4, "r1", id=name, **params)
        assert response.status_code == 400
        assert words in response.json()["error"]["message"]
        # In a stream it is an event that says the request was aborted.
        stream = send(client, NEW, 4, "r2", id=name, stream=True, **params)
        assert stream.status_code == 200
        assert '"type":"abort"' in stream.text
        assert words in stream.text
    assert counts(send(client, NEW, 4, "r3", id=streaming)) == (20, 0)


def test_the_suites_client_reads_an_aborted_turn_as_an_error():
    with quick_server() as server, TimedClient(server.base_url) as client:
        fields = {"session_params": {"id": "no-such"}}
        error = client.generate(NEW, max_new_tokens=2, fields=fields).error
    assert error is not None
    assert "session id no-such does not exist" in error


def test_a_name_is_open_once_and_closing_twice_is_no_error(client):
    name = opened(client, session_id="mine")
    assert name == "mine"
    again = client.post("/open_session", json={"capacity_of_str_len": 1, "session_id": "mine"})
    assert again.status_code == 400
    assert "still open" in again.json()["error"]["message"]
    for _ in range(2):
        assert client.post("/close_session", json={"session_id": "mine"}).status_code == 200
    assert "does not exist" in send(client, NEW, 4, "r", id="mine").json()["error"]["message"]
    assert opened(client, session_id="mine") == "mine"
    assert client.post("/open_session", json={}).status_code == 400
    assert client.post("/close_session", json={}).status_code == 400


def test_before_0_5_10_a_session_is_a_plain_one():
    settings = Settings(sglang_version="0.5.9")
    with quick_server(settings=settings) as server, client_of(server) as client:
        name = opened(client, streaming=True)
        send(client, FIRST, 50, "a1", id=name)
        assert counts(send(client, NEW, 4, "a2", id=name)) == (20, 0)
        assert counts(send(client, NEW, 4, "a3", id=name, rid="a1")) == (170, 150)


@pytest.mark.parametrize("streaming", [False, True])
def test_a_turn_that_runs_keeps_the_next_one_out_and_its_session_open(streaming):
    slow = Cost(floor_ms=500, decode_ms=0)
    with (
        quick_server(cost=slow) as server,
        client_of(server) as client,
        client_of(server) as other,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        name = opened(client, streaming=streaming)
        running = pool.submit(send, other, FIRST, 4, "a1", id=name)
        while not server.scheduler.running:
            time.sleep(0.001)
        words = "already has an active request" if streaming else "hasn't finished"
        assert words in send(client, NEW, 4, "a2", id=name, rid="a1").text
        assert client.post("/close_session", json={"session_id": name}).status_code == 200
        assert running.result().status_code == 200
        assert "does not exist" in send(client, NEW, 4, "a3", id=name, rid="a1").text


def test_a_turn_that_broke_off_is_no_part_of_the_history():
    """A streaming session loses its KV by it, too."""
    sessions = Sessions(streaming=True)
    params = {"id": sessions.open({"capacity_of_str_len": 1, "streaming": True})}
    first = sessions.turn(params, pack([20, 21]), "a", stream=False)
    sessions.ended(first, pack([30, 31]), 3)
    second = sessions.turn(params, pack([22]), "b", stream=False)
    assert (second.prompt, second.kept_tokens) == (pack([20, 21, 30, 31, 22]), 3)
    sessions.ended(second, None, 0)
    third = sessions.turn(params, pack([23]), "c", stream=False)
    assert (third.prompt, third.kept_tokens) == (pack([20, 21, 30, 31, 23]), None)


def test_a_dropped_turn_lets_the_next_one_in():
    with quick_server(Faults(drop=1)) as server, client_of(server) as client:
        name = opened(client, streaming=True)
        for rid in ("a", "b"):
            with pytest.raises(httpx.RemoteProtocolError):
                send(client, NEW, 4, rid, stream=True, id=name)
        assert counts(send(client, NEW, 4, "c", id=name)) == (20, 19)
