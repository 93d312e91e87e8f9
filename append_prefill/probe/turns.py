"""A conversation, turn by turn: each prompt is all before it, the server's own replies included."""

from __future__ import annotations

from collections.abc import Callable

from append_prefill.probe.client import TimedClient
from append_prefill.probe.sample import Sample, Times, times_of
from append_prefill.workload.points import Point
from append_prefill.workload.prompts import PromptSource
from append_prefill.workload.traffic_experiment import Unit


def take_turns(
    client: TimedClient,
    prompts: PromptSource,
    unit: Unit,
    *,
    page_tokens: int,
    uncached_tail_tokens: int,
    pause: Callable[[float], None],
) -> list[Sample]:
    """One sample per turn from the second on; the first is a full prefill, and not counted.

    `uncached_tail_tokens`: how many of a finished request's last tokens the version does not cache.
    `pause` waits, given a turn's `after_s`, before it is sent. Where a turn fails those after it
    cannot be sent, and have its reason. Raises InfrastructureError if the connection breaks, and
    ValueError for a unit without a conversation.
    """
    if unit.conversation is None:
        raise ValueError("turns take a conversation")
    samples: list[Sample] = []
    before: list[int] = []
    for turn in unit.conversation.turns:
        first = not before
        new = (
            prompts.draw(Point(turn.append_tokens, 1))[0]
            if first
            else prompts.suffix(turn.append_tokens)
        )
        pause(turn.after_s)
        timing = client.generate(before + new, max_new_tokens=turn.reply_tokens)
        result = times_of(timing, len(before) + len(new), turn.reply_tokens)
        if isinstance(result, Times) and timing.output_ids is None:
            result = "the server told no ids of its reply"
        if not first:
            kept = (len(before) - uncached_tail_tokens) // page_tokens * page_tokens
            samples.append(
                Sample(Point(len(before), turn.append_tokens), result, unit.traffic, kept)
            )
        if isinstance(result, str):
            reason = f"an earlier turn failed: {result.removeprefix('error: ')}"
            rest = unit.points[len(samples) :]
            return samples + [Sample(point, reason, unit.traffic) for point in rest]
        before += [*new, *(timing.output_ids or ())]
    return samples
