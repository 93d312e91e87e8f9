import pytest

from append_prefill.planted.cost import Cost
from append_prefill.planted.faults import Faults
from append_prefill.planted.protocol import Settings
from append_prefill.planted.server import PlantedServer
from append_prefill.probe import texts
from append_prefill.probe.client import TimedClient
from append_prefill.probe.sample import Times
from append_prefill.probe.texts import take_text
from append_prefill.workload.boundary import Parts, draw_text
from append_prefill.workload.points import Point
from append_prefill.workload.prompts import PromptSource
from append_prefill.workload.traffic import Traffic

WORDS = " ".join(f"w{100 + n}" for n in range(16))


def taken(form, point, *, cost=None, faults=None, count=1, page=1):
    cost = cost or Cost(floor_ms=0.5, new_token_us=0, cached_token_us=0, decode_ms=0.05)
    settings = Settings(page_size_tokens=page)
    with (
        PlantedServer(cost, faults or Faults(), settings) as server,
        TimedClient(server.base_url) as client,
    ):
        prompts, traffic = PromptSource((1,), 32000), Traffic(form=form)
        return [
            take_text(client, prompts, point, traffic, page_tokens=page, output_tokens=2)
            for _ in range(count)
        ]


@pytest.mark.parametrize("form", ["text", "chat"])
@pytest.mark.parametrize("point", [Point(256, 64), Point(8, 8)])
def test_a_point_has_as_many_tokens_in_every_form(form, point):
    (sample,) = taken(form, point)
    assert isinstance(sample.result, Times)
    merged_tokens = sample.boundary_merged_tokens
    assert sample.result.cached_tokens == point.context_tokens - merged_tokens
    assert (sample.point, sample.traffic) == (point, Traffic(form=form))


def test_the_server_finds_all_of_a_text_but_what_its_boundary_merges():
    point, prompts = Point(64, 16), PromptSource((1,), 32000)
    planted = [draw_text(prompts, point).merged_tokens for _ in range(40)]
    samples = taken("text", point, count=40)
    assert [s.boundary_merged_tokens for s in samples] == planted
    assert [64 - s.result.cached_tokens for s in samples] == planted
    assert {0, 1, 2} == {*planted}


def test_a_token_that_merges_takes_its_page_along():
    samples = taken("text", Point(64, 16), count=40, page=16)
    assert {(s.boundary_merged_tokens, s.result.cached_tokens) for s in samples} == {
        (0, 64),
        (1, 48),
        (2, 48),
    }


def test_nothing_of_a_chat_merges():
    samples = taken("chat", Point(64, 16), count=20)
    assert {(s.boundary_merged_tokens, s.result.cached_tokens) for s in samples} == {(0, 64)}


@pytest.mark.parametrize(
    ("left", "right", "point", "merged"),
    [
        ("AB", " ", Point(17, 16), 0),
        ("AB", "CB ", Point(17, 17), 0),  # AB CB
        ("AB", "C ", Point(17, 17), 1),  # A BC
        ("ABC", "B ", Point(18, 16), 2),  # A BC, and then AB CB
    ],
)
def test_the_planted_merge_is_what_the_server_loses(monkeypatch, left, right, point, merged):
    for told in (0, 1, 2):
        parts = Parts(f"{WORDS} {left}", f"{right}{WORDS}", told)
        monkeypatch.setattr(texts, "draw_text", lambda *_, parts=parts: parts)
        (sample,) = taken("text", point)
        if told == merged:
            assert sample.result.cached_tokens == point.context_tokens - merged
        else:
            assert sample.result.startswith("wrong split: cached_tokens ")


@pytest.mark.parametrize("form", ["text", "chat"])
@pytest.mark.parametrize(
    "faults", [Faults(cache_loss=0.02), Faults(cached_inflated=1), Faults(radix_off=True)]
)
def test_more_or_less_than_the_merge_explains_is_a_broken_split(form, faults):
    samples = taken(form, Point(64, 16), faults=faults, count=10)
    assert all(str(s.result).startswith("wrong split: cached_tokens ") for s in samples)


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
