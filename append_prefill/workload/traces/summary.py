"""What a trace consists of, in numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel

from append_prefill.workload.traces.trace import LeftOut, Trace


class Quantiles(BaseModel):
    """Of one quantity over conversations or turns."""

    p50: float
    p90: float
    p99: float
    max: float


class Summary(BaseModel):
    """A trace in numbers; quantiles are None where there is nothing.

    `cache_rate`: tokens before each turn over all prompt tokens, first turns (of which nothing is
    cached) included: what a server that keeps everything would find in its cache. Over turns from
    the second: `context_tokens` (L), `append_tokens` (m), `after_s`; over all: `reply_tokens`.
    Over conversations: `turns_each`, `opening_tokens` (the first prompt), `total_tokens`.
    """

    source: str
    tokens_estimated: bool
    conversations: int
    turns: int
    left_out: dict[str, int]
    cache_rate: float | None
    turns_each: Quantiles | None
    opening_tokens: Quantiles | None
    total_tokens: Quantiles | None
    context_tokens: Quantiles | None
    append_tokens: Quantiles | None
    reply_tokens: Quantiles | None
    after_s: Quantiles | None


def summary_of(trace: Trace) -> Summary:
    """The numbers of a trace."""
    each = trace.conversations
    points = [point for conversation in each for _, point in conversation.points()]
    turns = [turn for conversation in each for turn in conversation.turns]
    later = [turn for conversation in each for turn in conversation.turns[1:]]
    opening = [conversation.turns[0].append_tokens for conversation in each]
    cached = sum(point.context_tokens for point in points)
    sent = sum(opening) + sum(point.total_tokens for point in points)
    return Summary(
        source=trace.source,
        tokens_estimated=trace.tokens_estimated,
        conversations=len(each),
        turns=len(turns),
        left_out={name: getattr(trace.left_out, name) for name in LeftOut.__dataclass_fields__},
        cache_rate=cached / sent if sent else None,
        turns_each=_quantiles([len(conversation.turns) for conversation in each]),
        opening_tokens=_quantiles(opening),
        total_tokens=_quantiles([conversation.total_tokens for conversation in each]),
        context_tokens=_quantiles([point.context_tokens for point in points]),
        append_tokens=_quantiles([point.append_tokens for point in points]),
        reply_tokens=_quantiles([turn.reply_tokens for turn in turns]),
        after_s=_quantiles([turn.after_s for turn in later]),
    )


def _quantiles(values: Sequence[float]) -> Quantiles | None:
    if not values:
        return None
    p50, p90, p99 = (float(q) for q in np.quantile(values, (0.5, 0.9, 0.99)))
    return Quantiles(p50=p50, p90=p90, p99=p99, max=float(max(values)))
