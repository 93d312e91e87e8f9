"""A measured finding against its bound: holds, broken, a shifted regime, or cannot tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from append_prefill.analysis.measures import Measured
from append_prefill.records.run import FindingVerdict
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Bound, Policy


@dataclass(frozen=True, slots=True)
class Gated:
    """A finding's verdict with its reason in a sentence; `standing` as in the record."""

    verdict: FindingVerdict
    reason: str
    standing: bool = False


def _mean_ratio(
    medians: Mapping[Point, float], reference: Mapping[Point, float], points: Sequence[Point]
) -> float | None:
    if not points or any(p not in medians or p not in reference for p in points):
        return None
    return float(np.mean([medians[p] for p in points]) / np.mean([reference[p] for p in points]))


def _regime(
    measured: Measured,
    medians: Mapping[Point, float],
    reference: Mapping[Point, float] | None,
    policy: Policy,
) -> tuple[bool, str]:
    """Whether a broken finding broke because the cheap end got cheaper, and the words for it."""
    if reference is None:
        return False, "No reference tells a lower floor from a slower far end."
    near = _mean_ratio(medians, reference, measured.near)
    far = _mean_ratio(medians, reference, measured.far) if measured.far else 1.0
    if near is None or far is None:
        return False, "The reference lacks the points that would tell a lower floor."
    words = f"Against the reference the near end is at {near:.3f}"
    words += f" and the far end at {far:.3f} times." if measured.far else " times."
    shifted = near <= 1 - policy.min_effect and far <= 1 + policy.must_catch
    return shifted, words


def gate(
    measured: Measured,
    bound: Bound,
    medians: Mapping[Point, float],
    reference: Mapping[Point, float] | None,
    policy: Policy,
    *,
    before: Measured | None = None,
) -> Gated:
    """Verdict and reason of a measured finding under a bound that has a meaning.

    `medians` and `reference`: median TTFT in ms by point, of the candidate and of the run compared
    with. `before`: the finding as that run measured it, None if it has no starts to measure it on.

    Where the reference is beyond the bound too, the regime had shifted before this version, and
    whoever kept that run as the reference has seen it. Red again every night, it would hide the
    night on which something changes; whether this version is slower is the comparison's to say.
    A figure whose interval lies wholly above the reference's own is this version's doing all the
    same: `broken`.
    """
    limit = bound.limit
    if limit is None:
        return Gated("not-applicable", "Reported, not gated.")
    if measured.low is None or measured.high is None:
        return Gated("inconclusive", "One start gives no interval; two or more give a verdict.")
    span = f"[{measured.low:.4g}, {measured.high:.4g}]"
    if measured.high <= limit:
        return Gated("holds", f"The whole 95 % interval {span} is within the bound {limit:g}.")
    if measured.low <= limit:
        return Gated("inconclusive", f"The 95 % interval {span} holds the bound {limit:g}.")
    beyond = f"The whole 95 % interval {span} is beyond the bound {limit:g}."
    shifted, words = _regime(measured, medians, reference, policy)
    if shifted:
        return Gated("regime-shift", f"{beyond} {words}")
    if before is not None and before.value > limit:
        stood = f"So it is in the reference, at {before.value:.4g}"
        if before.high is None or measured.low <= before.high:
            words = f"{stood}: nothing this version brought."
            return Gated("regime-shift", f"{beyond} {words}", standing=True)
        words = f"{stood}, but within {before.high:.4g}: this version is further out."
    return Gated("broken", f"{beyond} {words}")
