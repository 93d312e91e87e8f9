"""One sample: prime exactly L tokens, append m, prove the split, keep the times or the reason."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from append_prefill.probe.client import TimedClient, Timing
from append_prefill.workload.points import Point
from append_prefill.workload.prompts import PromptSource


@dataclass(frozen=True, slots=True)
class Times:
    """What a valid sample measured; `itl_ms` is None with fewer than two gaps between tokens."""

    ttft_ms: float
    e2e_ms: float
    itl_ms: float | None
    output_tokens: int
    cached_tokens: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One append-prefill of `point`: its times, or the reason why it proves nothing."""

    point: Point
    result: Times | str


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
    reason why the sample is invalid.
    """
    context, suffix = prompts.draw(point)
    prime = client.prime(context)
    if prime.error is not None:
        return Sample(point, f"prime failed: {prime.error}")
    timing = client.generate(context + suffix, max_new_tokens=output_tokens)
    return Sample(point, result_of(timing, point, page_tokens, output_tokens))


def result_of(timing: Timing, point: Point, page_tokens: int, output_tokens: int) -> Times | str:
    """The times, if the timing proves TTFT at `point`, else the reason why it does not.

    Reasons are worded without the sample's own numbers where those vary, so that counting by
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
    return Times(timing.ttft_ms, timing.e2e_ms, inter_token_ms(timing), output_tokens, expected)


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
