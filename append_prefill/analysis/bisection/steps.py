"""What a posterior over a path says: the steps that are sure, how large, and what is still open."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from append_prefill.analysis.bisection.path import BoolArray, Path
from append_prefill.analysis.moderation import FloatArray
from append_prefill.analysis.summary import CONFIDENCE

SURE = 0.99
"""A step is named between two positions where its probability is that: one name in a hundred may be
wrong."""

MISSED = 0.02
"""How likely a step that is worth a name may still be where none was named, all gaps together, for
the search to end."""


@dataclass(frozen=True, slots=True)
class Worth:
    """Which log steps matter: from `least` one is worth a name, from `caught` none may be missed.

    A search goes on for those worth a name, and a step of about that size takes long to be told
    from less: of 0.5.17 on two CPU cores, +1.4 % (0.1 to 2.5) where 1.5 is worth a name, five
    comparisons in 14 minutes told nothing. So a budget that is spent before tells which of the two
    is open.
    """

    least: float
    caught: float


@dataclass(frozen=True, slots=True)
class Sized:
    """A log size with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Step:
    """A change of the level somewhere after position `before` and no later than `after`.

    `chance`: how likely there is one; `size` is the whole change from one to the other.
    """

    before: int
    after: int
    chance: float
    size: Sized

    @property
    def found(self) -> bool:
        """Whether it lies between two neighbours."""
        return self.after - self.before == 1


@dataclass(frozen=True, slots=True)
class Told:
    """`steps` in the order of the positions; `rest` is what the level moves by beside them.

    `open_chance`: the probabilities, summed, of steps worth a name where none is named,
    `hidden_chance` of those among them that must be caught.
    """

    steps: tuple[Step, ...]
    rest: Sized
    open_chance: float
    hidden_chance: float


def told_of(path: Path, worth: Worth) -> Told:
    """What is sure of a path."""
    windows, least = _windows(path), worth.least
    steps = []
    named: set[int] = set()
    for first, last in windows:
        gaps = list(range(first, last))
        size = sized(path, _row(path, gaps), given=np.any(path.holds[:, gaps], axis=1))
        named.update(gaps)
        # What is sure to be too small for a name is no news, and not open either.
        if size.high < least and size.low > -least:
            continue
        steps.append(Step(path.at[first], path.at[last], path.chance(gaps), size))
    others = [gap for gap in range(len(path.at) - 1) if gap not in named]
    return Told(
        steps=tuple(steps),
        rest=sized(path, _row(path, others)),
        open_chance=sum(_reaches(path, gap, least) for gap in others),
        hidden_chance=sum(_reaches(path, gap, worth.caught) for gap in others),
    )


def level_at(path: Path, position: int) -> Sized:
    """The level at one of the path's positions over that at the first, log."""
    return between(path, path.at[0], position)


def between(path: Path, earlier: int, later: int) -> Sized:
    """The level at one of the path's positions over that at an earlier one, log."""
    return sized(path, path.between(earlier, later))


def sized(path: Path, row: FloatArray, *, given: BoolArray | None = None) -> Sized:
    """Of a sum of gaps (`row` of ones and zeros): median and 95 % interval of the mixture.

    `given`: the choices it is conditional on, all by default.
    """
    weight = path.weight if given is None else path.weight * given
    kept = weight > weight.max() * 1e-6
    weight = weight[kept] / weight[kept].sum()
    mean = path.mean[kept] @ row
    sd = np.sqrt(np.maximum(np.einsum("g,mgh,h->m", row, path.covariance[kept], row), 1e-18))
    low, value, high = _quantiles(weight, mean, sd).tolist()
    return Sized(value, low, high)


# So many standard deviations off, no quantile that is asked for lies; halved so often, what is left
# of them is a millionth of one.
_BEYOND, _HALVINGS = 8.0, 24
_PROBABILITIES = np.array([(1 - CONFIDENCE) / 2, 0.5, (1 + CONFIDENCE) / 2])


def _quantiles(weight: FloatArray, mean: FloatArray, sd: FloatArray) -> FloatArray:
    """Of a mixture of normals, at `_PROBABILITIES`."""
    low = np.full(3, (mean - _BEYOND * sd).min())
    high = np.full(3, (mean + _BEYOND * sd).max())
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        above = special.ndtr((middle[:, None] - mean) / sd) @ weight >= _PROBABILITIES
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return np.asarray((low + high) / 2)


def _row(path: Path, gaps: list[int]) -> FloatArray:
    row = np.zeros(len(path.at) - 1)
    row[gaps] = 1.0
    return row


def _windows(path: Path) -> list[tuple[int, int]]:
    """The shortest stretches of gaps, [first, last), that surely hold a step; none overlap."""
    count = len(path.at) - 1
    taken: list[tuple[int, int]] = []
    for length in range(1, count + 1):
        sure = [
            (path.chance(range(first, first + length)), first)
            for first in range(count - length + 1)
            if not any(first < b and a < first + length for a, b in taken)
        ]
        for chance, first in sorted(sure, key=lambda one: (-one[0], one[1])):
            free = not any(first < b and a < first + length for a, b in taken)
            if chance >= SURE and free:
                taken.append((first, first + length))
    return sorted(taken)


def _reaches(path: Path, gap: int, least: float) -> float:
    """Probability that a gap holds a step of that size or more."""
    holds = path.holds[:, gap]
    if not holds.any():
        return 0.0
    mean, sd = path.mean[holds, gap], np.sqrt(path.covariance[holds, gap, gap])
    beyond = special.ndtr((mean - least) / sd) + special.ndtr((-least - mean) / sd)
    return float(path.weight[holds] @ beyond)
