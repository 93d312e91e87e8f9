"""Comparisons that reach no verdict: effect sizes, and why there is no more than that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from append_prefill.analysis.summary import point_medians
from append_prefill.analysis.verdict.effects import bare_point
from append_prefill.records.comparison import Comparison, ComparisonKind, Effect, PointEffect
from append_prefill.records.grounds import ComparisonVerdict, Ground
from append_prefill.records.run import PointSummary, Run
from append_prefill.workload.policy import Policy

STUDY = "the study"


def without_verdict(
    points: Sequence[PointEffect],
    *,
    kind: ComparisonKind,
    label: str,
    version: str | None,
    provenance: str,
    reason: Ground,
    verdict: ComparisonVerdict = "inconclusive",
) -> Comparison:
    """`points` as they are, and the mean of their log ratios as the level."""
    logs = [np.log(p.ratio) for p in points if p.ratio is not None]
    surface = []
    if logs:
        surface.append(
            Effect(
                name="level",
                reference=None,
                candidate=None,
                ratio=float(np.exp(np.mean(logs))),
                low=None,
                high=None,
                p=None,
                mde=None,
                verdict=verdict,
            )
        )
    return Comparison(
        reference=label,
        reference_version=version,
        kind=kind,
        provenance=provenance,
        confirmed=False,
        method=None,
        points=list(points),
        surface=surface,
        mde=None,
        starts_needed=None,
        verdict=verdict,
        where=[],
        reason=reason,
    )


def compare_with_study(points: Sequence[PointSummary], study: Run, policy: Policy) -> Comparison:
    """Effect sizes of the candidate's points against the study's table, never a verdict.

    `points` of `study` are used if it has any, else the medians of its launches. Points with a
    ratio below `min_effect` from 1 are no different from any other here: one value has no scatter.
    """
    table = {p.point: p.median_ms for p in study.points}
    if not table:
        table = dict(point_medians(study.starts))
    effects = [
        bare_point(p.point, table[p.point], p.median_ms)
        for p in points
        if p.median_ms is not None and table.get(p.point) is not None
    ]
    if not effects:
        return without_verdict(
            effects,
            kind="baseline",
            label=STUDY,
            version=study.version,
            provenance="study",
            reason=Ground(code="no-common-point"),
            verdict="not-comparable",
        )
    beyond = sum(p.ratio is not None and p.ratio >= 1 + policy.min_effect for p in effects)
    return without_verdict(
        effects,
        kind="baseline",
        label=STUDY,
        version=study.version,
        provenance="study",
        reason=Ground(
            code="one-value-a-point", slower_points=beyond, least_effect=policy.min_effect
        ),
    )
