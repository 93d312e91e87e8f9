import pytest

from append_prefill.probe.sample import Sample, Times, inter_token_ms, result_of, take_sample
from append_prefill.probe.timing import Timing
from append_prefill.workload.points import Point
from append_prefill.workload.prompts import PromptSource

POINT = Point(100, 10)


def timing(**changes):
    good = {
        "ttft_ms": 5.0,
        "e2e_ms": 9.0,
        "token_times_ms": [(1, 5.0), (2, 9.0)],
        "prompt_tokens": 110,
        "cached_tokens": 100,
        "completion_tokens": 2,
        "retractions": 0,
        "error": None,
    }
    return Timing(**(good | changes))


def test_a_proven_sample_is_valid():
    assert result_of(timing(), POINT, 1, 2) == Times(5.0, 9.0, None, 2, 100)
    paged = result_of(timing(cached_tokens=96), POINT, 16, 2)
    assert paged == Times(5.0, 9.0, None, 2, 96)


VOID = [
    ({"cached_tokens": 99}, "wrong split: cached_tokens 99, planned 100"),
    ({"cached_tokens": 101}, "wrong split: cached_tokens 101, planned 100"),
    ({"cached_tokens": None}, "the server told no cached_tokens"),
    ({"prompt_tokens": 111}, "prompt_tokens 111, sent 110"),
    ({"retractions": 1}, "retracted by the scheduler"),
    ({"ttft_ms": None}, "no first token"),
    ({"e2e_ms": None}, "no first token"),
    ({"error": "boom"}, "error: boom"),
    ({"completion_tokens": 1}, "completion_tokens 1, asked 2"),
]


@pytest.mark.parametrize(("changes", "reason"), VOID)
def test_what_proves_nothing_is_void_with_its_reason(changes, reason):
    assert result_of(timing(**changes), POINT, 1, 2) == reason


def test_a_version_without_a_retraction_count_is_not_void():
    assert isinstance(result_of(timing(retractions=None), POINT, 1, 2), Times)


def test_inter_token_time_counts_tokens_not_events():
    assert inter_token_ms(timing(token_times_ms=[(1, 5.0), (2, 7.0), (4, 13.0)])) == 2.5
    # The median of 4, 1 and 1; an event that brought no token is no gap.
    times = [(1, 5.0), (2, 9.0), (2, 11.0), (3, 12.0), (4, 13.0)]
    assert inter_token_ms(timing(token_times_ms=times)) == 1.0
    assert inter_token_ms(timing()) is None


class Fake:
    def __init__(self, primed, **changes):
        self.primed, self.sent, self.changes = primed, [], changes

    def prime(self, ids):
        self.sent.append(ids)
        return self.primed

    def generate(self, ids, *, max_new_tokens):
        self.sent.append(ids)
        return timing(completion_tokens=max_new_tokens, **self.changes)


def sample(client):
    prompts = PromptSource((1,), 1000)
    return take_sample(client, prompts, POINT, page_tokens=1, output_tokens=3)


def test_the_context_is_primed_and_then_sent_with_the_suffix():
    client = Fake(timing(ttft_ms=None, completion_tokens=0))
    assert isinstance(sample(client).result, Times)
    primed, sent = client.sent
    assert len(primed) == 100
    assert sent[:100] == primed
    assert len(sent) == 110


def test_a_failed_prime_sends_nothing_more():
    client = Fake(timing(error="no room"))
    assert sample(client).result == "prime failed: no room"
    assert len(client.sent) == 1


def test_a_valid_sample_keeps_its_times():
    times = [(1, 5.0), (2, 7.0), (3, 9.0)]
    kept = sample(Fake(timing(), token_times_ms=times))
    assert kept == Sample(POINT, Times(5.0, 9.0, 2.0, 3, 100))


def test_an_invalid_sample_keeps_its_reason_and_no_time():
    reason = "wrong split: cached_tokens 99, planned 100"
    assert sample(Fake(timing(), cached_tokens=99)) == Sample(POINT, reason)


@pytest.mark.parametrize(("cached", "page"), [(98, 1), (96, 16)])
def test_tokens_merged_at_the_boundary_are_not_to_be_found(cached, page):
    """The context has a hundred tokens, of which the prompt's text has merged the last two."""
    found = result_of(timing(cached_tokens=cached), POINT, page, 2, merged_tokens=2)
    assert isinstance(found, Times)
    wrong = result_of(timing(cached_tokens=cached + page), POINT, page, 2, merged_tokens=2)
    assert wrong == f"wrong split: cached_tokens {cached + page}, planned {cached}"
