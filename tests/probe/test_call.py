"""Several requests under way at once, in one thread."""

import gc
import time

import pytest

from append_prefill.errors import InfrastructureError
from append_prefill.planted.cost import Cost
from append_prefill.planted.faults import Faults
from append_prefill.planted.server import PlantedServer
from append_prefill.probe.call import Call, Crowd, UnderWay

COST = Cost(floor_ms=2, new_token_us=0, cached_token_us=0, decode_ms=1)
IDS = list(range(100, 120))


@pytest.fixture
def server():
    with PlantedServer(COST, start_seed=1) as running:
        yield running


@pytest.fixture
def crowd(server):
    made = Crowd(server.base_url, None)
    yield made
    made.close()


def test_several_are_read_as_they_come_and_their_connections_used_again(crowd):
    for _ in range(2):
        clients = crowd.of(3)
        calls = [
            Call(client, [n, *IDS], max_new_tokens=n) for n, client in enumerate(clients, start=1)
        ]
        with UnderWay() as traffic:
            for call in calls:
                traffic.send(call)
            traffic.read()
        assert [call.timing.completion_tokens for call in calls] == [1, 2, 3]
        assert [call.timing.error for call in calls] == [None] * 3
    assert crowd.of(2) == clients[:2]


def test_tokens_are_seen_before_the_answer_is_complete(crowd):
    call = Call(crowd.of(1)[0], IDS, max_new_tokens=50)
    assert (call.tokens_seen, call.sent_ns) == (0, 0)
    with UnderWay() as traffic:
        traffic.send(call)
        traffic.read(until=lambda: call.tokens_seen >= 5)
        assert not call.complete
        with pytest.raises(ValueError, match="not complete"):
            _ = call.timing
        traffic.read()
    assert call.complete
    assert call.timing.completion_tokens == 50


def test_what_is_due_is_waited_for_with_nothing_under_way_and_never_left_early():
    with UnderWay() as traffic:
        due_ns = time.monotonic_ns() + 5_000_000
        traffic.read(due_ns=due_ns)
        assert time.monotonic_ns() >= due_ns


def test_no_garbage_is_collected_meanwhile():
    assert gc.isenabled()
    with UnderWay():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_client_can_be_used_after_a_call_of_it_was_given_up(crowd):
    (client,) = crowd.of(1)
    with UnderWay() as traffic:
        traffic.send(Call(client, IDS, max_new_tokens=100))
    assert client.generate(IDS, max_new_tokens=1).error is None


def test_a_connection_that_breaks_is_said():
    with PlantedServer(COST, Faults(drop=1.0), start_seed=1) as server:
        crowd = Crowd(server.base_url, None)
        with UnderWay() as traffic:
            traffic.send(Call(crowd.of(1)[0], IDS, max_new_tokens=3))
            with pytest.raises(InfrastructureError, match="/generate"):
                traffic.read()
        crowd.close()


def test_connections_that_are_only_opened_ask_the_server_nothing(server, crowd):
    with crowd.opened(2) as clients:
        call = Call(clients[0], IDS, max_new_tokens=1)
        assert len(server.served) == 0
        with UnderWay() as traffic:
            traffic.send(call)
            traffic.read()
        assert call.timing.error is None
