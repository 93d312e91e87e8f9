"""When the parts of the joint test raise an alarm, and when a run passes.

The run's false-alarm rate is split over the parts by `design.SHARES` (Bonferroni, so it holds
whatever their dependence), and among the points by Benjamini & Hochberg's step-up rule, which
rejects something exactly when Simes' global test does.

A contrast alone is no regression: where the floor sank, the far end has an excess and is no
slower. So the place of a contrast also has to be slower in absolute terms, by `min_effect` at least
and significantly: at a nominal 5 % (one-sided), at the whole rate if the level leans the other way,
and at a third of it, stepped up over the points, if the level has moved the other way (at 5 %).
Simulated with the study's points, launch sd 1 %: where nothing differs 0.5 % of runs alarm; where
some points sank and none rose, 0.2 to 2 %, and 4 % at worst (every other point 3 % faster, which
one session's level cannot tell from the other half being slower). Without the three steps: 10 %.

Points that are rejected together may have moved together, as those at the floor do: several at once
are called only where what they have in common shows by their launches alone, at the points' share.
Where points scatter in two strata that no profile names, three times as far as it assumes, two and
three pairs alarmed in up to 3.3 and 2.8 % of runs of nothing, and do in 1.3 and 1.4, of which the
level makes 0.4 and 1.0 (`python -m benchmarks.assumption`). One point is found as often as before;
three at once need more pairs: +5 % at a scatter of 1.5 % each 24 times in 100 by three pairs and
not 66, 93 by five and not 99.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from append_prefill.analysis.design import BoolArray, Design
from append_prefill.analysis.estimator import Part
from append_prefill.analysis.joint import Joint
from append_prefill.analysis.moderation import FloatArray
from append_prefill.analysis.summary import CONFIDENCE
from append_prefill.workload.policy import Stratum

NOMINAL = 0.05
"""One-sided rate at which a contrast's place must be slower in absolute terms."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Which parts say that the candidate is slower (or faster).

    Bool arrays of the batch's shape, `points` with one more axis.
    """

    level: BoolArray
    strata: dict[Stratum, BoolArray]
    slopes: dict[str, BoolArray]
    points: BoolArray

    @property
    def any(self) -> BoolArray:
        """Whether the joint test rejects."""
        found = self.level | self.points.any(axis=-1)
        for part in (*self.strata.values(), *self.slopes.values()):
            found = found | part
        return np.asarray(found)


def step_up(p: FloatArray, rate: float) -> BoolArray:
    """Benjamini & Hochberg's rejections along the last axis."""
    ranked = np.sort(p, axis=-1)
    small = ranked <= rate * np.arange(1, p.shape[-1] + 1) / p.shape[-1]
    # Up to the largest that is small for its rank; below every p where none is.
    highest = np.where(small, ranked, -1.0).max(axis=-1, keepdims=True)
    return np.asarray(p <= highest)


def alarm(joint: Joint, design: Design, *, alpha: float, min_effect: float, sign: int) -> Alarm:
    """The joint test in one direction, at a false-alarm rate of at most `alpha`.

    `min_effect` is relative; `sign` +1 looks for a slower candidate, -1 for a faster one, for
    which the effect worth a name is its reciprocal.
    """
    least = float(np.log1p(min_effect))
    shares = design.shares

    level = joint.level
    # Shapes (..., 1), as the ends' are; they broadcast over points.
    leaning, opposed = sign * level.estimate < 0, level.p(-sign) <= NOMINAL

    def there(part: Part) -> BoolArray:
        p = part.p(sign)
        shown = np.where(
            opposed, step_up(p, alpha / 3), np.where(leaning, p <= alpha, p <= NOMINAL)
        )
        return np.asarray((sign * part.estimate >= least) & shown)

    def mean(part: Part, share: float) -> BoolArray:
        said = (part.p(sign) <= alpha * share) & (sign * part.estimate >= least)
        return np.asarray(said[..., 0])

    strata = {name: mean(part, shares[name]) for name, part in joint.strata.items()}
    slopes = {
        axis: ((part.p(sign) <= alpha * shares[axis]) & there(joint.ends[axis]))[..., 0]
        for axis, part in joint.slopes.items()
    }
    points = np.zeros(joint.absolute.estimate.shape, dtype=np.bool_)
    if "points" in shares:
        points = step_up(joint.excess.p(sign), alpha * shares["points"]) & there(joint.absolute)
        alone = points.sum(axis=-1, keepdims=True) <= 1
        points &= alone | (joint.together(points).p(sign) <= alpha * shares["points"])
    return Alarm(mean(level, shares["level"]), strata, slopes, points)


def passes(
    joint: Joint, *, must_catch: float, confidence: float = CONFIDENCE, hold_rate: float = 0.0
) -> BoolArray:
    """Whether no slow-down of `must_catch` can hide: the upper ends of the two-sided intervals of
    that `confidence` of the level, of the strata and of the far halves of m and L are below it.

    Single points are no part of the promise: five launches cannot give it, and each shows its own
    minimum detectable effect. With a `hold_rate` a pass is held back where one of them stands out
    slower than the others at that one-sided rate, which is for an analysis that has others after
    it.
    """
    most = float(np.log1p(must_catch))
    parts = [joint.level, *joint.strata.values(), *joint.ends.values()]
    uppers = [(part.estimate + part.spread.half_width(confidence))[..., 0] for part in parts]
    passed = np.asarray(np.all(np.stack(uppers) < most, axis=0))
    if not hold_rate:
        return passed
    return np.asarray(passed & ~step_up(joint.excess.p(1), hold_rate).any(axis=-1))
