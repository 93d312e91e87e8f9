"""One model of what two sides differ by: Delta(L, m) in milliseconds over the whole plane.

    Delta(L, m) = a few shapes: milliseconds everywhere, a factor on TTFT, milliseconds where TTFT
    is at its floor or where computing shows, microseconds a new token, microseconds a cached token,
    milliseconds a further chunk, and single points (see `shapes`).

What headline, table, plane and curves say is read off the one fit. Its means over the parts that
are spoken of are those that were measured there: the fit is made under that condition, so that no
two numbers of one thing differ. Where the shapes are not the change (`MISFIT_P`), each point is as
measured. It decides no verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from append_prefill.analysis.design import BoolArray, Design
from append_prefill.analysis.estimator import Part
from append_prefill.analysis.joint import Joint
from append_prefill.analysis.moderation import FloatArray, Spread
from append_prefill.analysis.shapes import (
    Chunks,
    Fit,
    Kind,
    Shape,
    bound_to,
    by_point,
    select,
    shapes_of,
)
from append_prefill.analysis.summary import CONFIDENCE
from append_prefill.records.comparison import Change, ChangeAt, ChangeIn, ChangeTerm

MISFIT_P = 0.01
"""Below it the residuals are too large for the form, as once in a hundred runs by chance."""

MOST = 0.75
"""A change of several shapes that moves this part of the points by the least effect, all one way,
is spoken of as a change of the whole plane."""

PLAIN: tuple[Kind, ...] = ("everywhere", "proportional")
"""What is left to be said where only the mean of all points is sure."""

Region = Literal["level", "floor", "compute", "append_end", "context_end", "points"]


def covariance_of(design: Design, joint: Joint, per_start: float) -> FloatArray:
    """Covariance of the points' mean log ratios: what a stratum has in common, and each point's.

    `per_start`: variance of the difference of the sides' means for a variance of 1 per launch (or
    pair).
    """
    count = len(design.points)
    means = list(joint.strata.values()) or [joint.level]
    total = np.zeros((count, count))
    for group, mean in zip(design.groups, means, strict=True):
        own = joint.residual_variance[group] * per_start
        common = max(float(mean.spread.variance[0]) - float(own.mean()) / int(group.sum()), 0.0)
        total[np.ix_(group, group)] = common + np.diag(own)
    return total


def change_of(
    design: Design,
    joint: Joint,
    times_ms: FloatArray,
    *,
    per_start: float,
    min_effect: float,
    chunks: Chunks = (None, None),
) -> Change:
    """The model of change for log ratios `joint.absolute` on the reference's `times_ms`, (points,).

    `joint` must have been made with these times; `min_effect` is the least relative change that is
    spoken of. `chunks`: where a prefill may step up is known from them, and only from them.
    """
    log_ratio = joint.absolute.estimate
    delta_ms = times_ms * np.expm1(log_ratio)
    candidate_ms = times_ms * np.exp(log_ratio)
    of = _Plane(design, joint, times_ms, covariance_of(design, joint, per_start))
    in_ms = of.covariance * np.outer(candidate_ms, candidate_ms)
    precision = np.asarray(np.linalg.inv(in_ms), dtype=np.float64)
    shapes = shapes_of(design, times_ms, chunks)
    fit = select(shapes, delta_ms, precision)
    if of.leans(of.parts(fit, min_effect, sure_only=False)):
        fit = select([s for s in shapes if s.kind in PLAIN], delta_ms, precision)
    df = len(delta_ms) - len(fit.shapes)
    misfit = float(special.chdtrc(df, fit.chi_squared)) if df else None
    fits = misfit is None or misfit >= MISFIT_P
    # Where no few shapes are the change, it is told point by point, as it was measured.
    told = fit if fits else by_point(design.points, delta_ms, in_ms)
    parts = of.parts(told, min_effect, sure_only=not fits)
    conditions = [(of.row(part), part.delta_ms) for part in parts]
    bound, told = bound_to(fit, conditions), bound_to(told, conditions)
    return Change(
        parts=parts,
        terms=_terms(bound, parts, float(joint.level.spread.df[0])),
        points=[
            ChangeAt(
                context_tokens=point.context_tokens,
                append_tokens=point.append_tokens,
                reference_ms=float(times_ms[at]),
                delta_ms=float(told.fitted[at]),
            )
            for at, point in enumerate(design.points)
        ],
        misfit=misfit,
        fits=fits,
    )


@dataclass(frozen=True, slots=True)
class _Plane:
    """What was measured over the plane; `covariance` is of the points' mean log ratios."""

    design: Design
    joint: Joint
    times_ms: FloatArray
    covariance: FloatArray

    def row(self, part: ChangeIn) -> FloatArray:
        """The weights of a part's mean, shape (points,)."""
        points = self.design.points
        inside = np.array([(p.context_tokens, p.append_tokens) in part.points for p in points])
        by_weight = part.region in {"level", "points"}
        weights = inside * (self.design.weights if by_weight else 1.0)
        return np.asarray(weights / weights.sum())

    @property
    def sure(self) -> BoolArray:
        """The points whose change is no chance, for all of them at once (Bonferroni)."""
        alpha = (1 - CONFIDENCE) / len(self.design.points)
        quantile = -float(special.stdtrit(float(self.joint.level.spread.df[0]), alpha / 2))
        half = quantile * np.sqrt(np.diag(self.covariance))
        return np.asarray(np.abs(self.joint.absolute.estimate) > half)

    def parts(self, fit: Fit, min_effect: float, *, sure_only: bool) -> list[ChangeIn]:
        """What the headline speaks of: one part of the plane, or a slower and a faster one.

        `sure_only`: of points whose own change is beyond chance, where `fit` is what was measured
        at each and has borrowed nothing from the others.
        """
        relative = fit.fitted / self.times_ms * (self.sure if sure_only else 1.0)
        slower, faster = relative >= min_effect, relative <= -min_effect
        if slower.any() and faster.any():
            return [self.picked(slower), self.picked(faster)]
        kinds = {shape.kind for shape in fit.shapes}
        moved = slower | faster
        if kinds <= {"everywhere", "proportional"} or not moved.any():
            return [self.fixed("level", proportional=kinds == {"proportional"})]
        if len(fit.shapes) == 1:
            region = self._region_of(fit.shapes[0])
            return [self.picked(fit.shapes[0].where) if region is None else self.fixed(region)]
        if moved.mean() >= MOST:
            return [self.fixed("level")]
        return [self.picked(moved)]

    def leans(self, parts: Sequence[ChangeIn]) -> bool:
        """Whether none of the parts is sure though the mean over all points is.

        The shape that fits best may rest on the one or two points that it is largest at: a cost per
        cached token on the longest context, whose own change is no news.
        """
        level = self.fixed("level")
        return not _is_open(level) and all(map(_is_open, parts))

    def _region_of(self, shape: Shape) -> Region | None:
        """The part fixed beforehand that a shape is about; None where there is none."""
        match shape.kind:
            case "floor" | "compute" if shape.kind in self.joint.strata:
                return shape.kind
            case "append" if "append" in self.joint.ends:
                return "append_end"
            case "context" if "context" in self.joint.ends:
                return "context_end"
        return None

    def fixed(self, region: Region, *, proportional: bool = False) -> ChangeIn:
        """A part that was fixed beforehand, as the joint test measured it."""
        design, joint = self.design, self.joint
        name = region.removesuffix("_end")
        match region:
            case "level":
                part, row = joint.level, design.weights
            case "floor" | "compute":
                part, row = joint.strata[region], design.strata[region].astype(np.float64)
            case _:
                part = joint.ends[name]
                row = next(slope.end for slope in design.slopes if slope.axis == name)
        # Of a factor the milliseconds follow; else they are measured as what they are.
        timed = part if proportional else joint.timed[name]
        mean_ms = float(row @ self.times_ms / row.sum())
        return self._part(region, row > 0, (part, timed), mean_ms, CONFIDENCE)

    def picked(self, where: BoolArray) -> ChangeIn:
        """Points that the fit has picked: their mean.

        One that was picked because it moved most has an interval that bears as many choices as
        there are points (Bonferroni). Several are picked by their sign, which a mean that is worth
        a name leaves little choice about.
        """
        weights = self.design.weights * where
        row = weights / weights.sum()
        by_time = weights * self.times_ms / float(weights @ self.times_ms)
        df = self.joint.level.spread.df
        part, timed = (
            Part(
                np.array([row @ self.joint.absolute.estimate]),
                Spread(np.array([row @ self.covariance @ row]), df),
            )
            for row in (row, by_time)
        )
        choices = len(self.design.points) if where.sum() == 1 else 1
        confidence = 1 - (1 - CONFIDENCE) / choices
        mean_ms = float(row @ self.times_ms)
        return self._part("points", where, (part, timed), mean_ms, confidence)

    def _part(
        self,
        region: Region,
        where: BoolArray,
        measured: tuple[Part, Part],
        mean_ms: float,
        confidence: float,
    ) -> ChangeIn:
        """`measured`: the mean over the points `where`, and weighed by time, whose mean is
        `mean_ms`.
        """
        values = []
        for part in measured:
            value, half = float(part.estimate[0]), float(part.spread.half_width(confidence)[0])
            values.append((value, value - half, value + half))
        ratio, low, high = (float(np.exp(x)) for x in values[0])
        delta_ms, low_ms, high_ms = (mean_ms * float(np.expm1(x)) for x in values[1])
        inside = [p for p, there in zip(self.design.points, where, strict=True) if there]
        outside = [p for p, there in zip(self.design.points, where, strict=True) if not there]
        return ChangeIn(
            region=region,
            ratio=ratio,
            low=low,
            high=high,
            delta_ms=delta_ms,
            low_ms=low_ms,
            high_ms=high_ms,
            points=[(p.context_tokens, p.append_tokens) for p in inside],
            append_tokens=_range(*([p.append_tokens for p in some] for some in (inside, outside))),
            context_tokens=_range(
                *([p.context_tokens for p in some] for some in (inside, outside))
            ),
        )


def _is_open(part: ChangeIn) -> bool:
    return part.low <= 1 <= part.high


def _range(inside: Sequence[int], outside: Sequence[int]) -> tuple[int, int] | None:
    """Least and most of a part, where no other point lies between them; None else, or for all."""
    least, most = min(inside), max(inside)
    apart = outside and not any(least <= tokens <= most for tokens in outside)
    return (least, most) if apart else None


def _terms(fit: Fit, parts: Sequence[ChangeIn], df: float) -> list[ChangeTerm]:
    """The shapes, the strongest (by its standard error) first."""
    se = np.sqrt(np.diag(fit.covariance))
    half = float(special.stdtrit(df, (1 + CONFIDENCE) / 2)) * se
    picked = 1 - (1 - CONFIDENCE) / len(fit.fitted)
    half_picked = float(special.stdtrit(df, (1 + picked) / 2)) * se
    order = np.argsort(-np.abs(fit.coefficients) / np.where(se > 0, se, np.inf))
    terms = []
    for at in order:
        shape, value = fit.shapes[at], float(fit.coefficients[at])
        wide = float((half_picked if shape.kind == "point" else half)[at])
        low, high = value - wide, value + wide
        if len(fit.shapes) == 1 and len(parts) == 1:
            # It is what the part says, so it is as sure.
            low, high = _as_part(shape, value, parts[0])
        terms.append(
            ChangeTerm(
                kind=shape.kind,
                value=value,
                low=low,
                high=high,
                context_tokens=shape.context_tokens,
                append_tokens=shape.append_tokens,
            )
        )
    return terms


def _as_part(shape: Shape, value: float, part: ChangeIn) -> tuple[float, float]:
    """The interval of the only shape: that of its part, in the shape's unit."""
    if shape.kind == "proportional":
        return part.low - 1, part.high - 1
    scale = value / part.delta_ms if part.delta_ms else 0.0
    return part.low_ms * scale, part.high_ms * scale
