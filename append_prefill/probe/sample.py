"""One sample: prime exactly L tokens, append m, prove the split, keep the times or the reason."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from append_prefill.probe.client import TimedClient, Timing
from append_prefill.workload.points import Point
from append_prefill.workload.prompts import PromptSource


@dataclass(frozen=True, slots=True)
class Sample:
    """A measured append-prefill; `void` is the reason it proves nothing, or None.

    Times are None only in a void sample.
    """

    point: Point
    ttft_ms: float | None
    e2e_ms: float | None
    itl_ms: float | None
    output_tokens: int | None
    cached_tokens: int | None
    void: str | None


def take_sample(
    client: TimedClient,
    prompts: PromptSource,
    point: Point,
    *,
    page_tokens: int,
    output_tokens: int,
) -> Sample:
    """Measure one append-prefill of `point`.

    The prime asks for no output token, so the prefix tree holds exactly L. Raises
    InfrastructureError if the connection breaks; everything else that goes wrong becomes the
    void reason.
    """
    context, suffix = prompts.draw(point)
    prime = client.prime(context)
    if prime.error is not None:
        return _void(point, f"prime failed: {prime.error}")
    timing = client.generate(context + suffix, max_new_tokens=output_tokens)
    reason = void_reason(timing, point, page_tokens, output_tokens)
    if reason is not None:
        return _void(point, reason, timing)
    return Sample(
        point=point,
        ttft_ms=timing.ttft_ms,
        e2e_ms=timing.e2e_ms,
        itl_ms=inter_token_ms(timing),
        output_tokens=timing.completion_tokens,
        cached_tokens=timing.cached_tokens,
        void=None,
    )


def void_reason(timing: Timing, point: Point, page_tokens: int, output_tokens: int) -> str | None:
    """Why a timing does not prove TTFT at `point`, or None if it does.

    Reasons are worded without the sample's own figures where those vary, so that counting by
    reason groups them.
    """
    expected = point.cached_tokens(page_tokens)
    if timing.error is not None:
        return f"error: {timing.error}"
    if timing.ttft_ms is None or timing.e2e_ms is None:
        return "no first token"
    if timing.prompt_tokens != point.total_tokens:
        return f"prompt_tokens {timing.prompt_tokens}, sent {point.total_tokens}"
    if timing.cached_tokens != expected:
        return f"wrong split: cached_tokens {timing.cached_tokens}, planned {expected}"
    if timing.retractions:
        return "retracted by the scheduler"
    if timing.completion_tokens != output_tokens:
        return f"completion_tokens {timing.completion_tokens}, asked {output_tokens}"
    return None


def inter_token_ms(timing: Timing) -> float | None:
    """Median time per output token after the first, ms; None with fewer than two gaps.

    Events can carry several tokens, so each gap is divided by the tokens it brought.
    """
    gaps = [
        (late_ms - early_ms) / (late - early)
        for (early, early_ms), (late, late_ms) in pairwise(timing.token_times_ms)
        if late > early
    ]
    return median(gaps) if len(gaps) >= 2 else None


def _void(point: Point, reason: str, timing: Timing | None = None) -> Sample:
    return Sample(
        point=point,
        ttft_ms=None,
        e2e_ms=None,
        itl_ms=None,
        output_tokens=None,
        cached_tokens=None if timing is None else timing.cached_tokens,
        void=reason,
    )
