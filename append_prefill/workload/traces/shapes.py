"""Published shapes of multi-turn traffic, and the seeded draw of conversations from one.

Each number is one that its publication gives, or stands here with what it was made from. The
draws invert distribution functions at uniform numbers of numpy's PCG64, so that a seed means the
same conversations on every machine and in every version of numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, Protocol, get_args

import numpy as np

from append_prefill.workload.conversation import Conversation, Turn
from append_prefill.workload.traces.trace import Trace

ShapeName = Literal["agentic", "chat"]
SHAPE_NAMES: tuple[ShapeName, ...] = get_args(ShapeName)

_STREAM = 0x5A9E
"""Keeps these draws apart from the others that a run makes from the same seed."""

_TAIL = 0.999
"""Draws stop at this quantile: what a publication says of its tail ends at the 99th percentile,
and one conversation in a thousand beyond it would decide how long a replay takes."""


class Spread(Protocol):
    """A distribution, by its quantiles."""

    def at(self, quantile: float) -> float: ...


@dataclass(frozen=True, slots=True)
class Lognormal:
    """By its median and the standard deviation of the logarithm."""

    median: float
    sigma: float

    @classmethod
    def through(cls, median: float, quantile: float, value: float) -> Lognormal:
        """The one of this median whose `quantile` is `value`."""
        return cls(median, math.log(value / median) / NormalDist().inv_cdf(quantile))

    @classmethod
    def of_mean(cls, mean: float, sigma: float) -> Lognormal:
        return cls(mean / math.exp(sigma**2 / 2), sigma)

    def at(self, quantile: float) -> float:
        return self.median * math.exp(self.sigma * NormalDist().inv_cdf(quantile))


@dataclass(frozen=True, slots=True)
class Exponential:
    """By its mean, beyond `least`."""

    mean: float
    least: float = 0.0

    def at(self, quantile: float) -> float:
        return self.least - (self.mean - self.least) * math.log1p(-quantile)


@dataclass(frozen=True, slots=True)
class Shape:
    """What a conversation is drawn from: numbers of turns, tokens, and seconds of waiting.

    `opening_tokens`: of the first prompt, with its system prompt. `append_tokens`: what each later
    turn brings (a tool's result, a message).
    """

    turns: Spread
    opening_tokens: Spread
    append_tokens: Spread
    reply_tokens: Spread
    wait_s: Spread


SHAPES: dict[ShapeName, Shape] = {
    # Codex on SWE-bench Pro, 610 trials of 20,000 requests: the card of the data set
    # Inferact/codex_swebenchpro_traces, and "Serving Agentic Workloads at Scale with vLLM and
    # Mooncake" (vllm.ai, 2026-05-06). Requests per trial: median 30, 90 % 57. First context:
    # 12,278 and 12,813. Replies: 17,239 a trial over 33 requests, 522 on average; exponential, as
    # ServeGen finds lengths of replies. Growth per turn: 2,242 on average, of which the reply is
    # 522; "a few hundred to a few thousand" new tokens, taken as 10 % to 90 %, which a sigma of
    # 1.2 gives (180 to 3,900). Time between turns: median 5.2 s, 99 % 81.4 s.
    "agentic": Shape(
        turns=Lognormal.through(30, 0.9, 57),
        opening_tokens=Lognormal.through(12_278, 0.9, 12_813),
        append_tokens=Lognormal.of_mean(2_242 - 522, sigma=1.2),
        reply_tokens=Exponential(522),
        wait_s=Lognormal.through(5.2, 0.99, 81.4),
    ),
    # People. Turns and waits: ServeGen (arXiv 2505.09999), 3.5 turns and 100 s on average in
    # multi-turn conversations, of two turns or more here. Lengths: chosen here, 69.5 tokens a
    # message and 214.5 a reply on average; exponential as above.
    "chat": Shape(
        turns=Exponential(3.5, least=2),
        opening_tokens=Exponential(69.5),
        append_tokens=Exponential(69.5),
        reply_tokens=Exponential(214.5),
        wait_s=Exponential(100),
    ),
}


def generated(name: ShapeName, count: int, seed: int) -> Trace:
    """`count` conversations of a shape. The first ones are the same for every larger `count`."""
    shape = SHAPES[name]
    return Trace(name, tuple(_conversation(shape, [seed, _STREAM, n]) for n in range(count)))


def _conversation(shape: Shape, entropy: list[int]) -> Conversation:
    rng = np.random.Generator(np.random.PCG64(entropy))
    uniform: Callable[[], float] = rng.random

    def draw(spread: Spread) -> float:
        # Never 0, of which a normal distribution has no quantile.
        return spread.at((1 - uniform()) * _TAIL)

    def tokens(spread: Spread) -> int:
        return max(1, round(draw(spread)))

    turns = [Turn(tokens(shape.opening_tokens), tokens(shape.reply_tokens))]
    for _ in range(max(2, round(draw(shape.turns))) - 1):
        append, reply = tokens(shape.append_tokens), tokens(shape.reply_tokens)
        turns.append(Turn(append, reply, round(draw(shape.wait_s), 3)))
    return Conversation(tuple(turns))
