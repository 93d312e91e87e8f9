import pytest

from append_prefill.analysis.routing import route, routes_of, transfer_limit_tokens
from append_prefill.records.figures import Estimate
from append_prefill.records.run import Step, Surface
from tests.report import samples


def surface(form="max", floor=20.0, new=20.0, cached=0.0, crossover=1000.0) -> Surface:
    def known(value):
        return Estimate(value=value, low=None, high=None)

    return Surface(
        form=form,
        floor_ms=known(floor),
        new_token_us=known(new),
        cached_token_us=known(cached),
        crossover_tokens=known(crossover),
        residual=None,
        starts=1,
    )


def limit(of: Surface, link=25.0, share=0.2, append=128):
    return transfer_limit_tokens(
        of, append_tokens=append, kv_bytes_per_token=131_072, link_gb_per_s=link, share=share
    )


def test_the_audits_figure() -> None:
    # A fifth of a 20 ms TTFT on 25 GB/s: about 760 tokens.
    assert limit(surface()) == pytest.approx(763, abs=1)


def test_the_limit_is_where_the_share_is_met() -> None:
    for form in ("sum", "max"):
        of = surface(form, cached=1.5)
        tokens = limit(of, append=1500)
        work = 0.02 * 1500
        base = 20 + work if form == "sum" else max(20, work)
        ttft = base + 0.0015 * tokens
        assert tokens * 131_072 / 25e6 == pytest.approx(0.2 * ttft)


def test_what_is_moved_whatever_the_context_is_moved_first() -> None:
    """100 MB at 25 GB/s take 4 ms, all that a fifth of 20 ms allows."""
    options = {"append_tokens": 128, "kv_bytes_per_token": 25_000, "link_gb_per_s": 25.0}
    limits = [
        transfer_limit_tokens(surface(), share=0.2, kv_fixed_bytes=fixed, **options)
        for fixed in (0, 75_000_000, 100_000_000, 200_000_000)
    ]
    assert limits == pytest.approx([4000, 1000, 0, 0])
    found = route(surface(), kv_fixed_bytes=75_000_000, **options)
    assert found.transfer_tokens == pytest.approx(1000)


def test_a_fast_link_never_gets_there_when_ttft_grows_faster() -> None:
    assert limit(surface(cached=2.0), link=450.0) is None
    found = route(surface(cached=2.0), kv_bytes_per_token=131_072, link_gb_per_s=450.0)
    assert found.transfer_tokens is None


def test_a_route_has_the_costs_and_both_limits() -> None:
    found = route(surface(), kv_bytes_per_token=131_072, link_gb_per_s=25.0)
    assert found.transfer_us_per_token == pytest.approx(5.24, abs=0.01)
    assert found.transfer_tokens == pytest.approx(763, abs=1)
    assert found.compute_tokens == 1000
    none = route(surface(crossover=None), kv_bytes_per_token=131_072, link_gb_per_s=25.0)
    assert none.compute_tokens is None


def test_a_run_has_its_nominal_link_and_the_measured_ones() -> None:
    run = samples.passing()
    assert [(r.link, r.link_gb_per_s) for r in routes_of(run)] == [("nominal", 450)]
    run.starts[0].kv_links_gb_per_s = {"host_to_device": 55.0}
    nominal, measured = routes_of(run)
    assert (measured.link, measured.link_gb_per_s) == ("host_to_device", 55.0)
    assert measured.transfer_tokens is not None
    assert nominal.transfer_tokens is None or measured.transfer_tokens < nominal.transfer_tokens


def test_without_a_surface_or_the_kvs_size_there_is_no_route() -> None:
    run = samples.passing()
    assert routes_of(run.model_copy(update={"surface": None})) == []
    assert routes_of(run.model_copy(update={"surface": surface(floor=None)})) == []
    assert routes_of(run.model_copy(update={"findings": []})) == []


def test_what_cannot_be_reckoned_is_refused() -> None:
    with pytest.raises(ValueError, match="not fitted"):
        limit(surface(floor=None))
    with pytest.raises(ValueError, match="part of TTFT"):
        limit(surface(), share=0)
    with pytest.raises(ValueError, match="part of TTFT"):
        limit(surface(), share=1.01)
    assert limit(surface(), share=1) == pytest.approx(5 * limit(surface()))


def test_a_transfer_as_dear_as_ttft_grows_never_gets_there() -> None:
    """1 MB a token at 1 GB/s is 1 ms, of which TTFT takes half of 2 ms."""
    options = {"append_tokens": 1, "kv_bytes_per_token": 10**6, "link_gb_per_s": 1.0, "share": 0.5}
    assert transfer_limit_tokens(surface(cached=2000.0), **options) is None
    assert transfer_limit_tokens(surface(cached=1999.0), **options) is not None
    costs = route(surface(), kv_bytes_per_token=10**6, link_gb_per_s=1.0)
    assert costs.transfer_us_per_token == 1000.0


def attending(code, nanoseconds=5.0) -> Surface:
    """With attention for each pair of a new token and one before it."""
    added = {
        "attention_ns": Estimate(value=nanoseconds, low=None, high=None),
        "steps": {"attention": Step(code=code)},
    }
    return surface(cached=1.5).model_copy(update=added)


def test_attention_is_a_part_of_what_a_cached_token_costs() -> None:
    """Half of 1,500 squared pairs are the new tokens' own, 5.6 ms; a cached token has 1,500."""
    tokens = limit(attending("fitted"), append=1500)
    assert tokens is not None
    ttft_ms = 30 + 5e-6 * 1500 * 1501 / 2 + (0.0015 + 5e-6 * 1500) * tokens
    assert tokens * 131_072 / 25e6 == pytest.approx(0.2 * ttft_ms, rel=1e-12)


def test_attention_that_was_not_fitted_costs_nothing() -> None:
    without = limit(surface(cached=1.5), append=1500)
    assert limit(attending("not-needed"), append=1500) == without
    fitted = attending("fitted")
    unknown = fitted.model_copy(update={"attention_ns": None})
    assert limit(unknown, append=1500) == without != limit(fitted, append=1500)


def test_where_nothing_is_moved_whatever_the_context_no_byte_is() -> None:
    options = {"append_tokens": 128, "kv_bytes_per_token": 1, "link_gb_per_s": 1e-3, "share": 0.2}
    own = {key: options[key] for key in options if key != "share"}
    none = transfer_limit_tokens(surface(), kv_fixed_bytes=0, **options)
    assert transfer_limit_tokens(surface(), **options) == none
    assert route(surface(), **own).transfer_tokens == none


def test_a_run_moves_what_its_model_has_whatever_the_context() -> None:
    run = samples.passing()
    (before,) = routes_of(run)
    run = run.model_copy(deep=True)
    for finding in run.findings:
        finding.details["kv_fixed_bytes"] = 1e8
    assert run.kv_fixed_bytes == 10**8
    run.starts[0].kv_links_gb_per_s = {"host_to_device": 25.0}
    _, slow = routes_of(run)
    assert slow.transfer_tokens == 0.0
    assert before.transfer_tokens != 0.0
