"""Where a level moved along an ordered list of positions: a posterior over its steps.

The levels of versions (log TTFT over that of the first) are a path that is flat but for a few
steps. A comparison of any two positions gives the difference of their levels with a standard error,
so it bears on the sum of the steps between them, and comparisons of different pairs add up.

The posterior is that of a spike-and-slab model. Between two neighbours lies a step with a small
probability, its size normal, as wide as what was seen or a part of that; otherwise a creep too
small to be worth a name. Positions that nobody has asked about lie in one *gap*: what is known of
it is its sum and whether there is a step in it. For each choice of the gaps that hold a step all is
normal, so its weight and the sizes have a closed form; the choices are enumerated, or where they
are many, those within a factor of the best are found from it (Occam's window, Madigan & Raftery,
JASA 1994). The search is Bayesian noisy bisection (Horstein 1963; Waeber, Frazier & Henderson 2013)
with more than one step and answers that say how sure they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from append_prefill.analysis.moderation import FloatArray

BoolArray = NDArray[np.bool_]

EXPECTED_STEPS = 1.0
"""Steps that are expected over the whole list beforehand: whoever asks has seen one. More are found
where the data show them; at ten positions that costs each 2 nats of evidence, a difference of two
standard errors."""

MOST_LIKELY = 0.5
"""A boundary of a short list is no likelier to hold the step than not to."""

SCALE_LEAST = 0.05
"""Standard deviation of a step's size, on the log scale, where none was seen yet: regressions that
were reported lie between 2 and 20 %. Beyond it, the largest difference measured."""

NARROWER = (1.0, 2.0)
"""A change may be one step of its whole size, or several of a part of it. Steps are as wide as the
largest difference measured, or half of that, each as likely beforehand: were the widest alone
assumed, a small step would have to be proven against it, and two small ones beside
each other would be taken for one."""

CREEP_SHARE = 1 / 3
"""What all boundaries without a step may add up to, as a part of the least effect that is worth a
name (its standard deviation). Small enough that creep hardly ever reaches a name (three standard
deviations), large enough that versions which differ by a little everywhere are not given a step."""

ENUMERATED = 10
"""Up to so many gaps all choices are weighed: 1,024, a few milliseconds."""

WINDOW = 1e-4
"""A choice this much less likely than the best is left out. Some hundreds of such do not add up to
the hundredth by which a step is named."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One comparison: log of the level at `later` over that at `earlier`, with standard error.

    `se` is half of the 95 % interval over 1.96, so that what few launches leave open is in it.
    """

    earlier: int
    later: int
    log_ratio: float
    se: float


@dataclass(frozen=True, slots=True)
class Path:
    """The posterior. `at` are the positions that tell gaps apart, from the first to the last.

    `holds`, shape (choices, gaps): which gaps hold a step; `weight` their probabilities; `mean`
    (choices, gaps) and `covariance` (choices, gaps, gaps) are the gaps' log sizes under each.
    """

    at: tuple[int, ...]
    holds: BoolArray
    weight: FloatArray
    mean: FloatArray
    covariance: FloatArray

    @property
    def lengths(self) -> list[int]:
        """How many boundaries each gap has; 1 lies between two neighbours."""
        return [b - a for a, b in zip(self.at[:-1], self.at[1:], strict=True)]

    def between(self, earlier: int, later: int) -> FloatArray:
        """1 for the gaps from one of `at` to another, 0 for the others; shape (gaps,)."""
        first, last = self.at.index(earlier), self.at.index(later)
        row = np.zeros(len(self.at) - 1)
        row[first:last] = 1.0
        return row

    def chance(self, gaps: Sequence[int]) -> float:
        """Probability that there is a step in at least one of these gaps."""
        return float(self.weight @ self.holds[:, list(gaps)].any(axis=1))


def path_of(
    count: int, compared: Sequence[Compared], *, least: float, apart: Iterable[int] = ()
) -> Path:
    """The posterior over the steps of `count` positions, numbered from 0.

    `least`: the smallest log step that is worth a name. `apart`: positions that gaps are to be cut
    at beside those that were compared. Raises ValueError for fewer than two positions.
    """
    if count < 2:
        raise ValueError(f"a path needs two positions, not {count}")
    ends = {0, count - 1}
    at = tuple(sorted(ends.union(apart, *((c.earlier, c.later) for c in compared))))
    lengths = np.diff(at).astype(np.float64)
    chance = min(MOST_LIKELY, EXPECTED_STEPS / (count - 1))
    absent = (1 - chance) ** lengths
    scale = max(SCALE_LEAST, *(abs(c.log_ratio) for c in compared), 0.0)
    creep = (CREEP_SHARE * least) ** 2 * lengths / (count - 1)
    rows = np.zeros((len(compared), len(lengths)))
    for row, one in zip(rows, compared, strict=True):
        row[at.index(one.earlier) : at.index(one.later)] = 1.0
    weighed = rows / np.array([one.se**2 for one in compared]).reshape(-1, 1)
    widest = _Model(
        information=weighed.T @ rows,
        seen=weighed.T @ np.array([one.log_ratio for one in compared]),
        creep=creep,
        slab=scale**2,
        log_odds=np.log1p(-absent) - np.log(absent),
    )
    models = [replace(widest, slab=(scale / narrower) ** 2) for narrower in NARROWER]
    short = len(lengths) <= ENUMERATED
    holds = [_all(len(lengths)) if short else _window(model) for model in models]
    weighed_each = [model.weigh(some) for model, some in zip(models, holds, strict=True)]
    log_weight, mean, covariance = (
        np.concatenate(each) for each in zip(*weighed_each, strict=True)
    )
    weight = np.exp(log_weight - log_weight.max())
    return Path(at, np.concatenate(holds), weight / weight.sum(), mean, covariance)


@dataclass(frozen=True, slots=True)
class _Model:
    """What the comparisons say of the gaps' sizes (`information`, `seen`), and the prior."""

    information: FloatArray
    seen: FloatArray
    creep: FloatArray
    slab: float
    log_odds: FloatArray

    def weigh(self, holds: BoolArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Log weight (up to a constant), mean and covariance of the sizes under each choice."""
        variance = self.creep + self.slab * holds
        precision = self.information + np.einsum("mg,gh->mgh", 1 / variance, np.eye(len(self.seen)))
        covariance = np.linalg.inv(precision)
        mean = covariance @ self.seen
        log_weight = (
            0.5 * mean @ self.seen
            - 0.5 * (np.linalg.slogdet(precision)[1] + np.log(variance).sum(axis=1))
            + holds @ self.log_odds
        )
        return log_weight, mean, covariance


def _all(gaps: int) -> BoolArray:
    numbers = np.arange(2**gaps)
    return np.asarray((numbers[:, None] >> np.arange(gaps)) & 1, dtype=bool)


def _window(model: _Model) -> BoolArray:
    """The choices within `WINDOW` of the best that single changes of others lead to."""
    gaps = len(model.seen)
    known: dict[bytes, float] = {}
    fresh = np.zeros((1, gaps), dtype=bool)
    while len(fresh):
        known.update(zip(map(bytes, fresh), model.weigh(fresh)[0].tolist(), strict=True))
        least = max(known.values()) + np.log(WINDOW)
        good = [one for one in map(bytes, fresh) if known[one] >= least]
        changed = {
            bytes(other)
            for one in good
            for other in np.frombuffer(one, dtype=bool) ^ np.eye(gaps, dtype=bool)
        }
        fresh = np.array(
            [np.frombuffer(one, dtype=bool) for one in sorted(changed - known.keys())], dtype=bool
        ).reshape(-1, gaps)
    least = max(known.values()) + np.log(WINDOW)
    return np.array([np.frombuffer(one, dtype=bool) for one, w in known.items() if w >= least])
