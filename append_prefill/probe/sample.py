"""One sample: prime exactly L tokens, append m, prove the split, keep the times or the reason."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from append_prefill.probe.client import TimedClient
from append_prefill.probe.timing import Timing
from append_prefill.workload.points import Point
from append_prefill.workload.prompts import PromptSource
from append_prefill.workload.traffic import DEFAULT, Condition, Traffic


@dataclass(frozen=True, slots=True)
class Times:
    """What a valid sample measured; `itl_ms` is None with fewer than two gaps between tokens."""

    ttft_ms: float
    e2e_ms: float
    itl_ms: float | None
    output_tokens: int
    cached_tokens: int


@dataclass(frozen=True, slots=True)
class Company:
    """What a sample in company measured beside its own times, all ms; None where that is none.

    `due_ms`: when it was due, since the first of its unit was; `late_ms`: how much later the client
    sent it. `itl_before_ms`, `itl_append_ms`, `itl_prefill_ms`: time per token of the requests that
    decode, before the append-prefill came, while it did, and while a full prefill of as many tokens
    did; see `beside`.
    """

    due_ms: float | None = None
    late_ms: float | None = None
    itl_before_ms: float | None = None
    itl_append_ms: float | None = None
    itl_prefill_ms: float | None = None


ALONE = Company()


@dataclass(frozen=True, slots=True)
class Sample:
    """One append-prefill: its times, or the reason why it proves nothing.

    `planned_cached_tokens`: what should have been cached where that is not a matter of validity,
    None elsewhere. `boundary_merged_tokens`: how many of the context's tokens at its end are others
    in the whole prompt; None where nothing could merge.
    """

    point: Point
    result: Times | str
    traffic: Traffic = DEFAULT
    planned_cached_tokens: int | None = None
    company: Company = ALONE
    boundary_merged_tokens: int | None = None

    @property
    def condition(self) -> Condition:
        return Condition(self.traffic, self.point)


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


def result_of(
    timing: Timing, point: Point, page_tokens: int, output_tokens: int, *, merged_tokens: int = 0
) -> Times | str:
    """The times, if the timing proves TTFT at `point`, else the reason why it does not.

    `merged_tokens`: how many of the context's last tokens are others in the prompt, so that the
    cache cannot have them for it.

    Reasons are worded without the sample's own numbers where those vary, so that counting by
    reason groups them.
    """
    expected = (point.context_tokens - merged_tokens) // page_tokens * page_tokens
    times = times_of(timing, point.total_tokens, output_tokens)
    if isinstance(times, Times) and times.cached_tokens != expected:
        return f"wrong split: cached_tokens {times.cached_tokens}, planned {expected}"
    return times


def times_of(timing: Timing, prompt_tokens: int, output_tokens: int) -> Times | str:
    """The times, whatever was cached, of a request of so many tokens; else why there are none."""
    if timing.error is not None:
        return f"error: {timing.error}"
    if timing.ttft_ms is None or timing.e2e_ms is None:
        return "no first token"
    if timing.prompt_tokens != prompt_tokens:
        return f"prompt_tokens {timing.prompt_tokens}, sent {prompt_tokens}"
    if timing.cached_tokens is None:
        return "the server told no cached_tokens"
    if timing.retractions:
        return "retracted by the scheduler"
    if timing.completion_tokens != output_tokens:
        return f"completion_tokens {timing.completion_tokens}, asked {output_tokens}"
    return Times(
        timing.ttft_ms,
        timing.e2e_ms,
        inter_token_ms(timing),
        output_tokens,
        timing.cached_tokens,
    )


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
