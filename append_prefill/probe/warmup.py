"""Warm-up until stationary: detected, bounded, recorded."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import median

import numpy as np

from append_prefill.errors import InfrastructureError
from append_prefill.probe.plan import Task
from append_prefill.probe.sample import Sample
from append_prefill.records.launch import Warmup
from append_prefill.workload.points import Point
from append_prefill.workload.traffic import Condition

# Rounds a window: three is the least that has a median which ignores one outlier.
WINDOW = 3
# A drift below 0.5 % a window is a sixth of the 3 % a pass must not hide, and the blocks'
# random order spreads what is left evenly over the points.
TOLERANCE = 0.005


LONG_TOKENS = 16_384
"""A point of more tokens is heavy: it takes as long as a round of shorter ones, all of it in chunks
of a size that those warm."""

HEAVY_WARMUP_ROUNDS = 2
"""Rounds of the warm-up with what is heavy in them. It takes as long as hundreds of points do, and
what a first batch of a size has to compile or to capture is done once; the rest tells whether the
server is stationary."""


def is_heavy(task: Task) -> bool:
    """Whether it is left out of all but the first rounds."""
    return task.total_tokens > LONG_TOKENS if isinstance(task, Point) else task.heavy


def drift(rounds: Sequence[Mapping[Condition, float]]) -> tuple[float, float] | None:
    """Change between the last window and the one before: (mean log ratio, its standard error).

    `rounds` maps each condition to a TTFT in ms. None while there are fewer than two windows or
    fewer than two conditions common to all of their rounds.
    """
    if len(rounds) < 2 * WINDOW:
        return None
    before, last = rounds[-2 * WINDOW : -WINDOW], rounds[-WINDOW:]
    common = set.intersection(*(set(r) for r in (*before, *last)))
    if len(common) < 2:
        return None
    changes = np.array(
        [
            math.log(median(r[key] for r in last)) - math.log(median(r[key] for r in before))
            for key in sorted(common)
        ]
    )
    return float(changes.mean()), float(changes.std(ddof=1) / math.sqrt(len(changes)))


def is_stationary(rounds: Sequence[Mapping[Condition, float]]) -> bool:
    """Whether the last two windows differ by no more than the tolerance or their own noise."""
    change = drift(rounds)
    if change is None:
        return False
    mean, error = change
    # Two standard errors: of what is stationary already, one check in twenty asks for another
    # round, which costs a second; a real decline is several errors until it has died out.
    return abs(mean) <= max(TOLERANCE, 2 * error)


NOTHING_VALID = "no sample of a round of the warm-up was valid"
"""What is said of a server that answers, and proves no split."""


def refuse_nothing_valid(samples: Sequence[Sample], who: str) -> None:
    """Raise InfrastructureError where no sample of a round is valid: the next would be no other."""
    reasons = Counter(sample.result for sample in samples if isinstance(sample.result, str))
    if samples and reasons.total() == len(samples):
        reason, count = reasons.most_common(1)[0]
        raise InfrastructureError(f"{who}: {NOTHING_VALID}. {count} of {len(samples)}: {reason}")


def warm_up(one_round: Callable[[], Mapping[Condition, float]], *, rounds_max: int) -> Warmup:
    """Run rounds over all shapes until stationary, or `rounds_max` of them.

    `one_round` takes one sample a condition and returns the TTFTs in ms of the valid ones.
    """
    started = time.monotonic()
    rounds: list[Mapping[Condition, float]] = []
    stationary = False
    while len(rounds) < rounds_max and not stationary:
        rounds.append(one_round())
        stationary = is_stationary(rounds)
    return Warmup(rounds=len(rounds), stationary=stationary, seconds_s=time.monotonic() - started)
