"""A plain client for the simulated server: what came over the wire, in order."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from append_prefill.planted.cost import Cost
from append_prefill.planted.faults import Faults
from append_prefill.planted.protocol import Settings
from append_prefill.planted.server import PlantedServer

# Quick enough for hundreds of requests; the tests assert planned times, never measured ones.
QUICK = Cost(floor_ms=1.0, new_token_us=1.0, cached_token_us=0.1, decode_ms=0.2)


@dataclass
class Stream:
    """Events of one stream; `done`: `data: [DONE]` came; `elapsed_ms`: to the first event."""

    status: int
    events: list[Any] = field(default_factory=list)
    done: bool = False
    elapsed_ms: float | None = None

    @property
    def last(self) -> dict[str, Any]:
        meta = self.events[-1]["meta_info"]
        assert isinstance(meta, dict)
        return meta


def body(input_ids: Sequence[int], max_new_tokens: int, *, stream: bool) -> dict[str, Any]:
    return {
        "input_ids": list(input_ids),
        "stream": stream,
        "sampling_params": {"max_new_tokens": max_new_tokens, "temperature": 0, "ignore_eos": True},
    }


class Client(httpx.Client):
    """httpx with the two calls the tests need."""

    def stream_generate(self, input_ids: Sequence[int], max_new_tokens: int = 2) -> Stream:
        started = time.perf_counter()
        content = orjson.dumps(body(input_ids, max_new_tokens, stream=True))
        with self.stream("POST", "/generate", content=content) as response:
            result = Stream(response.status_code)
            if not response.is_success:
                return result
            for line in response.iter_lines():
                if not line:
                    continue
                if result.elapsed_ms is None:
                    result.elapsed_ms = (time.perf_counter() - started) * 1000
                assert not result.done, "an event after [DONE]"
                name, _, data = line.partition(": ")
                assert name == "data"
                if data == "[DONE]":
                    result.done = True
                else:
                    result.events.append(orjson.loads(data))
        return result

    def whole_generate(self, input_ids: Sequence[int], max_new_tokens: int = 2) -> httpx.Response:
        return self.post("/generate", json=body(input_ids, max_new_tokens, stream=False))

    def cached(self, input_ids: Sequence[int], max_new_tokens: int = 1) -> int:
        cached = self.whole_generate(input_ids, max_new_tokens).json()["meta_info"]["cached_tokens"]
        assert isinstance(cached, int)
        return cached


def client_of(server: PlantedServer, **options: Any) -> Client:
    return Client(base_url=server.base_url, timeout=10, trust_env=False, **options)


def quick_server(
    faults: Faults | None = None, settings: Settings | None = None, *, cost: Cost = QUICK
) -> PlantedServer:
    return PlantedServer(cost, faults, settings, start_seed=7)
