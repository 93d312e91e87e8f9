"""Candidate against reference: is it slower, where, by how much, and how sure are we?

`joint.py` holds the statistics; this module brings records into arrays and back. The order is
fixed: the joint test gates. Unless it rejects in a direction, nothing is called a regression (or
an improvement); where it rejects, points are named at the policy's false-discovery rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from append_prefill.analysis.change import change_of
from append_prefill.analysis.design import ALIKE
from append_prefill.analysis.detection import mde, starts_needed
from append_prefill.analysis.estimator import Part
from append_prefill.analysis.prior import Prior, prior_of
from append_prefill.analysis.shapes import Chunks
from append_prefill.analysis.steps import sizes_of
from append_prefill.analysis.summary import CONFIDENCE, FloatArray, point_medians, usable
from append_prefill.analysis.verdict.effects import (
    GROWTH,
    STRATUM,
    bare_point,
    median_level,
    point_effects,
    surface_effects,
)
from append_prefill.analysis.verdict.joint_test import Judged, joint_test
from append_prefill.analysis.verdict.sides import Sides, sides_of, sides_through_control
from append_prefill.analysis.verdict.unjudged import without_verdict
from append_prefill.records.comparison import Change, Comparison, ComparisonKind, Effect
from append_prefill.records.grounds import ComparisonVerdict, Ground, Method, Quantity
from append_prefill.records.launch import Start
from append_prefill.records.noise import NoiseRecord
from append_prefill.workload.policy import Noise, Plane, Policy


@dataclass(frozen=True, slots=True)
class Control:
    """Both sides' pairs with the control `version`, (side, control), of one session each."""

    version: str
    candidate: Sequence[tuple[Start, Start]]
    reference: Sequence[tuple[Start, Start]]


def compare(
    candidate: Sequence[Start],
    reference: Sequence[Start],
    *,
    policy: Policy,
    noise: Noise | NoiseRecord | Prior,
    plane: Plane = ALIKE,
    kind: ComparisonKind,
    reference_label: str,
    provenance: str,
    reference_version: str | None = None,
    alpha: float | None = None,
    alpha_faster: float | None = None,
    pass_confidence: float = CONFIDENCE,
    hold_rate: float = 0.0,
    shown: tuple[Sequence[Start], Sequence[Start]] | None = None,
    control: Control | None = None,
) -> Comparison:
    """Judge the candidate's launches against the reference's; their `side` is not looked at.

    `control`: both sides' pairs with one control version, each of its own session: their ratios to
    it are compared, and the launches given only tell the times. `shown`: both sides' launches whose
    medians stand as times beside the changes, where those are more than are compared (launches of
    incomplete pairs); by default those that are compared.

    Points are those both measured. `plane` says how they count and which of them are at the floor.
    `alpha` is the one-sided false-alarm rate of this interim analysis, by default the whole of
    `policy.false_alarm_rate`, `pass_confidence` that of the intervals a pass rests on, `hold_rate`
    that at which a single point holds a pass back; an adaptive run hands over what
    `sequential.schedule_of` gives the interim analysis. `improvement` is symmetric, with a
    false-alarm rate of its own, `alpha_faster` where that is another. Launches that were measured
    together are compared within their pairs.

    Verdicts: `regression` if the joint test rejects; `pass` if not and the upper ends of the
    intervals of the level, of the strata and of the far halves of m and L are below `must_catch`,
    and the medians show no slow-down of that size that the compared statistic does not;
    `not-comparable` without a common point; else `inconclusive`, so always with fewer than two
    launches on a side, with the study's table as the reference (one value a point) and, across
    sessions, without a known between-session noise.
    """
    alpha = policy.false_alarm_rate if alpha is None else alpha
    a_starts, b_starts = usable(candidate, None), usable(reference, None)
    points = sorted(
        {s.point for start in a_starts for s in start.series if s.ttft_ms}
        & {s.point for start in b_starts for s in start.series if s.ttft_ms}
    )
    paired = kind == "side-by-side" and all(s.interleaved for s in (*a_starts, *b_starts))
    if paired:
        a_starts, b_starts = _by_pair(a_starts, b_starts)
    times = [point_medians(side) for side in shown or (a_starts, b_starts)]
    bare = [bare_point(point, times[1].get(point), times[0].get(point)) for point in points]

    def cannot(reason: Ground, verdict: ComparisonVerdict = "inconclusive") -> Comparison:
        return without_verdict(
            bare,
            kind=kind,
            label=reference_label,
            version=reference_version,
            provenance=provenance,
            reason=reason,
            verdict=verdict,
        )

    if not points:
        return cannot(Ground(code="no-common-point"), "not-comparable")
    if provenance == "study":
        return cannot(Ground(code="one-value-a-point"))
    prior = prior_of(noise) if control is None else prior_of(noise).through_control()
    if kind == "baseline" and control is None:
        # What sessions differ by is common to all points, and far more than a stratum could show.
        plane = plane.model_copy(update={"floor_append_tokens": None})
    nights = kind == "baseline"
    if nights and prior.night_sd is None:
        return cannot(Ground(code="between-nights-unknown"))
    if control is None:
        sides = sides_of(a_starts, b_starts, points, paired=paired)
    else:
        sides = sides_through_control(control.candidate, control.reference, points)
    if sides.fewest < 2:
        return cannot(
            Ground(
                code="too-few-launches",
                candidate_starts=len(sides.candidate),
                reference_starts=len(sides.reference),
            )
        )
    times_ms = np.array([times[1][point] for point in sides.points])
    judged = joint_test(
        sides,
        prior,
        policy,
        alpha,
        nights=nights,
        plane=plane,
        times_ms=times_ms,
        pass_confidence=pass_confidence,
        hold_rate=hold_rate,
        alpha_faster=alpha_faster,
    )
    apart = median_level(sides, policy)
    if judged.verdict == "pass" and apart is not None and apart >= 1 + policy.must_catch:
        # What may not hide in a pass shows in the medians.
        judged = replace(judged, verdict="inconclusive")
    surface = surface_effects(sides, judged, policy, times_ms)
    needed = _starts_needed(sides, judged, prior, policy, nights=nights)
    return Comparison(
        reference=reference_label,
        reference_version=reference_version,
        kind=kind,
        provenance=provenance,
        confirmed=kind == "side-by-side",
        method=Method(
            statistic="like_samples" if sides.alike else "faster_half",
            paired=paired,
            control=None if control is None else control.version,
            alpha=alpha,
            min_effect=policy.min_effect,
            must_catch=policy.must_catch,
            pass_confidence=pass_confidence,
            noise=prior.source,
        ),
        points=point_effects(bare, judged, policy, own_df=sides.own_df),
        surface=surface,
        mde=_least_everywhere(surface),
        starts_needed=needed,
        verdict=judged.verdict,
        where=[],
        change=_change(
            sides,
            judged,
            policy,
            times_ms,
            (sizes_of(a_starts).chunk_tokens, sizes_of(b_starts).chunk_tokens),
        ),
        slower_points=_slower_points(sides, judged),
        reason=_ground(sides, judged).model_copy(update={"medians_ratio": apart}),
    )


def _by_pair(
    candidate: Sequence[Start], reference: Sequence[Start]
) -> tuple[list[Start], list[Start]]:
    """Both sides in the order of their pairs, without pairs that lack a side."""
    a, b = {s.pair: s for s in candidate}, {s.pair: s for s in reference}
    pairs = sorted(a.keys() & b.keys())
    return [a[pair] for pair in pairs], [b[pair] for pair in pairs]


def _change(
    sides: Sides, judged: Judged, policy: Policy, times_ms: FloatArray, chunks: Chunks
) -> Change | None:
    if judged.verdict not in {"regression", "improvement"}:
        return None
    return change_of(
        judged.design,
        judged.joint,
        times_ms,
        per_start=sides.per_start,
        min_effect=policy.min_effect,
        chunks=chunks,
    )


def _least_everywhere(surface: Sequence[Effect]) -> float | None:
    """The least effect everywhere that one of the means finds 95 times in 100, if one does."""
    means: set[Quantity] = {"level", *STRATUM.values()}
    known = [e.mde for e in surface if e.name in means and e.mde is not None]
    return min(known, default=None)


def _slower_points(sides: Sides, judged: Judged) -> list[tuple[int, int]]:
    """Where a run that changed both ways is slower, which is what its verdict is about."""
    if not (bool(judged.faster.any) and bool(judged.slower.any)):
        return []
    return [
        (point.context_tokens, point.append_tokens)
        for point, said in zip(sides.points, judged.slower.points, strict=True)
        if said
    ]


def _starts_needed(
    sides: Sides, judged: Judged, prior: Prior, policy: Policy, *, nights: bool
) -> int | None:
    """Launches per side for `must_catch` everywhere to be caught 95 times in 100, by the mean over
    all points or over a stratum, whichever takes fewer.

    More than there are if the verdict is inconclusive, since those did not settle it.
    """
    na, nb = len(sides.candidate), len(sides.reference)
    night_sd = (prior.night_sd or 0.0) if nights else 0.0
    shares, joint = judged.design.shares, judged.joint
    means = [(joint.level, shares["level"], prior.level_df(paired=sides.paired))]
    means += [
        (part, shares[name], prior.of_stratum(name, paired=sides.paired)[1])
        for name, part in joint.strata.items()
    ]

    def enough(part: Part, share: float, known_df: float) -> int | None:
        variance = float(part.spread.variance[0]) - 2 * night_sd**2
        start_sd = float(np.sqrt(max(variance, 0.0) / sides.per_start))
        return starts_needed(
            policy.must_catch,
            lambda starts: mde(
                start_sd,
                starts,
                starts,
                judged.alpha * share,
                paired=sides.paired,
                prior_df=known_df,
                night_sd=night_sd,
                night_df=prior.night_df if nights else None,
                night_error=prior.night_error if nights else 0.0,
                min_effect=policy.min_effect,
            ),
        )

    numbers = [enough(*mean) for mean in means]
    needed = min((number for number in numbers if number is not None), default=None)
    if needed is not None and judged.verdict == "inconclusive":
        return max(needed, min(na, nb) + 1)
    return needed


def _ground(sides: Sides, judged: Judged) -> Ground:
    if judged.verdict == "pass":
        ground = Ground(code="nothing-hides")
    elif judged.verdict in {"regression", "improvement"}:
        active = judged.slower if judged.verdict == "regression" else judged.faster
        quantities: list[Quantity] = ["level"] if active.level else []
        quantities += [STRATUM[name] for name, said in active.strata.items() if said]
        quantities += [GROWTH[axis] for axis, said in active.slopes.items() if said]
        ground = Ground(
            code="rejected", quantities=quantities, single_points=bool(active.points.any())
        )
    else:
        ground = Ground(code="undecided")
    return ground.model_copy(
        update={
            "left_out_starts": sides.left_out_starts,
            "left_out_points": sides.left_out_points,
        }
    )
