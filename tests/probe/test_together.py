"""Append-prefills that are due at times of their own, against a server whose times are known."""

from itertools import pairwise
from statistics import median
from types import SimpleNamespace

import pytest

from append_prefill.planted.cost import Cost
from append_prefill.planted.faults import Faults
from append_prefill.planted.server import PlantedServer
from append_prefill.probe.call import Crowd
from append_prefill.probe.client import TimedClient
from append_prefill.probe.sample import Times
from append_prefill.probe.timing import failed
from append_prefill.probe.together import due_times_s, take_due
from append_prefill.workload.points import Point
from append_prefill.workload.prompts import PromptSource
from append_prefill.workload.traffic import Traffic
from append_prefill.workload.traffic_experiment import Unit

POINT = Point(64, 16)
FLOOR_MS = 8.0


def unit(company, size):
    return Unit("x", Traffic(company=company), (POINT,), size=size)


def samples_of(one, due_s=None, faults=None, floor_ms=FLOOR_MS):
    cost = Cost(floor_ms=floor_ms, new_token_us=0, cached_token_us=0, decode_ms=0.5)
    with (
        PlantedServer(cost, faults or Faults(), start_seed=1) as server,
        TimedClient(server.base_url) as client,
    ):
        crowd = Crowd(server.base_url, None)
        samples = take_due(
            client,
            crowd,
            PromptSource((1,), 32000),
            one,
            due_times_s(one, (1,)) if due_s is None else due_s,
            page_tokens=1,
            output_tokens=2,
            pause=lambda _: None,
        )
        crowd.close()
        return samples


def test_all_at_once_wait_for_each_other():
    """The server prefills one after the other: the k-th first token comes after k of them."""
    samples = samples_of(unit("together:6", 6))
    times = sorted(sample.result.ttft_ms for sample in samples)
    assert [sample.company.due_ms for sample in samples] == [0] * 6
    assert all(sample.result.cached_tokens == 64 for sample in samples)
    assert times[0] >= FLOOR_MS
    for number, ttft_ms in enumerate(times, start=1):
        assert number * FLOOR_MS <= ttft_ms < number * FLOOR_MS + 60


def test_a_split_that_is_not_proven_is_no_sample():
    samples = samples_of(unit("together:2", 2), faults=Faults(radix_off=True), floor_ms=1)
    assert {sample.result for sample in samples} == {"wrong split: cached_tokens 0, planned 64"}


def test_a_prime_that_fails_fails_all_of_the_unit():
    refusing = SimpleNamespace(prime=lambda _: failed("full"))
    samples = take_due(
        refusing,
        Crowd("http://127.0.0.1:1", None),
        PromptSource((1,), 32000),
        unit("together:3", 3),
        [0.0] * 3,
        page_tokens=1,
        output_tokens=2,
        pause=lambda _: None,
    )
    assert [sample.result for sample in samples] == ["prime failed: full"] * 3


def test_time_counts_from_when_it_was_due_and_not_from_when_it_was_sent():
    """A client that is a tenth of a second behind: the user has waited as long."""
    samples = samples_of(unit("rate:100", 3), due_s=[-0.1, -0.1, -0.1], floor_ms=1)
    assert all(sample.company.late_ms >= 100 for sample in samples)
    assert all(sample.result.ttft_ms >= 101 for sample in samples)
    assert all(sample.result.e2e_ms >= sample.result.ttft_ms for sample in samples)


def test_requests_leave_when_they_are_due_however_many_are_under_way():
    due_s = [0.0, 0.01, 0.02, 0.03]
    samples = samples_of(unit("rate:100", 4), due_s=due_s, floor_ms=40)
    assert [s.company.due_ms for s in samples] == pytest.approx([0, 10, 20, 30], abs=1e-3)
    # None of them waits for the one before, which takes 40 ms.
    assert all(sample.company.late_ms >= 0 for sample in samples)
    assert median(sample.company.late_ms for sample in samples) < 20
    assert all(isinstance(sample.result, Times) for sample in samples)


def test_arrivals_are_poisson_and_the_same_for_all_who_have_the_seed():
    one = unit("rate:50", 256)
    due_s = due_times_s(one, (7, 0, 1))
    assert due_s == due_times_s(one, (7, 0, 1))
    assert due_s != due_times_s(one, (7, 1, 1))
    assert due_s != due_times_s(Unit("y", one.traffic, one.points, size=256), (7, 0, 1))
    gaps = [b - a for a, b in pairwise(due_s)]
    mean = sum(gaps) / len(gaps)
    # Of 255 exponential gaps the mean scatters by 6 %, and the standard deviation is the mean.
    assert mean == pytest.approx(1 / 50, rel=0.25)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert spread == pytest.approx(mean, rel=0.35)
    assert due_times_s(unit("together:5", 5), (1,)) == [0.0] * 5
