"""A chat whose cached tokens are never told proves nothing: not told is not none."""

import pytest

from append_prefill.engines.base import ServerDescription
from append_prefill.planted.cost import Cost
from append_prefill.planted.server import PlantedServer
from append_prefill.probe.call import Crowd
from append_prefill.probe.client import TimedClient
from append_prefill.probe.sample import Times
from append_prefill.probe.shooter import UNTOLD, Shooter
from append_prefill.workload.loading import load_profile
from append_prefill.workload.prompts import PromptSource

PROFILE = load_profile("cpu-nano-chat")


@pytest.mark.parametrize(("told", "valid"), [(True, True), (None, True), (False, False)])
def test_a_chat_takes_a_server_that_tells_what_was_cached(told, valid):
    (chat,) = (e for e in PROFILE.traffic if e.id == "chat")
    unit = chat.units[0]
    description = ServerDescription(
        versions={"sglang": "0.5.23"},
        page_size_tokens=1,
        chunked_prefill_tokens=None,
        kv_capacity_tokens=None,
        context_length_tokens=None,
        attention_backend=None,
        prefill_graph=None,
        radix_cache=True,
        raw={} if told is None else {"enable_cache_report": told},
    )
    cost = Cost(floor_ms=0.5, new_token_us=0, cached_token_us=0, decode_ms=0.05)
    with PlantedServer(cost) as server, TimedClient(server.base_url) as client:
        crowd = Crowd(server.base_url, None)
        shoot = Shooter(client, crowd, PromptSource((1,), 32000), description, PROFILE, seed=(1,))
        (sample,) = shoot(unit)
    assert sample.point == unit.points[0]
    assert isinstance(sample.result, Times) if valid else sample.result == UNTOLD
