import pytest

from append_prefill.planted.cost import Cost
from append_prefill.planted.faults import Faults
from append_prefill.planted.server import PlantedServer
from append_prefill.probe.client import TimedClient
from append_prefill.probe.sample import Times
from append_prefill.probe.texts import take_text
from append_prefill.workload.points import Point
from append_prefill.workload.prompts import PromptSource
from append_prefill.workload.traffic import Traffic


def taken(form, point, *, cost=None, faults=None, count=1):
    cost = cost or Cost(floor_ms=0.5, new_token_us=0, cached_token_us=0, decode_ms=0.05)
    with PlantedServer(cost, faults or Faults()) as server, TimedClient(server.base_url) as client:
        prompts = PromptSource((1,), 32000)
        return [
            take_text(client, prompts, point, Traffic(form=form), page_tokens=1, output_tokens=2)
            for _ in range(count)
        ]


@pytest.mark.parametrize("form", ["text", "chat"])
@pytest.mark.parametrize("point", [Point(256, 64), Point(5, 5)])
def test_a_point_has_as_many_tokens_in_every_form(form, point):
    (sample,) = taken(form, point)
    assert isinstance(sample.result, Times)
    assert sample.result.cached_tokens == sample.planned_cached_tokens == point.context_tokens
    assert (sample.point, sample.traffic) == (point, Traffic(form=form))


@pytest.mark.parametrize(("form", "more_us"), [("text", 40), ("chat", 70)])
def test_what_tokenizing_costs_is_in_the_first_token(form, more_us):
    """0.04 ms a token for the tokenizer, and 0.03 for the template: 12.8 and 22.4 ms on 320."""
    cost = Cost(
        floor_ms=0.5,
        new_token_us=0,
        cached_token_us=0,
        decode_ms=0.05,
        text_us=40,
        template_us=30,
    )
    times = [s.result.ttft_ms for s in taken(form, Point(256, 64), cost=cost, count=3)]
    assert min(times) >= 320 * more_us / 1000
    assert min(times) < 320 * more_us / 1000 + 50  # a busy machine adds some, not another tokenizer


def test_a_refused_prime_is_the_reason():
    (sample,) = taken("chat", Point(64, 8), faults=Faults(http_500=1.0))
    assert sample.result == "prime failed: HTTP 500: Internal Server Error"
