"""What a run is held against: the noise it is judged by, a control, the launches of a reference.

Pure, as `run.comparing` is, which asks for it.
"""

from __future__ import annotations

import statistics

from append_prefill.analysis.prior import prior_of, with_nights
from append_prefill.analysis.summary import (
    as_candidate,
    start_medians,
    usable,
)
from append_prefill.analysis.verdict.comparison import Control
from append_prefill.analysis.verdict.regime import Against
from append_prefill.records.identity import differences
from append_prefill.records.launch import Start
from append_prefill.records.noise import NoiseRecord
from append_prefill.records.run import Run
from append_prefill.workload.points import Point
from append_prefill.workload.policy import Noise
from append_prefill.workload.profile import Profile

FEWEST_CONTROL_PAIRS = 2
"""Pairs with a control of which each session needs as many, to know how they scatter."""


def noise_for(
    run: Run, profile: Profile, baseline: Run | None, site: NoiseRecord | None = None
) -> Noise | NoiseRecord:
    """The noise to judge by: the baseline's if it is of this identity and has one, else `site`'s.

    Noise is the device's more than the version's, so that of another version of the same identity
    is better than the profile's assumption, which is what is left.
    """
    own = None
    if baseline is not None and not differences(run, baseline, profile.identity_not_binding):
        own = baseline.noise
    known = own or site
    return profile.noise if known is None else with_nights(known, profile.noise)


def control_of(run: Run, baseline: Run) -> Control | None:
    """The control that both runs had beside their candidate; None where there is none.

    That is a version of which each has two whole pairs or more. Any reference will do, whether it
    was measured for its own sake or as a control; what it is called has to be one, its arguments
    are those of the identity.
    """
    told = {start.version for start in run.starts if start.side == "reference"}
    for version in sorted(version for version in told if version is not None):
        own, other = run.control_pairs(version), baseline.control_pairs(version)
        if min(len(own), len(other)) >= FEWEST_CONTROL_PAIRS:
            return Control(version, own, other)
    return None


def reference_starts(run: Run, profile: Profile, baseline: Run | None) -> list[Start]:
    """The launches of what the candidate is held against, as candidate; empty without any.

    Those of this run's other side, else those of a stored run of the same identity.
    """
    own = run.beside("reference")
    if own:
        return [as_candidate(start) for start in own]
    if baseline is None or baseline.provenance == "study":
        return []
    if differences(run, baseline, profile.identity_not_binding):
        return []
    return usable(baseline.starts, "candidate")


def held_against(
    run: Run, profile: Profile, baseline: Run | None, site: NoiseRecord | None = None
) -> Against | None:
    """Median TTFT in ms of what the candidate is held against; None without any.

    A stored run of another identity is none: its hardware would pass for a regime shift. The
    study's table is one, being what the findings claim. How sessions differ is known as it is for
    the comparison (`noise_for`), or assumed where that knows of one session alone.
    """
    medians = start_medians(reference_starts(run, profile, baseline))
    if medians:
        beside = bool(run.beside("reference"))
        pairs = beside and all(s.interleaved for s in run.starts if s.usable)
        known = prior_of(noise_for(run, profile, baseline, site))
        if known.night_sd is None:
            known = prior_of(profile.noise)
        return Against(medians, {}, paired=pairs, sessions=None if beside else known)
    if baseline is None:
        return None
    if baseline.provenance != "study" and differences(run, baseline, profile.identity_not_binding):
        return None
    # The study has a row an experiment, so several for one point.
    rows: dict[Point, list[float]] = {}
    for p in baseline.points:
        if p.median_ms is not None:
            rows.setdefault(p.point, []).append(p.median_ms)
    return Against({}, {point: statistics.median(values) for point, values in rows.items()})
