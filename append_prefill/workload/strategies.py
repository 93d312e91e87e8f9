"""Hypothesis strategies for (L, m), and the seeded draw of extra points for a plan.

The strategies lean on the places where engines break: page boundaries, chunk boundaries, the
ends of the profile's rectangle. For the plan a draw is made once, from the run's seed, and
recorded: shrinking a noisy predicate would chase noise.
"""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

from append_prefill.workload.points import Point
from append_prefill.workload.profile import Limits

# Page sizes the attention backends use (see the version table): one either side of a multiple is
# where a cache that floors wrongly shows.
PAGE_SIZES_TOKENS = (1, 16, 32, 64, 128)


def _edges(low: int, high: int, steps: tuple[int, ...]) -> list[int]:
    """Values within [low, high] at, just below and just above multiples of each step."""
    edges = {low, high}
    for step in steps:
        multiple = step
        while multiple - 1 <= high:
            edges.update(v for v in (multiple - 1, multiple, multiple + 1) if low <= v <= high)
            multiple *= 2
    return sorted(edges)


def context_tokens(limits: Limits) -> st.SearchStrategy[int]:
    """L within the limits; half of the draws next to a page boundary."""
    low, high = limits.context_tokens
    return st.one_of(
        st.sampled_from(_edges(low, high, PAGE_SIZES_TOKENS[1:])),
        st.integers(low, high),
    )


def append_tokens(limits: Limits, chunk_tokens: int | None) -> st.SearchStrategy[int]:
    """m within the limits; draws next to page boundaries and, if one is in reach, chunk ends."""
    low, high = limits.append_tokens
    steps = PAGE_SIZES_TOKENS[1:] + ((chunk_tokens,) if chunk_tokens else ())
    return st.one_of(st.sampled_from(_edges(low, high, steps)), st.integers(low, high))


@st.composite
def points(draw: st.DrawFn, limits: Limits, chunk_tokens: int | None = None) -> Point:
    """A point inside the limits, L + m <= limits.total_tokens included.

    Raises hypothesis' InvalidArgument (from `integers`) if the limits are empty.
    """
    append = draw(append_tokens(limits, chunk_tokens))
    context_high = min(limits.context_tokens[1], limits.total_tokens - append)
    context = draw(context_tokens(limits))
    if context > context_high:
        context = draw(st.integers(limits.context_tokens[0], context_high))
    return Point(context, append)


def _spread(low: int, high: int) -> st.SearchStrategy[int]:
    """Integers within [low, high], even on the log scale; what follows each other does so here."""
    steps = 1000
    return st.integers(0, steps).map(lambda k: round(low * (high / low) ** (k / steps)))


def spread_points(limits: Limits, chunk_tokens: int | None = None) -> st.SearchStrategy[Point]:
    """A point inside the limits: at edges as those of `points`, or even on the log scale.

    TTFT's regimes are spread over decades, and what a search climbs is smooth on that scale.
    """
    least, total = limits.context_tokens[0], limits.total_tokens

    def within(drawn: tuple[int, int]) -> Point:
        append = min(drawn[1], total - least)
        return Point(min(drawn[0], total - append), append)

    contexts = context_tokens(limits) | _spread(*limits.context_tokens)
    appends = append_tokens(limits, chunk_tokens) | _spread(*limits.append_tokens)
    return st.tuples(contexts, appends).map(within)


def drawn_points(limits: Limits, count: int, seed: int) -> list[Point]:
    """`count` distinct points for a plan, log-uniform over the rectangle, from the seed alone.

    Deterministic across machines and library versions (numpy's PCG64), unlike a strategy's
    example, so that the record's seed reproduces the plan. Log-uniform because TTFT's regimes
    are spread over decades. May return fewer than `count` if the rectangle holds fewer.
    """
    rng = np.random.default_rng([seed, 0xD4A3])
    found: dict[Point, None] = {}
    for _ in range(count * 50):
        if len(found) >= count:
            break
        context, append = (
            round(math.exp(rng.uniform(math.log(low), math.log(high))))
            for low, high in (limits.context_tokens, limits.append_tokens)
        )
        if context + append <= limits.total_tokens:
            found[Point(context, append)] = None
    return list(found)
