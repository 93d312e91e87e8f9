"""Where a change shows most: the experiment whose points a bisection then measures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from append_prefill.errors import UsageError
from append_prefill.records.comparison import PointEffect
from append_prefill.records.run import Run
from append_prefill.workload.profile import Profile


def experiment_of(run: Run, profile: Profile) -> str:
    """Id of the experiment whose mean change is largest beside its points' intervals, in whichever
    traffic.

    A point's noise is mostly its launch's, so that an experiment of many points is no surer than
    one of few: their number does not count. Raises UsageError for a run that compared nothing at
    the profile's points.
    """
    effects = {} if run.comparison is None else {one.point: one for one in run.comparison.points}
    clear = {
        experiment.id: _clear([effects[p] for p in experiment.as_points if p in effects])
        for experiment in profile.experiments
        if any(point in effects for point in experiment.as_points)
    }
    clear |= {
        one.experiment: _clear(one.comparison.points)
        for one in run.traffic
        if one.comparison is not None and one.comparison.points
    }
    if not clear:
        raise UsageError(
            "--from",
            run.profile,
            f"compared nothing at a point of profile {profile.name}.",
            "Name its own profile with --profile, or what to measure with --experiment.",
        )
    return max(clear, key=lambda name: clear[name])


def traffic_of(experiments: Sequence[str], profile: Profile) -> str | None:
    """The experiment in other traffic that is named; None where points are.

    Raises UsageError for one among others: each traffic is compared by itself.
    """
    named = [name for name in experiments if name in {one.id for one in profile.traffic}]
    if named and len(experiments) > 1:
        raise UsageError(
            "--experiment",
            named[0],
            "is of other traffic, which is compared by itself.",
            "Name it alone, or only experiments of points.",
        )
    return named[0] if named else None


def _clear(effects: list[PointEffect]) -> float:
    """The mean change over the mean half-width, both log; 0 where no point has an interval."""
    known = [
        (math.log(e.ratio), math.log(e.high / e.low) / 2)
        for e in effects
        if e.ratio is not None and e.low is not None and e.high is not None
    ]
    if not known:
        return 0.0
    half = fmean(half for _, half in known)
    return abs(fmean(change for change, _ in known)) / half if half > 0 else math.inf
