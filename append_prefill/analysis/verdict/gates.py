"""A measured finding against its bound: holds, broken, a shifted regime, or cannot tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from append_prefill.analysis.measures import Measured
from append_prefill.analysis.summary import Interval
from append_prefill.analysis.verdict.regime import Ratio, regime_of
from append_prefill.records.grounds import FindingGround, FindingVerdict
from append_prefill.workload.experiment import Bound
from append_prefill.workload.policy import Policy


@dataclass(frozen=True, slots=True)
class Gated:
    """A finding's verdict and why; `standing` as in the record."""

    verdict: FindingVerdict
    ground: FindingGround
    standing: bool = False


def gate(
    measured: Measured,
    bound: Bound,
    ratio: Ratio | None,
    policy: Policy,
    *,
    before: Measured | None = None,
) -> Gated:
    """Verdict of a measured finding, and why, under a bound that has a meaning.

    `ratio`: of the candidate to the run compared with, None without one. `before`: the finding as
    that run measured it, None if it has no launches to measure it on.

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
    regime = regime_of(measured, ratio, policy)
    ground = FindingGround.model_validate({"code": "beyond", **regime.facts})
    if regime.shifted:
        return Gated("regime-shift", ground.model_copy(update={"code": "shifted"}))
    if before is not None and before.value > limit:
        stood = {"reference_value": before.value, "reference_high": before.high}
        if before.high is None or measured.low <= before.high:
            standing = ground.model_copy(update={"code": "standing", **stood})
            return Gated("regime-shift", standing, standing=True)
        ground = ground.model_copy(update={"code": "further-out", **stood})
    elif regime.shifted is None:
        return Gated("inconclusive", ground.model_copy(update={"code": "shift-unclear"}))
    return Gated("broken", ground)


def gate_cost(
    measured: Interval | None,
    bound: Bound | None,
    profile: str,
    broken: Literal["held-up", "pair-costs"],
) -> Gated:
    """The same of what others cost a request, which has no near end that could have got cheaper.

    `measured` is a ratio with its interval over launches, None where no sample of it is valid;
    `broken` the ground where it lies beyond the bound of that profile.
    """
    if bound is None:
        return Gated("not-applicable", FindingGround(code="no-bound", text=profile))
    if not bound.meaningful:
        return Gated("not-applicable", FindingGround(code="no-meaning"))
    if bound.limit is None:
        return Gated("not-applicable", FindingGround(code="not-gated"))
    if measured is None:
        return Gated("inconclusive", FindingGround(code="not-measured", text="no valid sample"))
    if measured.low is None or measured.high is None:
        return Gated("inconclusive", FindingGround(code="one-launch"))
    if measured.high <= bound.limit:
        return Gated("holds", FindingGround(code="within"))
    if measured.low <= bound.limit:
        return Gated("inconclusive", FindingGround(code="straddles"))
    return Gated("broken", FindingGround(code=broken))
