"""A conversation, turn by turn: each prompt is all before it, the server's own replies included."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass

from append_prefill.probe.client import TimedClient
from append_prefill.probe.sample import Sample, times_of
from append_prefill.probe.speech import speech_of
from append_prefill.workload.points import Point
from append_prefill.workload.prompts import PromptSource
from append_prefill.workload.traffic_experiment import Unit


@dataclass(frozen=True, slots=True)
class Kept:
    """What a version's prefix cache keeps of a request that has ended: whole pages, but for its
    last `uncached_tail_tokens` tokens.
    """

    page_tokens: int
    uncached_tail_tokens: int

    def of(self, tokens: int) -> int:
        """How many of `tokens` are found again."""
        return (tokens - self.uncached_tail_tokens) // self.page_tokens * self.page_tokens


def take_turns(
    client: TimedClient,
    prompts: PromptSource,
    unit: Unit,
    *,
    kept: Kept,
    pause: Callable[[float], None],
) -> Generator[list[Sample], None, None]:
    """The samples of each turn, none of the first, which is a full prefill and not counted.

    Whoever iterates may let another server have its turn in between: `pause` waits, given what is
    left of a turn's `after_s` since the turn before it ended, before it is sent. Where a turn fails
    those after it cannot be sent, and have its reason. Raises InfrastructureError if the connection
    breaks or the server opens no session, and ValueError for a unit without a conversation.
    """
    if unit.conversation is None:
        raise ValueError("turns take a conversation")
    taken = before = 0
    ended_s = time.monotonic()
    with speech_of(unit.traffic, client, prompts) as speech:
        for turn in unit.conversation.turns:
            pause(turn.after_s - (time.monotonic() - ended_s))
            timing = speech.say(turn.append_tokens, turn.reply_tokens)
            ended_s = time.monotonic()
            result = times_of(timing, before + turn.append_tokens, turn.reply_tokens)
            told = speech.told
            if not isinstance(result, str) and told is not None:
                result = told
            samples: list[Sample] = []
            if before:
                point = Point(before, turn.append_tokens)
                samples = [Sample(point, result, unit.traffic, kept.of(before))]
            taken += len(samples)
            if isinstance(result, str):
                reason = f"an earlier turn failed: {result.removeprefix('error: ')}"
                rest = unit.points[taken:]
                yield samples + [Sample(point, reason, unit.traffic) for point in rest]
                return
            before += turn.append_tokens + turn.reply_tokens
            yield samples
