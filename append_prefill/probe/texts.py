"""A single append-prefill as text or as chat: what tokenizing and templating add to ids."""

from __future__ import annotations

from append_prefill.probe.client import TimedClient
from append_prefill.probe.sample import Sample, times_of
from append_prefill.workload.points import Point
from append_prefill.workload.prompts import PromptSource
from append_prefill.workload.traffic import Traffic
from append_prefill.workload.wordlevel import decode

SYSTEM_MARKERS = 2
"""Around the system message that is the context: its role's marker and its end's."""

USER_MARKERS = 3
"""Around the user's message that is new: two likewise, and that of the reply to come."""


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

    Points and tokens are as with ids; a chat's include its markers. Raises InfrastructureError if
    the connection breaks, ValueError for a chat too short for its markers.
    """
    planned = point.cached_tokens(page_tokens)
    if traffic.form == "text":
        context, suffix = prompts.draw(point)
        prime = client.prime(decode(context))
        if prime.error is None:
            timing = client.generate(decode(context + suffix), max_new_tokens=output_tokens)
    else:
        words = Point(point.context_tokens - SYSTEM_MARKERS, point.append_tokens - USER_MARKERS)
        context, suffix = prompts.draw(words)
        system, user = ("system", decode(context)), ("user", decode(suffix))
        # A chat has to be answered. What is cached of the answer stands where the user's marker
        # will be, and is not found again.
        prime = client.chat([system], max_new_tokens=1)
        if prime.error is None:
            timing = client.chat([system, user], max_new_tokens=output_tokens)
    if prime.error is not None:
        return Sample(point, f"prime failed: {prime.error}", traffic, planned)
    result = times_of(timing, point.total_tokens, output_tokens)
    return Sample(point, result, traffic, planned)
