"""An append-prefill while others decode: what it waits, and what they do.

Their time per token is taken in windows of `WINDOW_TOKENS` of their own tokens: one before the
append-prefill comes, one from its coming on, and one from the coming of a full prefill of as many
tokens, which finds nothing cached.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from statistics import mean

from append_prefill.probe.call import Call, Crowd, UnderWay
from append_prefill.probe.client import TimedClient
from append_prefill.probe.sample import Company, Sample, result_of
from append_prefill.probe.timing import Timing
from append_prefill.workload.points import Point
from append_prefill.workload.prompts import PromptSource
from append_prefill.workload.traffic_experiment import DECODE_TOKENS, WINDOW_TOKENS, Unit

SETTLE_TOKENS = 4
"""Tokens each decode has made before the first window begins: by then all of them run as one batch,
and none of their own prefills is in it."""


def take_beside(
    client: TimedClient,
    crowd: Crowd,
    prompts: PromptSource,
    unit: Unit,
    *,
    page_tokens: int,
    output_tokens: int,
    pause: Callable[[float], None],
) -> list[Sample]:
    """The one sample of an append-prefill that arrives while others decode.

    It is invalid where a decode ended, or failed, before its windows were over. Raises
    InfrastructureError if a connection breaks.
    """
    point = unit.points[0]
    context, suffix = prompts.draw(point)
    full = [token for ids in prompts.draw(point) for token in ids]
    # Those that decode are append-prefills as well: so they begin together, and none of them has
    # made dozens of tokens before the last one's context is computed.
    others = [prompts.draw(Point(point.context_tokens, 1)) for _ in range(_size(unit))]
    for primed in (context, *(own for own, _ in others)):
        if (error := client.prime(primed).error) is not None:
            return [Sample(point, f"prime failed: {error}", unit.traffic)]
    pause(0.0)
    first, second, *clients = crowd.of(_size(unit) + 2)
    append = Call(first, context + suffix, max_new_tokens=output_tokens)
    prefill = Call(second, full, max_new_tokens=output_tokens)
    decodes = [
        Call(client, own + new, max_new_tokens=DECODE_TOKENS)
        for client, (own, new) in zip(clients, others, strict=True)
    ]
    with UnderWay() as traffic:
        for call in decodes:
            traffic.send(call)
        traffic.read(until=_more(decodes, SETTLE_TOKENS + WINDOW_TOKENS))
        for call in (append, prefill):
            traffic.send(call)
            traffic.read(until=_more(decodes, WINDOW_TOKENS, beyond=call))
        traffic.read()
    result = result_of(append.timing, point, page_tokens, output_tokens)
    if prefill.timing.error is not None:
        result = f"the full prefill failed: {prefill.timing.error}"
    timings = [(call.timing, call.sent_ns) for call in decodes]
    failed = next((timing.error for timing, _ in timings if timing.error is not None), None)
    if failed is not None:
        return [Sample(point, f"a decode failed: {failed}", unit.traffic)]
    windows = [
        (
            token_ms(timing, (append.sent_ns - sent_ns) / 1e6, before=True),
            token_ms(timing, (append.sent_ns - sent_ns) / 1e6),
            token_ms(timing, (prefill.sent_ns - sent_ns) / 1e6),
        )
        for timing, sent_ns in timings
    ]
    if any(value is None for window in windows for value in window):
        return [Sample(point, "a decode ended before its windows were over", unit.traffic)]
    before, during, during_full = (
        mean(value for value in column if value is not None)
        for column in zip(*windows, strict=True)
    )
    company = Company(itl_before_ms=before, itl_append_ms=during, itl_prefill_ms=during_full)
    return [Sample(point, result, unit.traffic, company=company)]


def token_ms(timing: Timing, at_ms: float, *, before: bool = False) -> float | None:
    """Mean time per token over the window that begins, or ends, at the last token up to `at_ms`.

    None where there are not so many tokens on that side. An event can bring several tokens, so that
    a window can be some longer.
    """
    times = timing.token_times_ms
    here = bisect_right([ms for _, ms in times], at_ms) - 1
    if here < 0:
        return None
    count, ms = times[here]
    if before:
        ends = [(c, t) for c, t in times[:here] if c <= count - WINDOW_TOKENS][-1:]
    else:
        ends = [(c, t) for c, t in times[here + 1 :] if c >= count + WINDOW_TOKENS][:1]
    return next(((t - ms) / (c - count) for c, t in ends), None)


def _more(calls: Sequence[Call], tokens: int, beyond: Call | None = None) -> Callable[[], bool]:
    """Whether each call has brought so many more from now on, or has ended; `beyond` as well."""
    wanted = [call.tokens_seen + tokens for call in calls]

    def over() -> bool:
        return (beyond is None or beyond.complete) and all(
            call.complete or call.tokens_seen >= want
            for call, want in zip(calls, wanted, strict=True)
        )

    return over


def _size(unit: Unit) -> int:
    return int(unit.traffic.company_size)
