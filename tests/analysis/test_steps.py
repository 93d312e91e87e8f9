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
