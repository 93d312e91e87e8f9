"""The joint test's arrays as the record's effects: one a joint quantity, one a point."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from append_prefill.analysis.detection import PRIOR_WORTH, detectable, proportional
from append_prefill.analysis.estimator import Part
from append_prefill.analysis.moderation import FloatArray
from append_prefill.analysis.verdict.alarms import NOMINAL, step_up
from append_prefill.analysis.verdict.joint_test import Judged
from append_prefill.analysis.verdict.sides import Sides
from append_prefill.records.comparison import Effect, PointEffect
from append_prefill.records.grounds import ComparisonVerdict, Quantity
from append_prefill.workload.points import Point
from append_prefill.workload.policy import Policy, Stratum

STRATUM: dict[Stratum, Quantity] = {"floor": "floor_points", "compute": "compute_points"}
GROWTH: dict[str, Quantity] = {"append": "append_growth", "context": "context_growth"}
END: dict[str, Quantity] = {"append": "append_end", "context": "context_end"}

MEDIANS_APART_P = 0.01
"""Two-sided, as rare as a false alarm is allowed to be: a note that stands by every other run would
not be read."""


LOG_MAX = float(np.log(1e9))
"""A ratio beyond 1e9 either way is no value: an interval that wide has no end there."""


def _ratio(log: float) -> float | None:
    """A log ratio as a ratio; None where it is beyond all that could be measured."""
    return None if abs(log) > LOG_MAX else float(np.exp(log))


def _larger(*effects: float | None) -> float | None:
    """The largest; None (cannot tell) if one of them is."""
    known = [effect for effect in effects if effect is not None]
    return max(known) if len(known) == len(effects) else None


def _mde(part: Part, alpha: float, min_effect: float, own_df: float, at: int = 0) -> float | None:
    se, df = float(part.spread.se[at]), float(part.spread.df[at])
    # Degrees of freedom beyond this run's own come from a prior, and count in part: see detection.
    df = min(df, own_df + PRIOR_WORTH * (df - own_df))
    return detectable(se, df, alpha, min_effect=min_effect)


def _two_sided(part: Part, at: int = 0) -> float:
    return float(min(1.0, 2 * min(part.p(1)[at], part.p(-1)[at])))


def _effect(
    name: Quantity,
    part: Part,
    *,
    mde: float | None,
    verdict: ComparisonVerdict,
    tokens: int | None = None,
    from_tokens: int | None = None,
) -> Effect:
    value, half = float(part.estimate[0]), float(part.spread.half_width()[0])
    return Effect(
        name=name,
        tokens=tokens,
        from_tokens=from_tokens,
        reference=None,
        candidate=None,
        ratio=_ratio(value),
        low=_ratio(value - half),
        high=_ratio(value + half),
        p=_two_sided(part),
        mde=mde,
        verdict=verdict,
    )


def _with_times(effect: Effect, timed: Part, row: FloatArray, times_ms: FloatArray) -> Effect:
    """The effect in milliseconds, too: `row` are its points' weights, `timed` the mean by time."""
    mean_ms = float(row @ times_ms / row.sum())
    value, half = float(timed.estimate[0]), float(timed.spread.half_width()[0])
    ratios = [_ratio(x) for x in (value, value - half, value + half)]
    delta, low, high = (None if x is None else mean_ms * (x - 1) for x in ratios)
    return effect.model_copy(
        update={
            "reference": mean_ms,
            "candidate": None if delta is None else mean_ms + delta,
            "delta_ms": delta,
            "low_ms": low,
            "high_ms": high,
        }
    )


def surface_effects(
    sides: Sides, judged: Judged, policy: Policy, times_ms: FloatArray
) -> list[Effect]:
    """The joint test's quantities, in its order; `times_ms` is the reference's TTFT by point."""
    joint, design, shares = judged.joint, judged.design, judged.design.shares
    active = judged.faster if judged.verdict == "improvement" else judged.slower
    alpha, least = judged.alpha, policy.min_effect
    own_df = sides.own_df

    def mean(name: Quantity, part: Part, share: float, said: bool) -> Effect:
        mde = _mde(part, alpha * share, least, own_df)
        return _effect(
            name, part, mde=mde, verdict=judged.part_verdict(said, part, policy.must_catch)
        )

    level = mean("level", joint.level, shares["level"], bool(active.level))
    effects = [_with_times(level, joint.timed["level"], design.weights, times_ms)]
    for stratum, part in joint.strata.items():
        effect = mean(STRATUM[stratum], part, shares[stratum], bool(active.strata[stratum]))
        group = design.strata[stratum]
        append = [p.append_tokens for p, there in zip(design.points, group, strict=True) if there]
        where = {"tokens": max(append), "from_tokens": min(append)}
        effect = effect.model_copy(update=where)
        effects.append(
            _with_times(effect, joint.timed[stratum], group.astype(np.float64), times_ms)
        )
    for slope in design.slopes:
        excess, end = joint.slopes[slope.axis], joint.ends[slope.axis]
        rejected = bool(active.slopes[slope.axis])
        mde = _mde(excess, alpha * shares[slope.axis], 0.0, own_df)
        # An effect in proportion to the tokens shows only `lever` of itself as excess; and a
        # place must be slower in absolute terms as well.
        mde_end = _larger(proportional(mde, slope.lever), _mde(end, NOMINAL, least, own_df))
        effects.append(
            _effect(
                GROWTH[slope.axis],
                excess,
                mde=mde,
                verdict=judged.part_verdict(rejected, excess, policy.must_catch),
            )
        )
        effect = _effect(
            END[slope.axis],
            end,
            tokens=slope.tokens,
            from_tokens=slope.from_tokens,
            mde=mde_end,
            verdict=judged.part_verdict(rejected, end, policy.must_catch),
        )
        effects.append(_with_times(effect, joint.timed[slope.axis], slope.end, times_ms))
    return effects


def median_level(sides: Sides, policy: Policy) -> float | None:
    """The level's ratio in medians, where it is another than in the statistic that is compared.

    That is: by `must_catch` or more, and beyond what happens once in a hundred runs. Then samples
    scatter differently on the two sides, which the statistic alone would take for speed.
    """
    rest = [
        (middle - figure).mean(axis=1, keepdims=True)
        for middle, figure in (
            (sides.candidate_medians, sides.candidate),
            (sides.reference_medians, sides.reference),
        )
    ]
    part = Part(rest[0].mean(axis=0) - rest[1].mean(axis=0), sides.spread(*rest))
    apart = abs(float(part.estimate[0])) >= np.log1p(policy.must_catch)
    if not apart or _two_sided(part) > MEDIANS_APART_P:
        return None
    return _ratio(float(sides.candidate_medians.mean() - sides.reference_medians.mean()))


def point_effects(
    bare: Sequence[PointEffect], judged: Judged, policy: Policy, *, own_df: float
) -> list[PointEffect]:
    """All common points; those left out of the joint test stay `bare`, without a verdict.

    `own_df`: the degrees of freedom of the run's own launches.
    """
    joint = judged.joint
    share = judged.alpha * judged.design.shares.get("points", 1.0) / len(judged.design.points)
    active = judged.faster if judged.verdict == "improvement" else judged.slower
    sign = judged.sign
    named = step_up(joint.absolute.p(sign), policy.fdr) & (
        sign * joint.absolute.estimate >= np.log1p(policy.min_effect)
    )
    named = (named | active.points) & bool(active.any)
    half = joint.absolute.spread.half_width()
    pass_half = joint.absolute.spread.half_width(judged.pass_confidence)
    effects = []
    for effect in bare:
        if effect.point not in judged.design.points:
            effects.append(effect)
            continue
        at = judged.design.points.index(effect.point)
        value = float(joint.absolute.estimate[at])
        low, high = value - float(half[at]), value + float(half[at])
        verdict: ComparisonVerdict = "inconclusive"
        if named[at]:
            verdict = judged.verdict
        elif value + pass_half[at] < np.log1p(policy.must_catch):
            verdict = "pass"
        judgement = {
            "ratio": _ratio(value),
            "low": _ratio(low),
            "high": _ratio(high),
            "p": _two_sided(joint.absolute, at),
            "mde": _larger(
                _mde(joint.excess, share, policy.min_effect, own_df, at),
                _mde(joint.absolute, NOMINAL, policy.min_effect, own_df, at),
            ),
            "verdict": verdict,
        }
        effects.append(effect.model_copy(update=judgement))
    return effects


def bare_point(point: Point, reference: float | None, candidate: float | None) -> PointEffect:
    """The medians (ms) at a point and their ratio, of which nothing is judged."""
    return PointEffect(
        context_tokens=point.context_tokens,
        append_tokens=point.append_tokens,
        reference_ms=reference,
        candidate_ms=candidate,
        ratio=candidate / reference if candidate and reference else None,
        low=None,
        high=None,
        p=None,
        mde=None,
        verdict="inconclusive",
    )
