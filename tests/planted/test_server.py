"""Protocol conformance: what a client of SGLang may rely on, in the oldest and newest version."""

from __future__ import annotations

import concurrent.futures
import socket
import time

import httpx
import pytest

from append_prefill.engines.versions import NEWEST, OLDEST
from append_prefill.planted.cost import Cost
from append_prefill.planted.faults import Faults
from append_prefill.planted.protocol import Settings
from append_prefill.planted.server import PlantedServer
from tests.planted.client import QUICK, body, client_of, quick_server

SLOW = Cost(floor_ms=500.0, decode_ms=0.2)


@pytest.fixture(params=[OLDEST, NEWEST])
def pair(request):
    with (
        quick_server(settings=Settings(sglang_version=request.param)) as server,
        client_of(server) as client,
    ):
        yield server, client


def dialled(server: PlantedServer) -> socket.socket:
    return socket.create_connection((server.host, server.port), timeout=10)


def ids(start: int, count: int) -> list[int]:
    return list(range(start, start + count))


def test_health_answers_and_leaves_token_0_in_the_cache(pair):
    _, client = pair
    assert client.cached([0, 5]) == 0
    client.get("/flush_cache")
    for path in ("/health", "/health_generate"):
        assert client.get(path).status_code == 200
    assert client.cached([0, 5]) == 1


def test_endpoint_names_by_version(pair):
    server, client = pair
    known = 404 if server.settings.sglang_version == OLDEST else 200
    for name in ("model_info", "server_info"):
        assert client.get(f"/get_{name}").status_code == 200
        assert client.get(f"/{name}").status_code == known
    assert client.get("/nothing").status_code == 404
    assert client.get("/generate").status_code == 405


def test_server_info_tells_what_was_resolved():
    settings = Settings(
        page_size_tokens=16,
        kv_capacity_tokens=5000,
        context_length_tokens=4096,
        chunked_prefill_tokens=2048,
        sglang_version="0.9.9",
    )
    with quick_server(settings=settings) as server, client_of(server) as client:
        info = client.get("/server_info").json()
    assert info["page_size"] == 16
    assert info["max_total_num_tokens"] == 5000
    assert info["context_length"] == 4096
    assert info["chunked_prefill_size"] == 2048
    assert info["version"] == "0.9.9"
    assert info["random_seed"] == 7
    assert info["disable_radix_cache"] is False
    assert info["cuda_graph_config"]["prefill"]["backend"] == "disabled"
    assert info["internal_states"][0]["memory_usage"]["token_capacity"] == 5000


def test_a_stream_counts_its_tokens_and_ends(pair):
    server, client = pair
    stream = client.stream_generate(ids(100, 40), 3)
    assert stream.done
    assert [e["meta_info"]["completion_tokens"] for e in stream.events] == [1, 2, 3]
    assert [e["meta_info"]["prompt_tokens"] for e in stream.events] == [40, 40, 40]
    assert [e["meta_info"]["finish_reason"] for e in stream.events] == [
        None,
        None,
        {"type": "length", "length": 3},
    ]
    assert ["e2e_latency" in e["meta_info"] for e in stream.events] == [False, False, True]
    assert len({e["meta_info"]["id"] for e in stream.events}) == 1
    old = server.settings.sglang_version == OLDEST
    assert stream.last["total_retractions" if old else "num_retractions"] == 0
    assert [len(e["output_ids"]) for e in stream.events] == ([1, 1, 1] if old else [1, 2, 3])


def test_a_whole_answer_carries_all_tokens(pair):
    _, client = pair
    streamed = client.stream_generate(ids(100, 40), 5)
    whole = client.whole_generate(ids(100, 40), 5).json()
    tokens = whole["output_ids"]
    assert len(tokens) == whole["meta_info"]["completion_tokens"] == 5
    assert tokens[-1] == streamed.events[-1]["output_ids"][-1]
    assert whole["meta_info"]["finish_reason"] == {"type": "length", "length": 5}
    assert min(tokens) >= 14


def test_prefill_only_caches_exactly_the_prompt(pair):
    _, client = pair
    prime = client.stream_generate(ids(100, 64), 0)
    assert prime.done
    assert [e["meta_info"]["completion_tokens"] for e in prime.events] == [0]
    assert prime.last["finish_reason"]["type"] == "length"
    sample = client.stream_generate([*ids(100, 64), *ids(5000, 8)], 2)
    assert sample.last["cached_tokens"] == 64
    assert sample.last["prompt_tokens"] == 72


def test_the_output_is_cached_but_for_the_tail_of_its_version(pair):
    server, client = pair
    output = client.whole_generate(ids(100, 10), 6).json()["output_ids"]
    tail = server.settings.traits.uncached_tail_tokens
    assert client.cached([*ids(100, 10), *output, 99]) == 10 + 6 - tail


def test_pages_floor_what_is_cached():
    with (
        quick_server(settings=Settings(page_size_tokens=16)) as server,
        client_of(server) as client,
    ):
        client.stream_generate(ids(100, 40), 0)
        assert client.cached([*ids(100, 40), 9, 9]) == 32
        assert client.cached(ids(100, 32)) == 16


def test_lru_eviction_at_the_kv_capacity():
    with (
        quick_server(settings=Settings(kv_capacity_tokens=100)) as server,
        client_of(server) as client,
    ):
        for start in (1000, 2000, 3000):
            client.stream_generate(ids(start, 40), 0)
        assert client.cached([*ids(3000, 40), 9]) == 40
        assert client.cached([*ids(1000, 40), 9]) == 0


def test_flush_empties_and_refuses_while_a_request_runs(pair):
    server, client = pair
    client.stream_generate(ids(100, 40), 0)
    for method in ("GET", "POST"):
        response = client.request(method, "/flush_cache")
        assert response.status_code == 200
        assert response.text.startswith("Cache flushed.")
    assert client.cached(ids(100, 40)) == 0
    with (
        quick_server(settings=server.settings, cost=SLOW) as slow,
        client_of(slow) as busy,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        running = pool.submit(busy.stream_generate, ids(100, 40))
        while not slow.scheduler.running:
            time.sleep(0.001)
        assert busy.get("/flush_cache").status_code == 400
        waited = busy.post("/flush_cache?timeout=5").status_code
        assert waited == (400 if server.settings.sglang_version == OLDEST else 200)
        assert running.result().done


def test_a_flush_right_after_the_end_is_taken(pair):
    _, client = pair
    for _ in range(20):
        assert client.stream_generate(ids(100, 4)).done
        assert client.get("/flush_cache").status_code == 200
        assert client.whole_generate(ids(100, 4)).status_code == 200
        assert client.get("/flush_cache").status_code == 200


@pytest.mark.parametrize(
    ("settings", "prompt", "new", "words"),
    [
        (Settings(context_length_tokens=64), 64, 1, "longer than the model's context length"),
        (Settings(context_length_tokens=64), 60, 5, "maximum context length of 64"),
        (Settings(kv_capacity_tokens=64), 60, 1, "maximum allowed length (58 tokens)"),
    ],
)
def test_what_does_not_fit_is_refused(settings, prompt, new, words):
    with quick_server(settings=settings) as server, client_of(server) as client:
        response = client.whole_generate(ids(100, prompt), new)
        assert response.status_code == 400
        assert words in response.json()["error"]["message"]
        stream = client.stream_generate(ids(100, prompt), new)
        assert stream.status == 200  # SGLang has begun to answer before it looks
        assert words in stream.events[0]["error"]["message"]
        assert stream.done
        assert client.whole_generate(ids(100, 20), 1).status_code == 200


def test_output_is_cut_to_what_fits_the_kv_pool():
    with (
        quick_server(settings=Settings(kv_capacity_tokens=64)) as server,
        client_of(server) as client,
    ):
        meta = client.whole_generate(ids(100, 50), 1000).json()["meta_info"]
    assert meta["completion_tokens"] == 63 - 50 - 1


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b'{"text": " "}',
        b'{"text": ["w14"]}',
        b'{"text": "w14", "input_ids": [14]}',
        b'{"sampling_params": {"max_new_tokens": 1}}',
        b'{"input_ids": [1], "session_params": [1]}',
        b'{"input_ids": [1], "session_params": {"id": "s", "offset": "2"}}',
        b'{"input_ids": []}',
        b'{"input_ids": [1.5]}',
        b'{"input_ids": [-1]}',
        b'{"input_ids": [1], "stream": 1}',
        b'{"input_ids": [1], "sampling_params": {"max_new_tokens": -1}}',
        b'{"input_ids": [1], "sampling_params": {"max_new_tokens": "2"}}',
    ],
)
def test_a_bad_body_is_a_400(pair, content):
    _, client = pair
    response = client.post("/generate", content=content)
    assert response.status_code == 400
    assert response.json()["error"]["message"]


def test_the_api_key_is_asked_for_everywhere_but_on_health():
    with quick_server(settings=Settings(api_key="planted-key")) as server:
        assert "planted-key" not in repr(server.settings)
        with client_of(server) as client:
            assert client.get("/health").status_code == 200
            assert client.get("/server_info").status_code == 401
            assert client.post("/generate", json=body([1], 1, stream=False)).status_code == 401
            assert "planted-key" not in str(client.get("/server_info").json())
        headers = {"authorization": "Bearer planted-key"}
        with client_of(server, headers=headers) as client:
            assert client.get("/server_info").status_code == 200
            assert client.stream_generate([14, 15]).done


def test_the_first_token_is_never_early_and_costs_what_was_planned():
    cost = Cost(floor_ms=4, new_token_us=10, cached_token_us=5, decode_ms=1, form="sum")
    with quick_server(cost=cost) as server, client_of(server) as client:
        client.stream_generate(ids(100, 400), 0)
        sample = client.stream_generate([*ids(100, 400), *ids(5000, 100)], 2)
        prime, served = server.served
    assert (prime.cached_tokens, prime.max_new_tokens) == (0, 0)
    assert served.cached_tokens == 400
    assert served.prefill_ms == pytest.approx(4 + 1 + 2)
    assert sample.elapsed_ms >= served.prefill_ms
    assert sample.last["e2e_latency"] == pytest.approx(0.008)
    assert served.overshoot_us >= 0


def test_start_factors_differ_between_starts_and_stay_within_one():
    cost = Cost(floor_ms=0.5, start_sd=0.2)
    factors = {PlantedServer(cost).start_factor for _ in range(5)}
    assert len(factors) == 5
    with PlantedServer(cost) as server, client_of(server) as client:
        client.stream_generate(ids(100, 2))
        client.stream_generate(ids(200, 2))
        assert [s.prefill_ms for s in server.served] == [
            pytest.approx(0.5 * server.start_factor)
        ] * 2


def test_drift_can_go_on_through_starts():
    cost = Cost(floor_ms=0.5, drift_per_hour=1.0)
    began = time.time() - 3600
    with PlantedServer(cost, drift_from_unix_s=began) as server, client_of(server) as client:
        client.stream_generate(ids(100, 2))
        assert server.served[0].prefill_ms >= 1.0


def test_becomes_ready_after_a_while():
    server = quick_server(settings=Settings(ready_after_s=0.2))
    with server, client_of(server) as client:
        assert server.wait_ready(10)
        assert client.get("/health_generate").status_code == 200


def test_requests_in_pieces_and_back_to_back_on_one_connection():
    with quick_server() as server, dialled(server) as sock:
        payload = b'{"input_ids":[14,15,16],"sampling_params":{"max_new_tokens":1}}'
        head = b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
        request = head % len(payload) + payload
        for k in range(len(request)):
            sock.sendall(request[k : k + 1])
        sock.sendall(request + b"GET /model_info HTTP/1.1\r\nConnection: close\r\n\r\n")
        received = b""
        while chunk := sock.recv(65536):
            received += chunk
    assert received.count(b"HTTP/1.1 200 OK") == 3
    assert received.count(b'"cached_tokens":0') == 1
    assert received.count(b'"cached_tokens":2') == 1


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.0\r\n\r\n", b"505"),
        (b"POST /generate HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
        (b"POST /generate HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST /generate HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n", b"413"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, b"431"),
    ],
)
def test_what_is_not_our_http_is_answered_and_closed(request_bytes, status):
    with quick_server() as server, dialled(server) as sock:
        sock.sendall(request_bytes)
        received = b""
        while chunk := sock.recv(65536):
            received += chunk
    assert received.startswith(b"HTTP/1.1 " + status)


def test_stop_ends_every_thread_and_frees_the_port():
    server = quick_server()
    server.start()
    with client_of(server) as client:
        assert client.get("/health").status_code == 200
        server.stop()
        with pytest.raises(httpx.TransportError):
            client.get("/health")
    assert server.threads_alive() == 0
    with PlantedServer(QUICK, port=server.port) as again, client_of(again) as client:
        assert client.get("/health").status_code == 200


def test_a_taken_port_is_an_error():
    with quick_server() as server, pytest.raises(OSError, match="in use"):
        PlantedServer(QUICK, port=server.port).start()


def test_refusing_to_start_is_an_error():
    with pytest.raises(RuntimeError, match="no memory"):
        quick_server(Faults(refuse_start="no memory")).start()
