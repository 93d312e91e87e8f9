"""Every finding, the study's and the profile's own, held against the profile's bounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from append_prefill.analysis.claims import findings_of
from append_prefill.analysis.findings import Inputs, NotApplicableError, Spec
from append_prefill.analysis.measures import Measured, MissingError
from append_prefill.analysis.own_scatter import own_half_width, without_each_block
from append_prefill.analysis.summary import start_medians, usable
from append_prefill.analysis.verdict.gates import Gated, gate
from append_prefill.analysis.verdict.regime import Against
from append_prefill.records.grounds import FindingGround
from append_prefill.records.launch import Start
from append_prefill.records.run import Finding
from append_prefill.workload.profile import Profile


def measure(spec: Spec, inputs: Inputs) -> Measured:
    """The finding with an interval no narrower than the launches' own blocks leave it.

    Raises NotApplicableError and MissingError as `spec.measure` does.
    """
    measured = spec.measure(inputs)

    def logs(replicates: Sequence[Inputs]) -> Iterator[float]:
        for less in replicates:
            with suppress(MissingError):  # of a point that only this block measured
                again = spec.measure(less)
                if again.starts == measured.starts:
                    yield again.log

    return measured.at_least(own_half_width([list(logs(of)) for of in inputs.without]))


def judge_finding(
    spec: Spec,
    inputs: Inputs,
    against: Against | None,
    before: Inputs | None = None,
) -> Finding:
    """One finding: measured, and held against the profile's bound.

    Verdicts: `holds` and `broken` need the whole interval on one side; `regime-shift` is broken
    with a reference that shows the far end not slower (within must_catch) and the near end faster
    (by min_effect), or that is beyond the bound itself (then `standing`); `not-applicable` if the
    profile gives no bound, no limit or no points, or says that the claim has no meaning, or the
    server is too small for one of its points;
    `inconclusive` otherwise, so also where planned points yielded nothing valid.
    """
    profile = inputs.profile
    bound = profile.bound_of(spec.id)
    ratio = None if against is None else against.ratio_of(inputs.cells)
    measured: Measured | None = None
    try:
        measured = measure(spec, inputs)
    except NotApplicableError as error:
        gated = Gated("not-applicable", FindingGround(code="not-planned", text=str(error)))
    except MissingError as error:
        left = {one.point for start in inputs.starts for one in start.left_out}
        if error.point is not None and error.point in left:
            label = error.point.label
            gated = Gated("not-applicable", FindingGround(code="left-out", text=label))
        else:
            gated = Gated("inconclusive", FindingGround(code="not-measured", text=str(error)))
    if bound is None:
        gated = Gated("not-applicable", FindingGround(code="no-bound", text=profile.name))
    elif not bound.meaningful:
        gated = Gated("not-applicable", FindingGround(code="no-meaning"))
    elif measured is not None:
        stood = _measured_before(spec, before)
        gated = gate(measured, bound, ratio, profile.policy, before=stood)
    elif bound.limit is None:
        lacking = gated.ground.text
        gated = Gated("not-applicable", FindingGround(code="not-gated", text=lacking))
    return Finding(
        id=spec.id,
        claim=spec.claim,
        formula=spec.formula,
        study_value=spec.study_value,
        measured=measured.value if measured else None,
        low=measured.low if measured else None,
        high=measured.high if measured else None,
        bound=bound.limit if bound else None,
        argument=bound.argument if bound else "",
        verdict=gated.verdict,
        standing=gated.standing,
        reason=gated.ground,
        details=measured.details if measured else {},
    )


def _measured_before(spec: Spec, before: Inputs | None) -> Measured | None:
    """The finding as the reference measured it; None where it has nothing to measure it on."""
    try:
        return None if before is None else measure(spec, before)
    except (NotApplicableError, MissingError):
        return None


def judge_findings(
    starts: Sequence[Start],
    profile: Profile,
    *,
    against: Against | None,
    kv_bytes_per_token: int | None,
    link_gb_per_s: float,
    kv_fixed_bytes: int = 0,
    before: Sequence[Start] = (),
) -> list[Finding]:
    """Every finding of the study, then the profile's own, judged on the candidate's launches.

    `against`: the run compared with, or None; `before`: its launches, as candidate, where it has
    any. Both only serve to tell a regime shift, new or
    standing, from a broken finding. `link_gb_per_s`: the profile's link.
    """

    def inputs(some: Sequence[Start]) -> Inputs:
        medians = start_medians(some)
        return Inputs(some, medians, profile, kv_bytes_per_token, link_gb_per_s, kv_fixed_bytes)

    def with_replicates(some: Sequence[Start]) -> Inputs:
        counted = usable(some, "candidate")
        return replace(
            inputs(some),
            without=[
                [
                    inputs([less if start is launch else start for start in counted])
                    for less in without_each_block(launch)
                ]
                for launch in counted
            ],
        )

    own, other = with_replicates(starts), with_replicates(before)
    return [judge_finding(spec, own, against, other) for spec in findings_of(profile)]
