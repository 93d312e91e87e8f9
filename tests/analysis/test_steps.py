"""Chunks, captured graphs and attention as columns: by the definition, token by token."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from append_prefill.analysis.steps import (
    Sizes,
    attended,
    attended_of_all,
    column,
    edges,
    further_chunks,
    padding,
    sets_of,
    sizes_of,
    untried,
)
from append_prefill.planted.cost import Cost, graph_buckets, padded_tokens
from append_prefill.records.run import Step
from append_prefill.workload.points import Point
from tests.analysis.factory import start


def chunks_of(append: int, chunk: int) -> list[int]:
    return [min(chunk, append - done) for done in range(0, append, chunk)]


@given(append=st.integers(1, 3000), context=st.integers(1, 3000), chunk=st.integers(1, 900))
def test_the_columns_are_sums_over_chunks(append, context, chunk):
    cut = chunks_of(append, chunk)
    m, cached = np.array([float(append)]), np.array([float(context)])
    buckets = graph_buckets(chunk)
    sizes = Sizes(chunk, buckets)
    assert further_chunks(m, chunk)[0] == len(cut) - 1
    assert padding(m, sizes)[0] == sum(padded_tokens(c, buckets) - c for c in cut)
    ends = context + np.cumsum(cut)
    assert attended_of_all(m, cached, chunk)[0] == pytest.approx(float((ends**2).sum()))
    assert attended(m, cached)[0] == sum(context + k for k in range(1, append + 1))


@given(
    append=st.integers(1, 9000), context=st.integers(0, 3000), chunk=st.sampled_from([512, 2048])
)
def test_the_simulated_server_costs_what_the_columns_say(append, context, chunk):
    cost = Cost(
        floor_ms=20,
        new_token_us=10,
        cached_token_us=2,
        form="sum",
        prefill_graph=True,
        chunk_ms=3,
        attention_ns=5,
    )
    sizes = Sizes(chunk, graph_buckets(chunk))
    m, cached = np.array([float(append)]), np.array([float(context)])
    own = 20 + 0.01 * (append + padding(m, sizes)[0]) + 0.002 * context
    own += 3 * further_chunks(m, chunk)[0] + 5e-6 * attended(m, cached)[0]
    assert cost.ttft_ms(append, context, chunk) == pytest.approx(own)


def test_without_a_chunk_size_a_prompt_is_padded_as_one():
    m = np.array([1.0, 33.0, 8193.0])
    assert padding(m, Sizes(None, graph_buckets(8192))).tolist() == [0.0, 15.0, 0.0]
    assert padding(m, Sizes(None, ())).tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="takes a chunk size"):
        column("chunk", Sizes(), m, m)


def test_sizes_are_what_all_launches_told():
    def told(chunk, buckets):
        one = start(0, {})
        return one.model_copy(
            update={"subject": {"chunked_prefill_tokens": chunk}, "prefill_graph_tokens": buckets}
        )

    assert sizes_of([told(512, [4, 8]), told(512, [4, 8])]) == Sizes(512, (4, 8))
    assert sizes_of([told(512, []), told(1024, None)]) == Sizes(None, None)
    assert sizes_of([told(512, []), told(512, [])]) == Sizes(512, ())
    assert sizes_of([start(0, {})]) == sizes_of([]) == Sizes()


@pytest.mark.parametrize(
    ("told", "chunk"), [(1, 1), (512, 512), (0, None), (-1, None), ("512", None), (None, None)]
)
def test_a_chunk_is_a_number_of_tokens(told, chunk):
    one = start(0, {}).model_copy(update={"subject": {"chunked_prefill_tokens": told}})
    assert sizes_of([one]).chunk_tokens == chunk


def test_each_term_is_about_a_size_that_was_told():
    sizes = Sizes(512, (128, 256, 384))
    assert sizes.told_for("chunk") == 512
    assert sizes.told_for("padding") == 384
    assert sizes.told_for("attention") == sizes.told_for("attention_of_all") == 8192
    assert Sizes(512, ()).told_for("padding") is None
    assert Sizes(512).told_for("padding") is None


def test_a_column_is_of_its_own_term():
    """1,000 tokens behind 10 in chunks of 512: one further chunk, of 488."""
    m, cached = np.array([1000.0]), np.array([10.0])
    sizes = Sizes(512, (512,))
    assert column("chunk", sizes, m, cached) == [1]
    assert column("padding", sizes, m, cached) == [24]
    assert column("attention", sizes, m, cached) == [1000 * 10 + 1000 * 1001 / 2]
    assert column("attention_of_all", sizes, m, cached) == [522**2 + 1010**2]


@pytest.mark.parametrize(
    ("few", "many", "is_edge"),
    [
        (300, 320, False),
        (500, 512, False),
        (513, 520, False),
        (512, 513, True),
        (1024, 1025, True),
        # A quarter of a chunk apart, and a token more.
        (512, 640, True),
        (512, 641, False),
    ],
)
def test_an_edge_is_between_a_whole_chunk_and_one_token_more(few, many, is_edge):
    found = edges([Point(64, many), Point(64, few)], 512)
    assert found == ([(1, 0)] if is_edge else [])


def test_an_edge_has_two_points_close_by_behind_one_context():
    points = [
        Point(64, 512),
        Point(64, 520),
        Point(256, 512),
        Point(256, 641),
        Point(256, 1000),
        Point(256, 1100),
        Point(256, 1536),
        Point(256, 1537),
    ]
    found = [(points[a], points[b]) for a, b in edges(points, 512)]
    # 512 and 641 are more than a quarter of a chunk apart.
    assert found == [
        (Point(64, 512), Point(64, 520)),
        (Point(256, 1000), Point(256, 1100)),
        (Point(256, 1536), Point(256, 1537)),
    ]


def test_attention_is_of_one_kind_in_a_set():
    assert sets_of([]) == [()]
    assert sets_of(["attention", "chunk", "attention_of_all"]) == [
        (),
        ("attention",),
        ("attention_of_all",),
        ("chunk",),
        ("chunk", "attention"),
        ("chunk", "attention_of_all"),
    ]


@pytest.mark.parametrize(
    ("sizes", "points", "codes"),
    [
        (
            Sizes(),
            [Point(64, 512)],
            {
                "chunk": "not-told",
                "padding": "not-told",
                "attention": "short",
                "attention_of_all": "short",
            },
        ),
        (
            Sizes(512, ()),
            [Point(64, 512), Point(8192, 64)],
            {"chunk": "no-edge", "padding": "off"},
        ),
        (
            Sizes(512, (256, 512)),
            [Point(64, 512), Point(9000, 256)],
            {"chunk": "no-edge", "padding": "no-edge"},
        ),
        (Sizes(512, (256, 512)), [Point(8192, 512), Point(8192, 520), Point(8192, 300)], {}),
        (
            Sizes(None, (512,)),
            [Point(8192, 300)],
            {"chunk": "not-told", "attention_of_all": "not-told"},
        ),
    ],
)
def test_what_cannot_be_told_is_not_tried(sizes, points, codes):
    assert {term: step.code for term, step in untried(points, sizes).items()} == codes


def test_what_is_not_tried_names_the_size_that_no_point_tells():
    assert untried([Point(64, 512)], Sizes(512, (128, 256, 512))) == {
        "chunk": Step(code="no-edge", tokens=512),
        "padding": Step(code="no-edge", tokens=512),
        "attention": Step(code="short", tokens=8192),
        "attention_of_all": Step(code="short", tokens=8192),
    }


@pytest.mark.parametrize(("append", "short"), [(191, True), (192, False)])
def test_from_8192_tokens_on_attention_may_be_seen(append, short):
    assert ("attention" in untried([Point(8000, append)], Sizes(512, ()))) is short
