"""From a point that is too slow to the edges of what is slow around it, by bisection."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from append_prefill.analysis.cliffs.expected import LOG_BOUND, Expected
from append_prefill.records.cliffs import Axis, Edge
from append_prefill.run.cliffs.prober import MEDIAN_SE, Prober
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Limits

SAMPLES_MAX = 16
"""Of one point: then the scatter of a shared CPU (17 %) leaves 5 %, a third of the bound."""

SURE_SE = 3.0
"""Standard errors between a decision's cut and what it separates: one in 700 is wrong, and a search
makes a hundred or two. A wrong one costs the sharp edge, and so the suspect, and no alarm."""

SAMPLES_MIN = 3
"""A median of three ignores one outlier, as the first request of a new shape may be."""


FIRST_STRIDE_PART = 16
"""The first stride from a point is a sixteenth of its tokens: as wide as the narrowest band that a
search is likely to come upon."""

EDGE_SAMPLES_MAX = 40
"""Of the two points of an edge, whose difference is what may be worth fresh launches."""


@dataclass(frozen=True, slots=True)
class Sharp:
    """An edge and how far TTFT jumps there beyond what is expected, on the log scale."""

    edge: Edge
    jump: float


@dataclass(frozen=True, slots=True)
class Located:
    """How far what is slow reaches from a point along each axis, and its edges, sharpest first."""

    context_tokens: tuple[int, int]
    append_tokens: tuple[int, int]
    edges: tuple[Sharp, ...]


def locate(
    prober: Prober,
    expected: Expected,
    limits: Limits,
    point: Point,
    *,
    inside: float,
    outside: float,
) -> Located | None:
    """Bisect from `point` to all four sides. `inside`, `outside`: excesses that tell the two apart.

    None where a decision could not be measured. Raises OutOfBudgetError.
    """
    cut, half = (inside + outside) / 2, (inside - outside) / 2
    samples = min(SAMPLES_MAX, max(SAMPLES_MIN, math.ceil(_needed(prober, half))))

    def is_slow(at: Point) -> bool | None:
        excess = excess_of(prober, expected, at, samples)
        return None if excess is None else excess > cut

    reach: dict[Axis, list[int]] = {"context": [], "append": []}
    edges = []
    for axis in ("append", "context"):
        for side, end in enumerate(_ends(axis, limits, point)):
            found = _border(is_slow, point, axis, end)
            if found is None:
                return None
            last, beyond = found
            if beyond is None:
                # As far as the profile goes: where the total is the limit, too, the rest is unseen.
                last = _axis_limits(axis, limits)[side]
            reach[axis].append(last)
            if beyond is not None:
                sharp = _sharp(
                    prober, expected, axis, _at(point, axis, last), _at(point, axis, beyond)
                )
                if sharp is not None:
                    edges.append(sharp)
    return Located(
        context_tokens=(reach["context"][0], reach["context"][1]),
        append_tokens=(reach["append"][0], reach["append"][1]),
        edges=tuple(sorted(edges, key=lambda sharp: -sharp.jump)),
    )


def excess_of(prober: Prober, expected: Expected, point: Point, samples: int) -> float | None:
    """How much a point takes beyond what is expected, on the log scale."""
    value = prober.log_ms(point, samples)
    return None if value is None else value - expected.log_ms(point)


def _needed(prober: Prober, half: float) -> float:
    """Samples whose median errs by `half` in one of `SURE_SE`."""
    return (SURE_SE * MEDIAN_SE * prober.noise_sd / half) ** 2


def _axis_limits(axis: Axis, limits: Limits) -> tuple[int, int]:
    return limits.append_tokens if axis == "append" else limits.context_tokens


def _ends(axis: Axis, limits: Limits, point: Point) -> tuple[int, int]:
    """The least and the most tokens on an axis, the point's on the other one given."""
    low, high = _axis_limits(axis, limits)
    return low, min(high, limits.total_tokens - point.total_tokens + _tokens(point, axis))


def _tokens(point: Point, axis: Axis) -> int:
    return point.append_tokens if axis == "append" else point.context_tokens


def _at(point: Point, axis: Axis, tokens: int) -> Point:
    if axis == "append":
        return replace(point, append_tokens=tokens)
    return replace(point, context_tokens=tokens)


def _border(
    is_slow: Callable[[Point], bool | None], point: Point, axis: Axis, end: int
) -> tuple[int, int | None] | None:
    """The last slow and the first other tokens from `point` towards `end`.

    In strides that double until one is not slow, so that the nearest edge is found where another
    cliff lies behind; then by bisection. The second is None where all strides to `end` are slow.
    """
    slow = start = _tokens(point, axis)
    side = 1 if end > start else -1
    stride = max(1, start // FIRST_STRIDE_PART)
    other: int | None = None
    while slow != end and other is None:
        next_tokens = start + side * min(stride, abs(end - start))
        told = is_slow(_at(point, axis, next_tokens))
        if told is None:
            return None
        slow, other = (next_tokens, None) if told else (slow, next_tokens)
        stride *= 2
    if other is None:
        return slow, None
    while abs(slow - other) > 1:
        middle = (slow + other) // 2
        told = is_slow(_at(point, axis, middle))
        if told is None:
            return None
        slow, other = (middle, other) if told else (slow, middle)
    return slow, other


def _sharp(
    prober: Prober, expected: Expected, axis: Axis, slow: Point, fast: Point
) -> Sharp | None:
    samples = min(EDGE_SAMPLES_MAX, max(SAMPLES_MIN, math.ceil(2 * _needed(prober, LOG_BOUND))))
    for point in (slow, fast):
        prober.forget(point)
    # By turns, so that what the level does falls on both.
    values: list[float | None] = []
    for taken in range(1, samples + 1):
        values = [prober.log_ms(point, taken) for point in (slow, fast)]
    if values[0] is None or values[1] is None:
        return None
    step = expected.step(slow, fast)
    edge = Edge(
        axis=axis,
        fast=(fast.context_tokens, fast.append_tokens),
        slow=(slow.context_tokens, slow.append_tokens),
        expected_ratio=math.exp(step),
    )
    return Sharp(edge, values[0] - values[1] - step)
