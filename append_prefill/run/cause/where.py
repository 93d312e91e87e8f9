"""Which condition of a run moved most for certain: where both sides are then profiled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from append_prefill.errors import UsageError
from append_prefill.records.comparison import Comparison, PointEffect
from append_prefill.records.run import Run
from append_prefill.workload.traffic import DEFAULT, Traffic


@dataclass(frozen=True, slots=True)
class Moved:
    """One condition and what the run compared there.

    `experiment` is that of other traffic which it is of, None for a point of the default one.
    `ratio` is candidate over reference, with the ends of its interval.
    """

    experiment: str | None
    traffic: Traffic
    effect: PointEffect
    ratio: float
    low: float
    high: float

    @property
    def surely(self) -> float:
        """Log of how much it moved at least: of the end of its interval that is nearer to none."""
        return max(math.log(self.low), -math.log(self.high))


def moved_most(run: Run, given: Path) -> Moved:
    """The condition of a confirmed change that moved most for certain.

    Among those that moved as the verdict says, a slower one before a faster one. Conditions on
    aged servers are left out: what is profiled would have to age first. `given` is what the user
    named the run by. Raises UsageError for a run that is no confirmed change.
    """
    made: list[tuple[str | None, Traffic, Comparison]] = []
    if run.comparison is not None:
        made.append((None, DEFAULT, run.comparison))
    made += [
        (one.experiment, one.traffic, one.comparison)
        for one in run.traffic
        if one.comparison is not None and one.state == "fresh"
    ]
    changed = [one for one in made if one[2].verdict in ("regression", "improvement")]
    if not changed:
        raise UsageError(
            "RUN",
            given,
            "found no change to explain.",
            "Give a run whose verdict is a regression, or an improvement.",
        )
    confirmed = [one for one in changed if one[2].confirmed]
    if not confirmed:
        raise UsageError(
            "RUN",
            given,
            "only suspects: its sides were not measured side by side.",
            "Confirm it first; the command stands in its report.",
        )
    found = [
        Moved(experiment, traffic, effect, effect.ratio, effect.low, effect.high)
        for experiment, traffic, comparison in confirmed
        for effect in comparison.points
        if effect.ratio is not None and effect.low is not None and effect.high is not None
        if (effect.ratio > 1) == (comparison.verdict == "regression")
    ]
    slower = [one for one in found if one.ratio > 1]
    if not found:
        raise UsageError(
            "RUN",
            given,
            "tells of no point that moved as its verdict says.",
            "Give a run whose record has effects at its points.",
        )
    return max(slower or found, key=lambda one: one.surely)
