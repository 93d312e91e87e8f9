"""The fitted surface in words: only what was fitted, and why."""

import pytest

from append_prefill.records.figures import Estimate
from append_prefill.records.run import Step
from append_prefill.report.html import render_html
from append_prefill.report.markdown import render_markdown
from append_prefill.report.surface import (
    crossover_words,
    formula_words,
    steps_words,
    surface_rows,
    surface_words,
)
from tests.report import parts, samples

TWO = Estimate(value=2.0, low=1.5, high=2.5)


def run_with(**update):
    run = samples.regression()
    assert run.surface is not None
    return run.model_copy(update={"surface": run.surface.model_copy(update=update)})


def test_a_plane_is_said_as_before_and_a_record_without_steps_has_nothing_to_explain():
    run = run_with(form="sum", steps={})
    assert formula_words(run.surface) == "T₀ + a·m + b·L"
    assert [row.name for row in surface_rows(run)][-1] == "Crossover m* = T₀ / a"
    assert len(surface_rows(run)) == 4
    assert steps_words(run.surface) == []
    assert formula_words(run_with(form="max").surface) == "max(T₀, a·m) + b·L"


def test_what_was_added_has_a_row_and_a_place_in_the_formula():
    run = run_with(form="max", chunk_ms=TWO, padded_token_us=TWO, attention_ns=TWO)
    words = "max(T₀, a·m + p·padding(m)) + b·L + s·(chunks(m) − 1) + q·pairs(m, L)"
    assert formula_words(run.surface) == words
    rows = surface_rows(run)
    assert [row.unit for row in rows] == ["ms", "µs", "µs", "ms", "µs", "ns", "tokens"]
    assert rows[-1].name == "Crossover m*"


@pytest.mark.parametrize(
    ("term", "step", "words"),
    [
        (
            "chunk",
            Step(code="fitted", tokens=2048, gain=134.0, needed=11.1),
            "fitted, chunks of 2048",
        ),
        ("chunk", Step(code="not-needed", tokens=2048, gain=3.0, needed=11.1), "not needed"),
        ("chunk", Step(code="bend", tokens=2048), "does not step up at the edges"),
        ("chunk", Step(code="no-edge", tokens=2048), "both sides of 2048 tokens"),
        ("chunk", Step(code="not-told"), "did not tell its chunk size"),
        ("padding", Step(code="fitted", tokens=8192, gain=30.0, needed=11.1), "sizes up to 8192"),
        ("padding", Step(code="no-edge", tokens=8192), "no point is padded"),
        ("padding", Step(code="off"), "without a graph"),
        ("padding", Step(code="not-told"), "did not tell its captured sizes"),
        (
            "attention",
            Step(code="fitted", tokens=8192, gain=30.0, needed=11.1),
            "Attention: fitted",
        ),
    ],
)
def test_why_a_term_is_there_or_is_not(term, step, words):
    (said,) = steps_words(run_with(steps={term: step}).surface)
    assert words in said
    if step.gain is not None:
        assert "chance 11.1" in said


@pytest.mark.parametrize("code", ["short", "not-needed", "not-told"])
def test_attention_is_only_named_where_it_was_needed(code):
    assert steps_words(run_with(steps={"attention": Step(code=code, tokens=8192)}).surface) == []


def test_the_page_says_why():
    step = Step(code="bend", tokens=2048)
    page = render_html(run_with(chunk_ms=None, steps={"chunk": step}), profile=parts.profile())
    assert "does not step up at the edges of chunks of 2048 tokens" in page


def test_the_crossover_has_its_interval_and_says_where_it_is_a_guess():
    one = Estimate(value=900.7, low=800.2, high=1000.1)
    run = run_with(crossover_tokens=one)
    assert crossover_words(run) == "m* = 901 new tokens (800 to 1000)"
    assert "m* = T₀ / a: 901 tokens (800 to 1000)" in surface_words(run)
    far = run_with(crossover_tokens=Estimate(value=2e5, low=None, high=None))
    assert crossover_words(far) == "m* = 200\u202f000 new tokens (extrapolated)"
    none = run_with(crossover_tokens=Estimate(value=None, low=None, high=None))
    assert crossover_words(none) == ""
    assert crossover_words(run.model_copy(update={"surface": None})) == ""


def test_the_summary_has_the_surface_with_its_intervals_in_a_line():
    run = run_with(form="sum", chunk_ms=TWO, steps={"chunk": Step(code="not-told")})
    words = surface_words(run)
    assert words.startswith("Surface: TTFT ≈ T₀ + a·m + b·L + s·(chunks(m) − 1). Floor T₀: ")
    assert "Chunk step s, each further chunk: 2.00 ms (1.50 to 2.50)" in words
    assert words.endswith("did not tell its chunk size.")
    assert words[:30] in render_markdown(run)
    assert surface_words(run.model_copy(update={"surface": None})) == ""
