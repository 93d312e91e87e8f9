"""A single append-prefill as text or as chat: what tokenizing and templating add to ids."""

from __future__ import annotations

from append_prefill.probe.client import TimedClient
from append_prefill.probe.sample import Sample, result_of
from append_prefill.workload.boundary import draw_chat, draw_text
from append_prefill.workload.points import Point
from append_prefill.workload.prompts import PromptSource
from append_prefill.workload.traffic import Traffic


def take_text(
    client: TimedClient,
    prompts: PromptSource,
    point: Point,
    traffic: Traffic,
    *,
    page_tokens: int,
    output_tokens: int,
) -> Sample:
    """Measure one append-prefill of `point` as text, or as a chat whose system prompt is cached.

    Points and tokens are as with ids; a chat's include its markers. What the tokenizer merges
    across the boundary may be missing in the cache, and nothing else. Raises InfrastructureError if
    the connection breaks, ValueError for a point too short for its letters and markers.
    """
    if traffic.form == "text":
        parts = draw_text(prompts, point)
        prime = client.prime(parts.context)
        if prime.error is None:
            timing = client.generate(parts.context + parts.append, max_new_tokens=output_tokens)
    else:
        parts = draw_chat(prompts, point)
        system, user = ("system", parts.context), ("user", parts.append)
        # A chat has to be answered. What is cached of the answer stands where the user's marker
        # will be, and is not found again.
        prime = client.chat([system], max_new_tokens=1)
        if prime.error is None:
            timing = client.chat([system, user], max_new_tokens=output_tokens)
    if prime.error is not None:
        return Sample(point, f"prime failed: {prime.error}", traffic)
    result = result_of(timing, point, page_tokens, output_tokens, merged_tokens=parts.merged_tokens)
    return Sample(point, result, traffic, boundary_merged_tokens=parts.merged_tokens)
