"""Which launches are compared with which: both sides of a run, and each stored reference.

Pure: what to compare with has been read by the caller. Every rule of judgement is in `analysis/`;
here is only which of them speaks, in which order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from append_prefill.analysis.prior import Prior
from append_prefill.analysis.summary import (
    CONFIDENCE,
    summarise_points,
    usable,
)
from append_prefill.analysis.verdict.comparison import compare
from append_prefill.analysis.verdict.unjudged import compare_with_study
from append_prefill.records.comparison import Comparison, Look, Role
from append_prefill.records.grounds import ComparisonVerdict, Ground, Side
from append_prefill.records.identity import differences
from append_prefill.records.launch import Start
from append_prefill.records.noise import NoiseRecord
from append_prefill.records.run import Run
from append_prefill.run.against import (
    control_of,
    noise_for,
)
from append_prefill.run.references import References
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile


class Level(NamedTuple):
    """Of an interim analysis: its one-sided false-alarm rate, and the confidence of a pass.

    `alpha_faster`: the rate at which it calls something faster, None where it is the same.
    """

    alpha: float
    pass_confidence: float
    alpha_faster: float | None = None


def paired(starts: Sequence[Start], side: Side) -> list[Start]:
    """The usable launches of a side whose pair has a usable launch of the other side too."""
    other: Side = "reference" if side == "candidate" else "candidate"
    pairs = {s.pair for s in usable(starts, other)}
    return [s for s in usable(starts, side) if s.pair in pairs]


def compare_all(
    run: Run,
    profile: Profile,
    references: References,
    *,
    replicable: bool,
    looks: Sequence[Look] = (),
    level: Level | None = None,
    known: Prior | None = None,
) -> Comparison | None:
    """The comparison that counts, with the others in `others`; None without any.

    `level` as in `judge`; `known` as in `compare_sides`. Side by side counts before what is stored
    of the same version. Of the stored ones the chosen baseline counts, unless it sees no regression
    and another one does.
    """
    stored = compare_references(run, profile, references, replicable=replicable)
    if level is None and looks:
        # As at the last interim analysis, which saw the same launches.
        level = Level(looks[-1].threshold, looks[-1].pass_confidence)
    beside = compare_sides(
        run,
        profile,
        references,
        alpha=level.alpha if level else None,
        alpha_faster=level.alpha_faster if level else None,
        pass_confidence=level.pass_confidence if level else CONFIDENCE,
        known=known,
    )
    if beside is not None:
        beside = beside.model_copy(update={"looks": list(looks)})
        # Side by side decides about its own reference; about another version it says nothing, and
        # of a version against itself neither does it about a stored run.
        decided = beside.reference_version if beside.verdict != "not-comparable" else None
        if decided is None or decided == run.version:
            open_ = stored
        else:
            open_ = [c for c in stored if c.reference_version != decided]
        worst = next((c for c in open_ if c.verdict == "regression"), None)
        if worst is None or beside.verdict == "regression":
            return beside.model_copy(update={"others": stored})
        others = [beside, *(c for c in stored if c is not worst)]
        return worst.model_copy(update={"others": others})
    if not stored:
        return None
    counts = next((c for c in stored if c.verdict == "regression"), stored[0])
    return counts.model_copy(update={"others": [c for c in stored if c is not counts]})


def compare_references(
    run: Run,
    profile: Profile,
    references: References,
    *,
    replicable: bool,
    rate: float | None = None,
) -> list[Comparison]:
    """Against each stored reference, the chosen one first.

    They share the false-alarm rate equally (Bonferroni), so that several references do not mean
    several chances of a false alarm. `rate` is that of the run, by default the policy's.
    """
    stored = references.stored
    judged = sum(1 for _, r in stored if r.provenance != "study") or 1
    alpha = (profile.policy.false_alarm_rate if rate is None else rate) / judged
    return [
        compare_stored(
            run,
            profile,
            reference,
            replicable=replicable,
            role=role,
            alpha=alpha,
            site=references.noise,
        )
        for role, reference in stored
    ]


def compare_sides(
    run: Run,
    profile: Profile,
    references: References,
    *,
    alpha: float | None = None,
    alpha_faster: float | None = None,
    pass_confidence: float = CONFIDENCE,
    hold_rate: float = 0.0,
    known: Prior | None = None,
) -> Comparison | None:
    """Both sides of this run against each other; None if only one was measured, or with a control.

    `references` may know the noise, unless it is `known`; `alpha` is the false-alarm rate of this
    interim analysis, by default the policy's whole, `alpha_faster`, `pass_confidence` and
    `hold_rate` as in `compare`.
    """
    shown = run.beside("candidate"), run.beside("reference")
    both = [*shown[0], *shown[1]]
    reference = paired(both, "reference")
    if not reference:
        return None
    return compare(
        paired(both, "candidate"),
        reference,
        shown=shown,
        policy=profile.policy,
        noise=known or noise_for(run, profile, references.chosen, references.noise),
        plane=profile.plane,
        kind="side-by-side",
        reference_label=run.against_label or reference[0].version or "reference",
        reference_version=reference[0].version,
        provenance="suite",
        alpha=alpha,
        alpha_faster=alpha_faster,
        pass_confidence=pass_confidence,
        hold_rate=hold_rate,
    )


def compare_stored(
    run: Run,
    profile: Profile,
    baseline: Run,
    *,
    replicable: bool,
    role: Role = "chosen",
    alpha: float | None = None,
    site: NoiseRecord | None = None,
) -> Comparison:
    """The candidate against a stored run: not comparable, a study's, or across sessions.

    `role` is how the reference was chosen; `alpha` its part of the run's false-alarm rate, by
    default the whole; `site` the noise of this identity, for a reference that stored none.
    """
    label = baseline.label or baseline.version or "baseline"
    of_role = {
        "role": role,
        "only_candidate": planned_alone(run, baseline),
        "only_reference": planned_alone(baseline, run),
    }
    if baseline.provenance == "study":
        points = summarise_points(run.starts, profile)
        study = compare_with_study(points, baseline, profile.policy)
        return study.model_copy(update=of_role)
    differing = differences(run, baseline, profile.identity_not_binding)
    if differing:
        return Comparison(
            reference=label,
            reference_version=baseline.version,
            kind="baseline",
            provenance=baseline.provenance,
            confirmed=False,
            method=None,
            points=[],
            surface=[],
            mde=None,
            starts_needed=None,
            verdict="not-comparable",
            where=[],
            reason=Ground(code="identity-differs"),
            differing=differing,
            role=role,
        )
    result = compare(
        usable(run.starts, "candidate"),
        usable(baseline.starts, "candidate"),
        policy=profile.policy,
        noise=noise_for(run, profile, baseline, site),
        plane=profile.plane,
        kind="baseline",
        reference_label=label,
        reference_version=baseline.version,
        provenance=baseline.provenance,
        alpha=alpha,
        control=control_of(run, baseline),
    )
    result = result.model_copy(update=of_role)
    replicated = replicable and baseline.replicated
    return result if replicated else _undecided(result)


def planned_alone(run: Run, other: Run) -> list[tuple[int, int]]:
    """The points of `run`'s experiments, (L, m) sorted, that it measured and `other` did not."""
    alone = _measured(run) - _measured(other)
    return sorted(point for point in run.plan.points if Point(*point) in alone)


def _measured(run: Run) -> set[Point]:
    """Where the candidate has samples; of the study's table, where it has a row."""
    if run.provenance == "study":
        return {p.point for p in run.points}
    return {s.point for start in usable(run.starts, "candidate") for s in start.series if s.ttft_ms}


def _undecided(comparison: Comparison) -> Comparison:
    """The comparison of a server whose launches cannot be replicated: numbers, and no verdict."""

    def open_(verdict: ComparisonVerdict) -> ComparisonVerdict:
        return "not-comparable" if verdict == "not-comparable" else "inconclusive"

    return comparison.model_copy(
        update={
            "verdict": open_(comparison.verdict),
            "points": [
                p.model_copy(update={"verdict": open_(p.verdict)}) for p in comparison.points
            ],
            "surface": [
                e.model_copy(update={"verdict": open_(e.verdict)}) for e in comparison.surface
            ],
            "reason": Ground(code="not-replicated", taken_alone=comparison.verdict),
        }
    )
