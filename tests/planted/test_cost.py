"""The cost model is the arithmetic the fits are tested against: exact, then its noise."""

from __future__ import annotations

import itertools
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from append_prefill.planted.cost import GRAPH_BUCKETS, Cost, Draws, graph_buckets, padded_tokens

TOKENS = st.integers(0, 200_000)


def test_sum_form_adds_all_three_terms():
    cost = Cost(floor_ms=20, new_token_us=10, cached_token_us=0.5, form="sum")
    assert cost.ttft_ms(1000, 4000) == pytest.approx(20 + 10 + 2)


def test_max_form_hides_the_smaller_of_floor_and_compute():
    cost = Cost(floor_ms=20, new_token_us=10, cached_token_us=0.5, form="max")
    assert cost.ttft_ms(1000, 4000) == pytest.approx(20 + 2)
    assert cost.ttft_ms(4000, 4000) == pytest.approx(40 + 2)


@given(new=TOKENS, cached=TOKENS, form=st.sampled_from(["sum", "max"]), graph=st.booleans())
def test_more_tokens_never_cost_less(new, cached, form, graph):
    cost = Cost(form=form, prefill_graph=graph)
    assert cost.ttft_ms(new, cached) <= cost.ttft_ms(new, cached + 1)
    assert cost.ttft_ms(new, cached) <= cost.ttft_ms(new + 1, cached)


@given(st.integers(1, 10_000))
def test_padding_goes_to_the_next_bucket_or_stays(new):
    padded = padded_tokens(new)
    assert new <= padded <= 2 * new
    assert padded == new or padded in GRAPH_BUCKETS


@pytest.mark.parametrize(
    ("new", "padded"), [(1, 1), (2, 4), (4, 4), (33, 48), (1025, 1280), (8192, 8192), (8193, 8193)]
)
def test_padding_as_in_sglang(new, padded):
    assert padded_tokens(new) == padded


def test_a_graph_is_captured_up_to_a_chunk():
    assert graph_buckets(1000)[-1] == 960
    assert graph_buckets(8192) == GRAPH_BUCKETS
    assert graph_buckets(16384)[-1] == 16384


@pytest.mark.parametrize("form", ["sum", "max"])
def test_each_chunk_beyond_the_first_costs_its_step(form):
    cost = Cost(form=form, chunk_ms=3.0)
    plain = Cost(form=form)
    for new, further in ((1, 0), (512, 0), (513, 1), (1024, 1), (1025, 2)):
        more = cost.ttft_ms(new, 100, 512) - plain.ttft_ms(new, 100, 512)
        assert more == pytest.approx(3.0 * further)


@pytest.mark.parametrize(
    "wrong",
    [
        {"floor_ms": -1},
        {"new_token_us": math.nan},
        {"form": "product"},
        {"start_sd": -0.1},
        {"lag1": 1.0},
        {"outlier_rate": 1.5},
        {"outlier_factor": 0},
        {"text_us": -1},
        {"interference": 1.1},
        {"decode_load": -0.1},
        {"decode_load": math.inf},
        {"evict_us_per_leaf": math.inf},
        {"chunk_ms": -1},
        {"attention_ns": math.nan},
    ],
)
def test_a_figure_without_meaning_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Cost(**wrong)


def test_a_text_costs_all_its_tokens_and_a_chat_the_template_as_well():
    cost = Cost(text_us=2, template_us=0.5)
    assert [cost.form_ms(form, 1000) for form in ("ids", "text", "chat")] == [0, 2, 2.5]


def factors(cost: Cost, seed: int, count: int, *, generating: bool = True) -> list[float]:
    draws = Draws(cost, seed)
    return [draws.next(elapsed_s=0, generating=generating).prefill for _ in range(count)]


def test_without_noise_every_factor_is_one():
    assert set(factors(Cost(), 1, 100)) == {1.0}


def test_the_same_seed_draws_the_same_noise():
    cost = Cost(start_sd=0.05, within_sd=0.02, outlier_rate=0.1)
    assert factors(cost, 5, 50) == factors(cost, 5, 50)
    assert factors(cost, 5, 50) != factors(cost, 6, 50)


def test_start_factors_have_their_spread_and_median_one():
    """2,000 fixed seeds: deterministic; the bounds are 4 standard errors."""
    logs = [math.log(Draws(Cost(start_sd=0.1), seed).start_factor) for seed in range(2000)]
    assert statistics.stdev(logs) == pytest.approx(0.1, rel=4 / math.sqrt(4000))
    assert statistics.fmean(logs) == pytest.approx(0, abs=4 * 0.1 / math.sqrt(2000))


def test_within_spread_and_autocorrelation():
    """One fixed seed: deterministic; the bounds are over 4 standard errors."""
    logs = [math.log(f) for f in factors(Cost(within_sd=0.1, lag1=0.6), 3, 20_000)]
    assert statistics.stdev(logs) == pytest.approx(0.1, rel=0.05)
    pairs = list(itertools.pairwise(logs))
    lag1 = statistics.correlation([a for a, _ in pairs], [b for _, b in pairs])
    assert lag1 == pytest.approx(0.6, abs=0.03)


def test_primes_do_not_shift_the_noise_of_samples():
    cost = Cost(within_sd=0.1, lag1=0.5)
    draws = Draws(cost, 9)
    mixed = []
    for _ in range(20):
        draws.next(elapsed_s=0, generating=False)
        mixed.append(draws.next(elapsed_s=0, generating=True).prefill)
    assert mixed == factors(cost, 9, 20)


def test_outliers_come_at_their_rate():
    """One fixed seed: deterministic; 5 standard errors of a share of 0.1 in 5,000."""
    slow = sum(f > 2 for f in factors(Cost(outlier_rate=0.1, outlier_factor=3), 4, 5000))
    assert slow / 5000 == pytest.approx(0.1, abs=5 * math.sqrt(0.1 * 0.9 / 5000))


def test_drift_is_linear_in_time_and_slows_decode_too():
    draws = Draws(Cost(drift_per_hour=0.2), 1)
    assert draws.next(elapsed_s=1800, generating=True).prefill == pytest.approx(1.1)
    assert draws.next(elapsed_s=3600, generating=True).decode == pytest.approx(1.2)
    assert Draws(Cost(drift_per_hour=-5), 1).drift(3600) == 0.01
