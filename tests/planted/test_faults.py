"""Every fault: spelled as documented, and seen by a client that looks."""

from __future__ import annotations

import time

import httpx
import orjson
import pytest

from append_prefill.engines.versions import NEWEST, OLDEST
from append_prefill.planted.cost import Cost
from append_prefill.planted.faults import FAULTS, Faults, parse_faults
from append_prefill.planted.protocol import Settings
from tests.planted.client import client_of, quick_server

L64 = list(range(100, 164))
NEW = list(range(9000, 9016))
FLAT = Cost(floor_ms=1.0, new_token_us=0.0, cached_token_us=0.0, decode_ms=0.2)


def sample(faults: Faults, *, max_new_tokens: int = 2, settings: Settings | None = None):
    """Prime 64 tokens, append 16; the stream and the two served requests."""
    with quick_server(faults, settings) as server, client_of(server) as client:
        assert client.stream_generate(L64, 0).done
        return client.stream_generate([*L64, *NEW], max_new_tokens), list(server.served)


def test_no_fault_is_a_clean_sample():
    stream, served = sample(Faults())
    assert (stream.last["cached_tokens"], served[1].cached_tokens) == (64, 64)


def test_cache_loss_reports_and_costs_what_was_lost():
    stream, served = sample(Faults(cache_loss=0.5))
    assert stream.last["cached_tokens"] == 32
    # QUICK: 1 ms floor hides 48 new tokens; 32 cached at 0.1 µs.
    assert served[1].prefill_ms == pytest.approx(1.0 + 32 * 0.1 / 1000)


def test_cache_loss_keeps_to_pages():
    settings = Settings(page_size_tokens=16)
    stream, _ = sample(Faults(cache_loss=0.3), settings=settings)
    assert stream.last["cached_tokens"] == 32


def test_radix_off_is_never_cached_and_says_so():
    stream, _ = sample(Faults(radix_off=True))
    assert stream.last["cached_tokens"] == 0
    with quick_server(Faults(radix_off=True)) as server, client_of(server) as client:
        assert client.get("/server_info").json()["disable_radix_cache"] is True


def test_inflated_cached_tokens_are_a_lie():
    stream, served = sample(Faults(cached_inflated=5))
    assert (stream.last["cached_tokens"], served[1].cached_tokens) == (69, 64)


@pytest.mark.parametrize(
    ("version", "key"), [(OLDEST, "total_retractions"), (NEWEST, "num_retractions")]
)
def test_retraction_is_reported_and_takes_time(version, key):
    settings = Settings(sglang_version=version)
    clean, _ = sample(Faults(), settings=settings)
    stream, served = sample(Faults(retraction=1), settings=settings)
    assert (clean.last[key], stream.last[key]) == (0, 1)
    longer_s = stream.last["e2e_latency"] - clean.last["e2e_latency"]
    assert longer_s == pytest.approx(served[1].prefill_ms / 1000, rel=1e-3)


def test_a_share_strikes_about_that_often_and_the_same_on_the_same_seed():
    """Fixed seed: deterministic. 60 of 200 expected at 0.3; the bounds are 4 sd."""

    def struck() -> list[int]:
        server = quick_server(Faults(retraction=0.3), cost=Cost(floor_ms=0, decode_ms=0))
        with server, client_of(server) as client:
            prompts = [[k + 14, 5] for k in range(200)]
            return [client.stream_generate(p).last["num_retractions"] for p in prompts]

    first = struck()
    assert 34 <= sum(first) <= 86
    assert first == struck()


def test_error_in_stream():
    stream, _ = sample(Faults(stream_error=1))
    assert stream.done
    assert [list(e) for e in stream.events] == [["error"]]


@pytest.mark.parametrize(
    ("faults", "status"), [(Faults(http_500=1), 500), (Faults(http_401=1), 401)]
)
def test_a_refusal_spares_primes(faults, status):
    with quick_server(faults) as server, client_of(server) as client:
        assert client.stream_generate(L64, 0).done
        assert client.stream_generate(NEW, 2).status == status


def test_drop_breaks_the_stream_after_the_first_token():
    with quick_server(Faults(drop=1)) as server, client_of(server) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            client.stream_generate(L64, 2)
        assert client.get("/flush_cache").status_code == 200


def test_a_stream_without_a_token():
    stream, _ = sample(Faults(no_tokens=1))
    assert stream.done
    assert stream.events == []


def raw(faults: Faults) -> list[bytes]:
    """What each event of a reply of two tokens says, as it came."""
    with quick_server(faults) as server, client_of(server) as client:
        body = {"input_ids": NEW, "sampling_params": {"max_new_tokens": 2}, "stream": True}
        answer = client.post("/generate", json=body)
    return [e.removeprefix(b"data: ") for e in answer.content.split(b"\n\n") if e.strip()]


def test_events_that_say_what_no_server_should():
    assert raw(Faults(garbage=1)) == [b'{"text": ', b'{"text": ', b"[DONE]"]
    (event, *_) = raw(Faults(wrong_types=1))
    assert orjson.loads(event)["meta_info"]["completion_tokens"] == "one"
    (event, *_) = raw(Faults(no_meta=1))
    assert orjson.loads(event)["meta_info"] is None


def test_an_event_without_a_token_before_the_first():
    stream, _ = sample(Faults(empty_first=True))
    assert [e["meta_info"]["completion_tokens"] for e in stream.events] == [0, 1, 2]


def test_an_event_that_drips_is_the_same_event():
    stream, _ = sample(Faults(drip_ms=1))
    plain, _ = sample(Faults())
    assert [len(e["output_ids"]) for e in stream.events] == [
        len(e["output_ids"]) for e in plain.events
    ]


def test_coalesced_events_skip_the_first_token():
    stream, _ = sample(Faults(coalesce=3), max_new_tokens=8)
    assert [e["meta_info"]["completion_tokens"] for e in stream.events] == [3, 6, 8]
    stream, _ = sample(
        Faults(coalesce=3), max_new_tokens=8, settings=Settings(sglang_version=OLDEST)
    )
    assert [len(e["output_ids"]) for e in stream.events] == [3, 3, 2]


def test_busy_after_the_last_event():
    with quick_server(Faults(busy_after=1500)) as server, client_of(server) as client:
        assert client.get("/flush_cache").status_code == 200
        client.stream_generate(L64)
        assert client.get("/flush_cache").status_code == 400
        assert client.get("/flush_cache?timeout=10").status_code == 200


def prefills(faults: Faults, settings: Settings | None = None) -> list[float]:
    """Planned ms of: prime of 64, append 16 to 64, prime of 32, append 17 to 32."""
    with quick_server(faults, settings, cost=FLAT) as server, client_of(server) as client:
        for context, append in ((64, 16), (32, 17)):
            client.get("/flush_cache")
            client.stream_generate(L64[:context], 0)
            client.stream_generate([*L64[:context], *([9] * append)])
        return [s.prefill_ms for s in server.served]


def test_slow_at_one_point():
    assert prefills(Faults(slow_at=((64, 16, 3.0),))) == [1, 3, 1, 1]


def test_slow_in_a_part_of_the_plane():
    part = (range(48, 65), range(10, 17), 3.0)
    assert prefills(Faults(slow_in=(part,))) == [1, 3, 1, 1]
    assert prefills(Faults(slow_in=((range(33), range(17, 18), 2.0),))) == [1, 1, 1, 2]


def test_slow_at_one_point_with_pages():
    settings = Settings(page_size_tokens=48)
    assert prefills(Faults(slow_at=((64, 16, 3.0),)), settings) == [1, 3, 1, 1]


def test_slow_regions():
    assert prefills(Faults(slow_context_above=((40, 2.0),))) == [1, 2, 1, 1]
    assert prefills(Faults(slow_append_above=((16, 2.0),))) == [2, 1, 2, 2]


def test_throttling_after_a_while():
    faults = Faults(throttle_after=((0.3, 4.0),))
    with quick_server(faults, cost=FLAT) as server, client_of(server) as client:
        client.stream_generate(L64, 0)
        time.sleep(0.31)
        client.stream_generate(L64, 0)
        assert server.served[-1].prefill_ms == 4.0
    assert [faults.throttle_factor(s) for s in (0, 0.29, 0.3, 9)] == [1, 1, 4, 4]


def test_death_after_so_many_requests():
    with quick_server(Faults(die_after=2)) as server, client_of(server) as client:
        assert client.stream_generate(L64).done
        assert client.stream_generate(L64).done
        with pytest.raises(httpx.TransportError):
            client.stream_generate(L64)
        with pytest.raises(httpx.ConnectError):
            client.get("/health")


def test_never_ready_while_loading():
    with quick_server(Faults(never_ready="loading")) as server, client_of(server) as client:
        assert server.state == "loading"
        with pytest.raises(httpx.ConnectError):
            client.get("/health")


def test_never_ready_while_warming():
    with quick_server(Faults(never_ready="warming")) as server, client_of(server) as client:
        while server.state == "loading":
            time.sleep(0.001)
        assert [client.get(p).status_code for p in ("/health", "/health_generate")] == [503, 503]
        assert client.get("/model_info").status_code == 200
        assert client.whole_generate([14]).status_code == 503
        assert not server.wait_ready(0.05)


def test_every_fault_parses_from_its_spelling():
    faults = parse_faults(
        [
            "cache-loss=0.5",
            "radix-off",
            "cached-inflated=3",
            "slow-at=512:128:1.5",
            "slow-at=64:32:2",
            "slow-in=900..1100:1..64:1.4",
            "slow-context-above=1000:1.1",
            "throttle-after=30:2",
            "die-after=7",
            "never-ready",
            "refuse-start=no device = no start",
            "orphan=session",
        ]
    )
    assert faults == Faults(
        cache_loss=0.5,
        radix_off=True,
        cached_inflated=3,
        slow_at=((512, 128, 1.5), (64, 32, 2.0)),
        slow_in=((range(900, 1101), range(1, 65), 1.4),),
        slow_context_above=((1000, 1.1),),
        throttle_after=((30.0, 2.0),),
        die_after=7,
        never_ready="warming",
        refuse_start="no device = no start",
        orphan="session",
    )
    assert parse_faults([]) == Faults()


@pytest.mark.parametrize("name", FAULTS)
def test_the_default_of_every_fault_parses(name):
    default = FAULTS[name].default
    if default is None:
        with pytest.raises(ValueError, match=f"needs {name}="):
            parse_faults([name])
    else:
        assert parse_faults([name]) != Faults()


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("slow", "no fault 'slow'; there are cache-loss"),
        ("cache-loss=2", "is not cache-loss=SHARE: a share"),
        ("cache-loss=half", "is not cache-loss=SHARE"),
        ("slow-at=1:2", "is not slow-at=L:m:FACTOR"),
        ("slow-at=1:2:0", "a factor is positive"),
        ("slow-in=9..2:1..2:2", "a range ends no earlier than it begins"),
        ("slow-in=9:1..2:2", "is not slow-in=L..L:m..m:FACTOR"),
        ("throttle-after=1:-2", "a factor is positive"),
        ("die-after=-1", "a count"),
        ("coalesce=0", "at least 1"),
        ("never-ready=soon", "loading or warming"),
        ("radix-off=yes", "takes no argument"),
    ],
)
def test_a_misspelled_fault_says_what_would_be_right(argument, words):
    with pytest.raises(ValueError, match=words):
        parse_faults([argument])


def test_a_fault_given_twice_is_refused():
    with pytest.raises(ValueError, match="given twice"):
        parse_faults(["drop=0.1", "drop=0.2"])
