from contextlib import ExitStack

import pytest

from append_prefill.errors import InfrastructureError
from append_prefill.planted.cost import Cost
from append_prefill.planted.faults import Faults
from append_prefill.planted.server import PlantedServer
from append_prefill.probe.call import Crowd
from append_prefill.probe.soak import AT_ONCE, soak
from append_prefill.workload.points import Point
from append_prefill.workload.prompts import PromptSource

COST = Cost(floor_ms=1, new_token_us=0, cached_token_us=0, decode_ms=0.1)


def soaked(per_s, seconds_s, *, servers=1, cost=COST, faults=None):
    with ExitStack() as stack:
        up = [
            stack.enter_context(PlantedServer(cost, faults or Faults(), start_seed=1))
            for _ in range(servers)
        ]
        fed = [(Crowd(server.base_url, None), PromptSource((1,), 32000)) for server in up]
        for crowd, _ in fed:
            stack.callback(crowd.close)
        sent = soak(fed, Point(16, 8), per_s=per_s, seconds_s=seconds_s, output_tokens=2)
        return sent, [list(server.served) for server in up]


def test_both_servers_are_sent_the_same_rate_of_what_is_not_cached():
    sent, served = soaked(100, 0.5, servers=2)
    assert sent == 50
    for of_one in served:
        assert len(of_one) == sent
        assert {(s.prompt_tokens, s.cached_tokens) for s in of_one} == {(24, 0)}


def test_without_requests_it_only_waits():
    assert soaked(0, 0.05) == (0, [[]])


def test_a_server_that_falls_behind_is_waited_for():
    slow = Cost(floor_ms=20, new_token_us=0, cached_token_us=0, decode_ms=0.1)
    sent, ((*served,),) = soaked(400, 0.2, cost=slow)
    assert AT_ONCE < sent == len(served)


def test_traffic_that_is_refused_ends_the_run():
    with pytest.raises(InfrastructureError, match="refused steady traffic"):
        soaked(50, 0.1, faults=Faults(stream_error=1.0))
