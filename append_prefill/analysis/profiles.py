"""What two sides' sampled profiles differ by: milliseconds per request, function by function.

A stack is a tuple of names, the process's role first, then its frames from the outermost to the
one that ran. Profiles of a launch are the time spent in each stack; launches are the replicates.

Idle is not cost. What blocks (a socket, a lock) is on no core, and a sampler of what runs sees it
by mistake only, as it goes to sleep or wakes up. What polls it does see: an idle scheduler that
spins is as busy as one that works. Neither of the two obvious remedies is right. To subtract a
recording of the idle server that is as long as the requests' takes away what was never there: a
scheduler that works does not poll meanwhile, and the longer a candidate's requests take, the more
would be taken from it. To count all that is seen while a request is under way makes every process
slow that waits for a slow one: with 2 ms more in the HTTP server the scheduler polls 2 ms longer.
So a stack that any thread of the idle server stands in is left out as a whole, as often as requests
show it: it is waiting, and what requests add to it are wake-ups, which on a busy host are waits for
a core.

It has to be waiting on both sides, or what a version does in its loop for the first time would be
left out as well: the function that a stack ends in must end a stack of the other side's idle
server, too, by whichever callers, since versions put wrappers around the same loop. What this
cannot see is a function that both sides call while idle and that is slower in one: it looks like a
loop that polls.

Who waits for a GPU does so on a core, spinning. That is no cost either: what is waited for are the
kernels, and a scheduler that hands them over sooner waits the longer. On an H200 that of SGLang
0.5.17 waited 13 ms a request with prefill graphs and 4.1 without, where a request took 28 and 32.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from append_prefill.analysis.own_scatter import at_least
from append_prefill.analysis.summary import Interval, t_interval

Stack = tuple[str, ...]
Function = tuple[str, str]
"""A process's role, and a function in it."""

_K = TypeVar("_K")

DEVICE_WAITS = frozenset(
    {
        "torch.cuda.streams:Event.synchronize",
        "torch.cuda.streams:Stream.synchronize",
        "torch.cuda:synchronize",
    }
)
"""Where a thread stands on a core until the GPU is done."""

_NORMAL_HALF = 1.96  # standard deviations, of a 95 % interval


@dataclass(frozen=True, slots=True)
class Profile:
    """One launch: the time on a core in each stack, in ms, while `requests` were served, and the
    time in it, on a core or not, while none was.
    """

    busy_ms: Mapping[Stack, float]
    requests: int
    idle_ms: Mapping[Stack, float]


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean ms per request of each side, None where that side never showed it, and candidate minus
    reference with a 95 % interval over pairs of launches.
    """

    reference_ms: float | None
    candidate_ms: float | None
    delta_ms: Interval


def waiting(mine: Sequence[Profile], other: Sequence[Profile]) -> frozenset[Stack]:
    """The stacks of one side that are waiting, given the launches of the other."""
    there = {_end(stack) for one in other for stack in one.idle_ms}
    return frozenset(stack for one in mine for stack in one.idle_ms if _end(stack) in there)


def _end(stack: Stack) -> Function:
    return stack[0], stack[-1]


def per_request(profile: Profile, left_out: frozenset[Stack]) -> dict[Stack, float]:
    """Ms per request of each stack but those left out. Raises ValueError without a request."""
    if profile.requests < 1:
        raise ValueError("a profile of no request says nothing per request")
    return {s: ms / profile.requests for s, ms in profile.busy_ms.items() if s not in left_out}


def split_waits(stacks: Mapping[Stack, float]) -> tuple[dict[Stack, float], float]:
    """The stacks that are no wait for the GPU, and the ms of those that are."""
    kept = {stack: ms for stack, ms in stacks.items() if stack[-1] not in DEVICE_WAITS}
    return kept, sum(ms for stack, ms in stacks.items() if stack[-1] in DEVICE_WAITS)


def self_ms(stacks: Mapping[Stack, float]) -> dict[Function, float]:
    """Time in each function itself, what it calls in C included."""
    found: defaultdict[Function, float] = defaultdict(float)
    for stack, ms in stacks.items():
        found[_end(stack)] += ms
    return dict(found)


def inclusive_ms(stacks: Mapping[Stack, float]) -> dict[Function, float]:
    """Time in each function and in all that it calls; once where it calls itself."""
    found: defaultdict[Function, float] = defaultdict(float)
    for stack, ms in stacks.items():
        for frame in {*stack[1:]} or {stack[0]}:
            found[stack[0], frame] += ms
    return dict(found)


def differences(
    candidates: Sequence[Mapping[_K, float]],
    references: Sequence[Mapping[_K, float]],
    *,
    sample_ms: float,
) -> dict[_K, Difference]:
    """Every key of either side, by pairs: the n-th of both are launches of one pair.

    A launch that never showed a key spent no time there that its samples could tell from none, and
    counts as 0 in the difference. `sample_ms` is what one sample stands for per request, 0 where
    times were not sampled: counts scatter by their root (Poisson), and an interval is never
    narrower than that makes it, however alike a few launches look. Raises ValueError where the
    sides are not as many, or none.
    """
    if not candidates or len(candidates) != len(references):
        raise ValueError("profiles are compared in pairs, of which there must be one")
    keys = dict.fromkeys(key for one in (*candidates, *references) for key in one)
    found = {}
    for key in keys:
        new = np.array([one.get(key, 0.0) for one in candidates])
        old = np.array([one.get(key, 0.0) for one in references])
        found[key] = Difference(
            float(old.mean()) if any(key in one for one in references) else None,
            float(new.mean()) if any(key in one for one in candidates) else None,
            at_least(
                t_interval(new - old),
                _NORMAL_HALF * math.sqrt(sample_ms * float((new + old).sum()) / len(new) ** 2),
            ),
        )
    return found


def ranked(found: Mapping[_K, Difference], *, slower_first: bool = True) -> list[_K]:
    """The keys by their difference: what the candidate takes more in first, or last.

    By the estimate and not by the near end of its interval: with two or three pairs that says more
    of the scatter of a function's own few differences than of its size.
    """
    return sorted(found, key=lambda key: found[key].delta_ms.value, reverse=slower_first)


def mean_of(profiles: Sequence[Mapping[_K, float]]) -> dict[_K, float]:
    """The mean over launches of each key; a launch that never showed one counts as 0."""
    return {key: ms / len(profiles) for key, ms in _summed(profiles).items()}


def _summed(profiles: Iterable[Mapping[_K, float]]) -> dict[_K, float]:
    total: defaultdict[_K, float] = defaultdict(float)
    for one in profiles:
        for key, ms in one.items():
            total[key] += ms
    return dict(total)
