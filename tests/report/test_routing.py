"""The routing section: numbers of `analysis/routing` in words, or no section."""

from __future__ import annotations

import re

import pytest

from append_prefill.records.run import Run
from append_prefill.report.html import render_html
from append_prefill.report.markdown import render_markdown
from append_prefill.report.routing import computing_words, routing_rows
from tests.report import parts, samples


def on_a_slow_link() -> Run:
    run = samples.passing()
    run.starts[0].kv_links_gb_per_s = {"host_to_device": 55.0, "on_device": 1900.0}
    return run


def test_a_slow_link_gets_a_length_and_a_fast_one_none() -> None:
    nominal, slow, fast = routing_rows(on_a_slow_link(), parts.profile())
    assert nominal.link == f"nominal: {parts.profile().link.name}"
    assert slow.link == "host to device, measured"
    length = slow.route.transfer_tokens
    assert length is not None
    assert f"From L = {-(-length // 1):.0f} on, keep" in slow.rule
    assert fast.route.transfer_tokens is None
    assert "at any L" in fast.rule


def test_a_length_beyond_the_points_is_called_extrapolated() -> None:
    run = on_a_slow_link()
    run.starts[0].kv_links_gb_per_s = {"host_to_device": 200.0}
    assert "(extrapolated)" in routing_rows(run)[1].rule
    assert "(extrapolated)" not in routing_rows(on_a_slow_link())[1].rule


@pytest.mark.parametrize(("form", "words"), [("max", "the floor hides"), ("sum", "every worker")])
def test_what_the_crossover_means_depends_on_the_form(form: str, words: str) -> None:
    run = on_a_slow_link()
    assert run.surface is not None
    run.surface.form = form
    text = computing_words(run)
    assert words in text
    assert re.search(r"m\* = [\d,]+ new tokens \([\d,]+ to [\d,]+\)", text)
    run.surface.crossover_tokens.value = 1e6
    assert "; extrapolated)" in computing_words(run)
    run.surface.crossover_tokens.value = None
    assert "No cost per new token" in computing_words(run)


def test_page_and_summary_have_the_table_and_the_page_the_peers() -> None:
    run = on_a_slow_link()
    page, summary = render_html(run, profile=parts.profile()), render_markdown(run)
    section = page[page.index('id="routing"') : page.index('id="environment"')]
    assert section.count("<tr>") == 1 + 3
    assert "Dynamo" in section
    assert "llm-d" in section
    assert '<a href="#routing">' in page
    assert summary.count("measured | 55 |") == 1
    assert "### Where to prefill" in summary


def test_without_the_kvs_size_neither_has_it() -> None:
    run = on_a_slow_link().model_copy(update={"findings": []})
    assert 'href="#routing"' not in render_html(run)
    assert "Where to prefill" not in render_markdown(run)
