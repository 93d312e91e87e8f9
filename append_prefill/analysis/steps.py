"""What makes TTFT more than a plane over m and L: chunks, captured graphs, attention.

A server computes the new tokens of a prompt in chunks of a size it tells, and each further chunk
pays for a launch again: the *chunk step*. Where it replays captured graphs, a chunk is padded up to
the next captured size, the *graph bucket*. And each new token attends to all that are before it,
which a long context makes the dearest part. Each is one more column of the fit.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from append_prefill.analysis.summary import FloatArray
from append_prefill.records.launch import Start
from append_prefill.records.run import Step, Term
from append_prefill.workload.points import Point

TERMS: tuple[Term, ...] = ("chunk", "padding", "attention", "attention_of_all")
ATTENTION: tuple[Term, ...] = ("attention", "attention_of_all")

PADDING_FACTOR_MAX = 2
"""SGLang runs without its graph what padding would make more than twice as long, from 0.5.16 on
(`_MAX_PREFILL_CUDA_GRAPH_PADDING_FACTOR`): of its sizes this is m = 1 alone, which earlier versions
pad by three tokens, less than any fit can see."""

EDGE_SHARE = 1 / 4
"""A step is told from a bend by two points of one L close to both of its sides: within this part of
a chunk. A bend makes, beside its tangent, over a quarter of a chunk a sixteenth of what it makes
over a whole one; a step is whole at once."""

LONG_TOKENS = 8192
"""From this many total tokens on attention may be a part of its own. Below, on the study's model, a
token attends for less than a third of what computing it takes (4 x 4096 x 32 FLOP a pair, 8,192
pairs, of 14 GFLOP), which the other coefficients bear; the study itself calls more than 8K long."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How a server told that it cuts a prefill.

    `chunk_tokens`: None where it did not tell, or does not cut. `bucket_tokens`: the captured
    sizes, ascending; empty where it captures none, None where it did not tell.
    """

    chunk_tokens: int | None = None
    bucket_tokens: tuple[int, ...] | None = None

    def told_for(self, term: Term) -> int | None:
        """The size that a term is about: the chunk, the largest captured one, a long prompt."""
        match term:
            case "chunk":
                return self.chunk_tokens
            case "padding":
                return self.bucket_tokens[-1] if self.bucket_tokens else None
            case _:
                return LONG_TOKENS


def sizes_of(starts: Sequence[Start]) -> Sizes:
    """What the launches' servers told, where all told the same."""
    chunks = {start.subject.get("chunked_prefill_tokens") for start in starts}
    chunk = chunks.pop() if len(chunks) == 1 else None
    told = {
        None if s.prefill_graph_tokens is None else tuple(s.prefill_graph_tokens) for s in starts
    }
    return Sizes(
        chunk_tokens=chunk if isinstance(chunk, int) and chunk > 0 else None,
        bucket_tokens=told.pop() if len(told) == 1 else None,
    )


def further_chunks(append_tokens: FloatArray, chunk_tokens: int) -> FloatArray:
    """How many chunks beyond the first m new tokens take: ceil(m / chunk) - 1."""
    return np.asarray(np.ceil(append_tokens / chunk_tokens) - 1)


def padding(append_tokens: FloatArray, sizes: Sizes) -> FloatArray:
    """Tokens that are computed beyond the m new ones, over all chunks of each prompt.

    What is larger than the largest captured size, or would be more than `PADDING_FACTOR_MAX` times
    as long, is computed without a graph, as it is.
    """
    buckets = np.array(sizes.bucket_tokens or ())
    if not buckets.size:
        return np.zeros(len(append_tokens))

    def padded(tokens: FloatArray) -> FloatArray:
        at = np.searchsorted(buckets, tokens)
        inside = buckets[np.minimum(at, len(buckets) - 1)]
        eager = (at == len(buckets)) | (inside > PADDING_FACTOR_MAX * tokens)
        return np.where(eager, tokens, inside)

    if sizes.chunk_tokens is None:
        return np.asarray(padded(append_tokens) - append_tokens)
    whole = further_chunks(append_tokens, sizes.chunk_tokens)
    last = append_tokens - whole * sizes.chunk_tokens
    chunk = np.array([float(sizes.chunk_tokens)])
    return np.asarray(whole * (padded(chunk) - chunk) + padded(last) - last)


def attended(append_tokens: FloatArray, context_tokens: FloatArray) -> FloatArray:
    """Pairs of a new token and one that it attends to: itself, those before it, the context."""
    return np.asarray(append_tokens * (context_tokens + (append_tokens + 1) / 2))


def attended_of_all(
    append_tokens: FloatArray, context_tokens: FloatArray, chunk_tokens: int
) -> FloatArray:
    """Pairs where every chunk computes attention for all tokens so far, new or not.

    SGLang without a GPU does that (`torch_native` pads the queries to L + m): the sum over chunks
    of the tokens so far, squared.
    """
    further = further_chunks(append_tokens, chunk_tokens)
    # Whole chunks j = 1 ... k end at L + j c: the sum of squares in closed form.
    whole = further * context_tokens**2
    whole = whole + context_tokens * chunk_tokens * further * (further + 1)
    whole = whole + chunk_tokens**2 * further * (further + 1) * (2 * further + 1) / 6
    return np.asarray(whole + (context_tokens + append_tokens) ** 2)


def column(term: Term, sizes: Sizes, append: FloatArray, context: FloatArray) -> FloatArray:
    """What a term multiplies, shape (points,). Raises ValueError for a size that was not told."""
    if term == "padding":
        return padding(append, sizes)
    if term == "attention":
        return attended(append, context)
    if sizes.chunk_tokens is None:
        raise ValueError(f"{term} takes a chunk size, and none was told")
    if term == "chunk":
        return further_chunks(append, sizes.chunk_tokens)
    return attended_of_all(append, context, sizes.chunk_tokens)


def edges(points: Sequence[Point], chunk_tokens: int) -> list[tuple[int, int]]:
    """Pairs of points, by index, close to both sides of a chunk's edge and of one L.

    Of each edge and L the closest two, where they are within `EDGE_SHARE` of a chunk.
    """
    by_context: dict[int, list[int]] = {}
    for index, point in sorted(enumerate(points), key=lambda entry: entry[1].append_tokens):
        by_context.setdefault(point.context_tokens, []).append(index)
    found = []
    for line in by_context.values():
        for near, far in pairwise(line):
            few, many = points[near].append_tokens, points[far].append_tokens
            crosses = (few - 1) // chunk_tokens < (many - 1) // chunk_tokens
            if crosses and many - few <= EDGE_SHARE * chunk_tokens:
                found.append((near, far))
    return found


def sets_of(possible: Collection[Term]) -> list[tuple[Term, ...]]:
    """Every set of possible terms, the empty one first; attention is of one kind."""
    plain = [term for term in TERMS if term in possible and term not in ATTENTION]
    kinds: list[tuple[Term, ...]] = [(), *((term,) for term in ATTENTION if term in possible)]
    return [
        (*some, *kind)
        for count in range(len(plain) + 1)
        for some in combinations(plain, count)
        for kind in kinds
    ]


def untried(points: Sequence[Point], sizes: Sizes) -> dict[Term, Step]:
    """The terms that these points or this server leave no room for, and why."""
    append = np.array([float(p.append_tokens) for p in points])
    steps: dict[Term, Step] = {}
    if sizes.chunk_tokens is None:
        steps["chunk"] = Step(code="not-told")
    elif not edges(points, sizes.chunk_tokens):
        steps["chunk"] = Step(code="no-edge", tokens=sizes.chunk_tokens)
    if not sizes.bucket_tokens:
        steps["padding"] = Step(code="not-told" if sizes.bucket_tokens is None else "off")
    elif not padding(append, sizes).any():
        steps["padding"] = Step(code="no-edge", tokens=sizes.bucket_tokens[-1])
    short = max(p.total_tokens for p in points) < LONG_TOKENS
    for term in ATTENTION:
        if short or (term == "attention_of_all" and sizes.chunk_tokens is None):
            steps[term] = Step(code="short" if short else "not-told", tokens=LONG_TOKENS)
    return steps
