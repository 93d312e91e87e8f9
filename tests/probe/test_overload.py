import pytest

from append_prefill.planted.cost import Cost
from append_prefill.planted.faults import Faults
from append_prefill.planted.server import PlantedServer
from append_prefill.probe.call import Crowd
from append_prefill.probe.overload import overload
from append_prefill.workload.prompts import PromptSource
from append_prefill.workload.states import Overload

WHY = "An argument of at least twenty letters."


def burst_of(requests, faults=None):
    cost = Cost(floor_ms=5, new_token_us=0, cached_token_us=0, decode_ms=1)
    with PlantedServer(cost, faults or Faults(), start_seed=1) as server:
        crowd = Crowd(server.base_url, None)
        plan = Overload(requests=requests, prompt_tokens=32, output_tokens=3, argument=WHY)
        return overload(crowd, PromptSource((1,), 32000), plan), server.served


def test_all_are_there_at_once_and_all_are_waited_for():
    burst, served = burst_of(20)
    assert (burst.requests, burst.failed, burst.retracted) == (20, 0, 0)
    assert {one.cached_tokens for one in served} == {0}
    # They queue behind each other, 5 ms each. How many are before the last when it is sent hangs on
    # how fast this machine sends.
    assert burst.waited_ms >= 2 * 5
    assert burst.drained_s >= 20 * 0.005 + 0.002


@pytest.mark.parametrize(
    ("faults", "failed", "retracted"),
    [(Faults(http_500=1.0), 8, 0), (Faults(retraction=1.0), 0, 8)],
)
def test_what_the_server_refuses_or_takes_back_is_counted(faults, failed, retracted):
    burst, _ = burst_of(8, faults)
    assert (burst.failed, burst.retracted) == (failed, retracted)
    assert (burst.waited_ms is None) == (failed == 8)
