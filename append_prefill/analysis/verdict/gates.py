"""A measured finding against its bound: holds, broken, a shifted regime, or cannot tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from append_prefill.analysis.measures import Measured
from append_prefill.records.grounds import FindingGround, FindingVerdict
from append_prefill.workload.experiment import Bound
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Policy


@dataclass(frozen=True, slots=True)
class Gated:
    """A finding's verdict and why; `standing` as in the record."""

    verdict: FindingVerdict
    ground: FindingGround
    standing: bool = False


def _mean_ratio(
    medians: Mapping[Point, float], reference: Mapping[Point, float], points: Sequence[Point]
) -> float | None:
    if not points or any(p not in medians or p not in reference for p in points):
        return None
    return float(np.mean([medians[p] for p in points]) / np.mean([reference[p] for p in points]))


@dataclass(frozen=True, slots=True)
class _Regime:
    """Whether a finding is beyond its bound because the cheap end got cheaper, and the ratios."""

    shifted: bool
    facts: dict[str, float | str | None]


def _regime(
    measured: Measured,
    medians: Mapping[Point, float],
    reference: Mapping[Point, float] | None,
    policy: Policy,
) -> _Regime:
    if reference is None:
        return _Regime(False, {"reference_lacks": "everything"})
    near = _mean_ratio(medians, reference, measured.near)
    far = _mean_ratio(medians, reference, measured.far) if measured.far else 1.0
    if near is None or far is None:
        return _Regime(False, {"reference_lacks": "points"})
    shifted = near <= 1 - policy.min_effect and far <= 1 + policy.must_catch
    return _Regime(shifted, {"near_ratio": near, "far_ratio": far if measured.far else None})


def gate(
    measured: Measured,
    bound: Bound,
    medians: Mapping[Point, float],
    reference: Mapping[Point, float] | None,
    policy: Policy,
    *,
    before: Measured | None = None,
) -> Gated:
    """Verdict of a measured finding, and why, under a bound that has a meaning.

    `medians` and `reference`: median TTFT in ms by point, of the candidate and of the run compared
    with. `before`: the finding as that run measured it, None if it has no launches to measure it
    on.

    Where the reference is beyond the bound too, the regime had shifted before this version, and
    whoever kept that run as the reference has seen it. Red again in every run, it would hide the
    run in which something changes; whether this version is slower is the comparison's to say. A
    value whose interval lies wholly above the reference's own is this version's doing all the
    same: `broken`.
    """
    limit = bound.limit
    if limit is None:
        return Gated("not-applicable", FindingGround(code="not-gated"))
    if measured.low is None or measured.high is None:
        return Gated("inconclusive", FindingGround(code="one-launch"))
    if measured.high <= limit:
        return Gated("holds", FindingGround(code="within"))
    if measured.low <= limit:
        return Gated("inconclusive", FindingGround(code="straddles"))
    regime = _regime(measured, medians, reference, policy)
    ground = FindingGround.model_validate({"code": "beyond", **regime.facts})
    if regime.shifted:
        return Gated("regime-shift", ground.model_copy(update={"code": "shifted"}))
    if before is not None and before.value > limit:
        stood = {"reference_value": before.value, "reference_high": before.high}
        if before.high is None or measured.low <= before.high:
            standing = ground.model_copy(update={"code": "standing", **stood})
            return Gated("regime-shift", standing, standing=True)
        ground = ground.model_copy(update={"code": "further-out", **stood})
    return Gated("broken", ground)
