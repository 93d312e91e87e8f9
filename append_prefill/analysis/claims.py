"""Claims that a profile makes of its own experiments, by the name of what they measure.

A profile says `measure = "append_ends"`; `MEASURES` says what that is. A name is added here and to
`workload.experiment.MeasureName`, which profiles are validated against.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from append_prefill.analysis.findings import (
    FINDINGS,
    Inputs,
    Spec,
    append,
    band,
    context,
    ends,
    total,
)
from append_prefill.analysis.measures import Measured
from append_prefill.errors import UsageError
from append_prefill.workload.experiment import MeasureName
from append_prefill.workload.profile import Profile


@dataclass(frozen=True, slots=True)
class Measure:
    """A formula in T, L, m and N, and what measures it on the experiment of a given id."""

    formula: str
    of: Callable[[str], Callable[[Inputs], Measured]]


MEASURES: Mapping[MeasureName, Measure] = {
    "append_ends": Measure(
        "T(m_max) / T(m_min)", lambda experiment: ends(experiment, append, {"append": append})
    ),
    "context_ends": Measure(
        "T(L_max) / T(L_min)", lambda experiment: ends(experiment, context, {"context": context})
    ),
    "total_ends": Measure(
        "T(N_max) / T(N_min)", lambda experiment: ends(experiment, total, {"total": total})
    ),
    "total_factor": Measure(
        "(T(N_max) / T(N_min)) / (N_max / N_min)",
        lambda experiment: ends(experiment, total, {"total": total}, over=total),
    ),
    "band": Measure("(max T - min T) / max T", band),
}


def findings_of(profile: Profile) -> tuple[Spec, ...]:
    """The study's findings, then the profile's own in its order.

    Raises UsageError for one of the profile's that has the id of one of the study's.
    """
    own = []
    for experiment in profile.experiments:
        for claim in experiment.findings:
            measure = MEASURES[claim.measure]
            formula = f"{measure.formula} over the points of {experiment.id}"
            own.append(Spec(claim.id, claim.claim, formula, None, measure.of(experiment.id)))
    taken = {spec.id for spec in FINDINGS} & {spec.id for spec in own}
    if taken:
        raise UsageError(
            "--profile",
            profile.name,
            f"calls a finding {', '.join(sorted(taken))}, as the study's is called.",
            "Give it an id of its own; a bound of the study's goes to [bounds].",
        )
    return (*FINDINGS, *own)
