"""Property tests on a live server, for what noise cannot break: the split itself."""

import pytest
from hypothesis import HealthCheck, assume, given, seed, settings
from hypothesis import strategies as st

from append_prefill.probe.client import TimedClient
from append_prefill.workload.points import Point
from append_prefill.workload.prompts import PromptSource
from append_prefill.workload.strategies import points

pytestmark = pytest.mark.append_prefill

# Each example is a few requests of a server that answers in tens of milliseconds.
on_a_server = settings(
    max_examples=30,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


class Probe:
    """A client, what the server can hold, and prompts that never repeat."""

    def __init__(self, client, page_tokens, limits, chunk_tokens, *, prompts, seed):
        self.client, self.page_tokens, self.prompts = client, page_tokens, prompts
        self.seed = seed
        self.points = points(limits, chunk_tokens)

    def prime(self, context):
        timing = self.client.prime(context)
        # What a server refuses shows nothing of the split, and counts among a run's samples.
        assume(timing.error is None)
        assert timing.completion_tokens in (0, None)

    def append(self, ids):
        timing = self.client.generate(ids, max_new_tokens=2)
        assume(timing.error is None)
        assert timing.prompt_tokens == len(ids)
        assert timing.cached_tokens <= len(ids) - 1
        return timing.cached_tokens


@pytest.fixture(scope="module")
def probe(append_prefill_session, live_server):
    profile = append_prefill_session.settings.profile
    description = live_server.describe()
    prompts = PromptSource(
        (append_prefill_session.plan.seed, 2), append_prefill_session.settings.vocab_size
    )
    with TimedClient(live_server.base_url, live_server.api_key) as client:
        client.flush_cache()
        yield Probe(
            client,
            description.page_size_tokens,
            profile.limits,
            description.chunked_prefill_tokens,
            prompts=prompts,
            seed=append_prefill_session.plan.seed,
        )


def test_split_is_exact_for_any_point(probe):
    @seed(probe.seed)
    @on_a_server
    @given(probe.points)
    def exact(point):
        context, suffix = probe.prompts.draw(point)
        probe.prime(context)
        assert probe.append(context + suffix) == point.cached_tokens(probe.page_tokens)

    exact()


def test_a_cold_prompt_finds_nothing_in_the_cache(probe):
    @seed(probe.seed)
    @on_a_server
    @given(probe.points)
    def cold(point):
        context, suffix = probe.prompts.draw(point)
        assert probe.append(context + suffix) == 0

    cold()


def test_order_of_priming_does_not_matter(probe):
    @seed(probe.seed)
    @on_a_server
    @given(st.lists(probe.points, min_size=2, max_size=3), st.randoms(use_true_random=False))
    def any_order(drawn, random):
        prompts = [(point, *probe.prompts.draw(point)) for point in drawn]
        for _, context, _ in prompts:
            probe.prime(context)
        random.shuffle(prompts)
        for point, context, suffix in prompts:
            assert probe.append(context + suffix) == point.cached_tokens(probe.page_tokens)

    any_order()


def test_siblings_share_the_context_and_nothing_more(probe):
    @seed(probe.seed)
    @on_a_server
    @given(probe.points)
    def siblings(point):
        context, suffix = probe.prompts.draw(point)
        other = probe.prompts.suffix(len(suffix), not_first=suffix[0])
        probe.prime(context)
        expected = point.cached_tokens(probe.page_tokens)
        assert probe.append(context + suffix) == expected
        assert probe.append(context + other) == expected

    siblings()


def test_a_repeated_prompt_recomputes_its_last_token(probe):
    @seed(probe.seed)
    @on_a_server
    @given(st.integers(16, 512))
    def repeated(length):
        context, suffix = probe.prompts.draw(Point(length - 1, 1))
        ids = context + suffix
        probe.prime(ids)
        assert probe.append(ids) == (length - 1) // probe.page_tokens * probe.page_tokens

    repeated()
