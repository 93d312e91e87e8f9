"""What text or a chat costs over the same point as ids: tokenizing, templating, per token.

Within a launch the same point is measured in both forms, in the same blocks, so the difference of
the two medians is the front end's. A line through it over the prompt's tokens has what every
request pays and what each further token does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from append_prefill.analysis.summary import samples_of, t_interval, usable
from append_prefill.records.figures import Estimate
from append_prefill.records.launch import Start
from append_prefill.records.traffic import OverIds
from append_prefill.workload.traffic_experiment import TrafficExperiment

POINTS_MIN = 2
"""A line takes two lengths."""


def over_ids(starts: Sequence[Start], experiment: TrafficExperiment) -> OverIds | None:
    """Over one side's usable launches, intervals over launches; None where nothing can be told.

    That is, for an experiment of ids, and where no launch has two of its points, of different
    lengths, in both forms.
    """
    if experiment.form == "ids":
        return None
    lines = []
    for start in usable(starts, None):
        own = start.within(experiment.conditions)
        lengths, differences = [], []
        for condition in experiment.conditions:
            a, b = samples_of(own, condition.point), samples_of(start, condition.point)
            if a.size and b.size:
                lengths.append(condition.point.total_tokens)
                differences.append(float(np.median(a) - np.median(b)))
        if len(set(lengths)) >= POINTS_MIN:
            lines.append(np.polyfit(np.array(lengths) / 1000, differences, 1))
    if not lines:
        return None
    slopes, fixed = np.array(lines).T
    return OverIds(fixed_ms=_estimate(fixed), per_1000_tokens_ms=_estimate(slopes))


def _estimate(values: np.ndarray) -> Estimate:
    interval = t_interval(values)
    return Estimate(value=interval.value, low=interval.low, high=interval.high)
