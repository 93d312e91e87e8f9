"""The parts of a run's joint test: overall level, growth with m, growth with L, single points.

Model: the log statistic of launch s at point p is mu_p + delta_p (candidate only) + u_s + e_sp. The
launch's common level u_s is by far the largest noise, and a mean over points does not shrink it;
differences between points are free of it. So delta is taken apart into the mean over points (the
level) and contrasts that sum to zero: the regression on m and on L, each adjusted for the other
and scaled to "excess at the largest value over the average", and each point against all others.

Every contrast is computed per launch and its variance taken over launches, so launches that differ
in more than a common level cannot fool it. Its prior is the pooled residual of the two-way layout.

Launches that followed each other: a launch is compared with the other side's mean, not with its
ABBA partner. The estimate is the same either way, and ABBA order has removed linear drift from it;
pairing would halve the degrees of freedom (five pairs at a level of 0.7 %: t = 4.2 in place of
3.1). Drift that is left in makes the unpaired variance too large, never too small.

Launches that were up together, blocks alternating: what the machine did meanwhile is in both, so
their difference is the statistic. Over 60 A/A pairs on a shared two-core machine levels scattered
by 8 % and their ratio by 2.5 % (benchmarks/nights_cpu.json), worth far more than the degrees of
freedom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from append_prefill.analysis.moderation import (
    PRIOR_DF_MAX,
    VARIANCE_FLOOR,
    FloatArray,
    Spread,
    add,
    moderate,
    moderate_family,
    own_spread,
    paired_spread,
    scaled,
)
from append_prefill.records.grounds import NoiseSource
from append_prefill.records.run import NoiseRecord
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Noise

SHARES = {"level": 0.76, "append": 0.08, "context": 0.08, "points": 0.08}
"""Parts of the false-alarm rate. The level carries the launch noise and needs most of it; the
contrasts are free of it and keep their power at a twelfth (a z of 3.2, and 3.9 for one point of 18
at one run in a hundred)."""

NIGHTS_DF_MIN = 1.0
"""Least degrees of freedom of a spread across sessions. Satterthwaite's approximation gives a sum
of variances no fewer than its poorest term has. The sessions' variance is a difference, though, and
where it was cut at 0 the approximation is outside its domain: a tenth of a degree, or a millionth,
whose t quantiles are beyond any number. Two sessions' mean square has one degree, and what is built
on it has no fewer. Simulated with two stored sessions and none to 3 % between sessions: false
alarms stay as they are (at most 0.7 % for 1, and 15.5 % for 20)."""

ASSUMED_DF = 4.0
"""Degrees of freedom of a profile's assumed noise: an educated guess counts like five launches."""

CONTRAST_PRIOR_DF_MAX = 16.0
"""Weight of the pooled residual in a contrast's variance. It has far more degrees of freedom, but
rests on all points being alike; twice the own 8 of five launches per side is what it may claim."""


@dataclass(frozen=True, slots=True)
class Prior:
    """What is known of the noise beforehand, relative standard deviations; None: nothing.

    `night_error` is the variance that the launches of a stored session give to that session's mean.
    It was taken off to get `night_sd`^2, so the latter is as uncertain as the two together.
    """

    start_sd: float | None
    start_df: float
    night_sd: float | None
    night_df: float
    source: NoiseSource
    night_error: float = 0.0
    pair_sd: float | None = None
    pair_df: float = 0.0

    def level_sd(self, *, paired: bool) -> float | None:
        """Sd of a launch's level, or of a pair's log ratio."""
        return self.pair_sd if paired else self.start_sd

    def level_df(self, *, paired: bool) -> float:
        """Degrees of freedom `level_sd` is worth; 0 where it is not known."""
        if self.level_sd(paired=paired) is None:
            return 0.0
        return self.pair_df if paired else self.start_df


def prior_of(noise: Noise | NoiseRecord) -> Prior:
    """A profile's assumption or a stored A/A record, with the degrees of freedom it is worth."""
    if isinstance(noise, Noise):
        return Prior(
            noise.start_sd,
            ASSUMED_DF,
            noise.night_sd,
            ASSUMED_DF,
            NoiseSource(kind="profile"),
            pair_sd=noise.pair_sd,
            pair_df=ASSUMED_DF,
        )
    df = float(noise.starts - noise.nights)
    if noise.night_assumed:
        night_df, error = ASSUMED_DF, 0.0
    else:
        night_df = float(noise.nights - 1)
        error = (noise.start_sd or 0.0) ** 2 * noise.nights / max(noise.starts, 1)
    return Prior(
        noise.start_sd if df >= 1 else None,
        min(df, PRIOR_DF_MAX),
        noise.night_sd if night_df >= 1 else None,
        night_df,
        NoiseSource(
            kind="stored",
            starts=noise.starts,
            nights=noise.nights,
            night_assumed=noise.night_assumed,
        ),
        error,
        pair_sd=noise.pair_sd,
        pair_df=min(float(noise.pairs), PRIOR_DF_MAX),
    )


def with_nights(record: NoiseRecord, assumed: Noise) -> NoiseRecord:
    """`record` with the profile's assumption of how sessions differ, if it does not know itself.

    A record of one day does not. The assumption has the few degrees of freedom it is worth.
    """
    if record.night_sd is not None:
        return record
    return record.model_copy(update={"night_sd": assumed.night_sd, "night_assumed": True})


@dataclass(frozen=True, slots=True)
class Slope:
    """Growth along one axis. `row` gives the excess at `tokens` over the average of all points.

    `end` averages the points that lie at `tokens`. `lever` is the part of an effect at `tokens`
    that shows as excess if the effect is in proportion to the tokens: 1 - mean / largest.
    """

    axis: str
    tokens: int
    row: FloatArray
    end: FloatArray
    lever: float


@dataclass(frozen=True, slots=True)
class Design:
    """The points and the contrasts that they allow."""

    points: tuple[Point, ...]
    slopes: tuple[Slope, ...]

    @property
    def shares(self) -> dict[str, float]:
        """`SHARES` of the parts there are, summing to 1."""
        parts = {"level"} | {slope.axis for slope in self.slopes}
        if len(self.points) > 2:
            parts.add("points")
        whole = sum(SHARES[part] for part in parts)
        return {part: SHARES[part] / whole for part in SHARES if part in parts}


def design_of(points: Sequence[Point]) -> Design:
    """Contrasts for `points` (at least one). An axis that does not vary, or cannot be told from the
    other, has no slope.

    m and L enter linearly, over their largest value: a dearer token adds in proportion to tokens.
    """
    append = np.array([p.append_tokens for p in points])
    context = np.array([p.context_tokens for p in points])
    columns = {"append": append / append.max(), "context": context / context.max()}
    matrix = np.ones((len(points), 1))
    kept: list[str] = []
    for name, column in columns.items():
        wider = np.column_stack([matrix, column - column.mean()])
        if int(np.linalg.matrix_rank(wider)) == wider.shape[1]:
            matrix = wider
            kept.append(name)
    rows = np.linalg.pinv(matrix)
    slopes = tuple(
        Slope(
            axis=name,
            tokens=int((append if name == "append" else context).max()),
            row=rows[1 + position] * float(1 - columns[name].mean()),
            end=(columns[name] == 1) / float((columns[name] == 1).sum()),
            lever=float(1 - columns[name].mean()),
        )
        for position, name in enumerate(kept)
    )
    return Design(tuple(points), slopes)


@dataclass(frozen=True, slots=True)
class Part:
    """Estimated log ratios and their spread; scalars (shape ()) or one a point, after any batch."""

    estimate: FloatArray
    spread: Spread

    def p(self, sign: int) -> FloatArray:
        """One-sided p for an effect of that sign (+1: the candidate is slower)."""
        return self.spread.p_slower(sign * self.estimate)


@dataclass(frozen=True, slots=True)
class Joint:
    """Everything the verdict rests on, by axis where there are two.

    `slopes`: the excess at the far end; `far`: the absolute effect there as fitted, level plus
    excess; `ends`: the absolute effect as measured, the mean of the points that lie there.
    """

    level: Part
    slopes: dict[str, Part]
    far: dict[str, Part]
    ends: dict[str, Part]
    excess: Part
    absolute: Part
    residual_variance: FloatArray


def _residual_variance(tables: Sequence[FloatArray]) -> tuple[FloatArray, float]:
    """Pooled residual variance of two-way layouts (launches by points), and its df."""
    squares = np.zeros(tables[0].shape[:-2])
    for side in tables:
        rows = side.mean(axis=-1, keepdims=True)
        columns = side.mean(axis=-2, keepdims=True)
        residual = side - rows - columns + side.mean(axis=(-2, -1), keepdims=True)
        squares = squares + (residual**2).sum(axis=(-2, -1))
    df = float(sum((side.shape[-2] - 1) * (side.shape[-1] - 1) for side in tables))
    return np.maximum(squares / max(df, 1.0), VARIANCE_FLOOR), df


def estimate(
    a: FloatArray,
    b: FloatArray,
    design: Design,
    prior: Prior,
    *,
    nights: bool,
    paired: bool = False,
) -> Joint:
    """All parts for log statistics of candidate `a` and reference `b`.

    Shapes (..., launches, points) without NaN, at least two launches per side. `nights`: the sides
    were measured in different sessions; every variance is then larger by the factor by which the
    level's is, 2 night_sd^2 being added to that (sessions are known by their level only; that they
    scatter the shape as much is assumed). `paired`: row k of `a` and of `b` were measured together,
    blocks alternating, so their difference is the statistic and pairs are the replicates. Raises
    ValueError if `nights` and no night_sd is known, or for pairs of unequal number.
    """
    if paired and a.shape[-2] != b.shape[-2]:
        raise ValueError("pairs have as many launches on one side as on the other")
    own = paired_spread if paired else own_spread
    known_sd, known_df = prior.level_sd(paired=paired), prior.level_df(paired=paired)
    if nights and prior.night_sd is None:
        raise ValueError("a comparison across sessions needs the between-session noise")
    per_start = 1 / a.shape[-2] if paired else 1 / a.shape[-2] + 1 / b.shape[-2]
    count = a.shape[-1]
    residual, residual_df = _residual_variance([a - b] if paired else [a, b])
    level_a, level_b = a.mean(axis=-1, keepdims=True), b.mean(axis=-1, keepdims=True)
    level_spread = own(level_a, level_b)
    if known_sd is not None and known_df >= 1:
        known = Spread(
            (known_sd**2 + residual[..., None] / count) * per_start,
            np.full(level_spread.df.shape, known_df),
        )
        level_spread = moderate(level_spread, known)
    level_estimate = level_a.mean(axis=-2) - level_b.mean(axis=-2)

    def contrast(row: FloatArray) -> Part:
        values_a, values_b = (a @ row)[..., None], (b @ row)[..., None]
        spread = own(values_a, values_b)
        if residual_df >= 1:
            known = Spread(
                residual[..., None] * float(row @ row) * per_start,
                np.full(spread.df.shape, min(residual_df, CONTRAST_PRIOR_DF_MAX)),
            )
            spread = moderate(spread, known)
        return Part(values_a.mean(axis=-2) - values_b.mean(axis=-2), spread)

    def place(values_a: FloatArray, values_b: FloatArray, terms: Spread) -> Part:
        # Level and contrast may vary together over launches: the sum of their variances is the
        # prior, the place's own variance speaks up where it is larger.
        spread = moderate(own(values_a, values_b), terms)
        return Part(values_a.mean(axis=-2) - values_b.mean(axis=-2), spread)

    slopes, far, ends = {}, {}, {}
    for slope in design.slopes:
        part = contrast(slope.row)
        slopes[slope.axis] = part
        row = slope.row + 1 / count
        terms = add(level_spread, part.spread)
        far[slope.axis] = place((a @ row)[..., None], (b @ row)[..., None], terms)
        there = slope.end - 1 / count
        terms = add(level_spread, contrast(there).spread)
        ends[slope.axis] = place((a @ slope.end)[..., None], (b @ slope.end)[..., None], terms)

    if count > 1:
        # Each point against the mean of the others.
        factor = count / (count - 1)
        excess_a, excess_b = (a - level_a) * factor, (b - level_b) * factor
        excess = Part(
            excess_a.mean(axis=-2) - excess_b.mean(axis=-2),
            moderate_family(own(excess_a, excess_b)),
        )
        level_terms = Spread(
            np.broadcast_to(level_spread.variance, excess.estimate.shape),
            np.broadcast_to(level_spread.df, excess.estimate.shape),
        )
        absolute = place(a, b, add(level_terms, scaled(excess.spread, factor**-2)))
    else:
        absolute = Part(level_estimate, level_spread)
        excess = Part(np.zeros_like(level_estimate), level_spread)

    joint = Joint(Part(level_estimate, level_spread), slopes, far, ends, excess, absolute, residual)
    return _across_nights(joint, prior) if nights else joint


def _across_nights(joint: Joint, prior: Prior) -> Joint:
    """Every spread with the sessions' part added, degrees of freedom after Satterthwaite, or 1.

    The between-session variance is a difference of mean squares, cut at 0, from few sessions. Taken
    with the degrees of freedom of a variance of its own size, a record that happened to find none
    would vouch for sessions it has not seen (4 % false alarms for 1, with four sessions stored);
    its true uncertainty is that of the sessions' mean square.
    """
    night_sd = prior.night_sd
    assert night_sd is not None  # estimate() has refused
    inflation = 2 * night_sd**2 / joint.level.spread.variance
    doubt = 2 * (night_sd**2 + prior.night_error) / joint.level.spread.variance

    def wider(part: Part) -> Part:
        variance, df = part.spread.variance, part.spread.df
        total = variance * (1 + inflation)
        terms = variance**2 / df + (variance * doubt) ** 2 / prior.night_df
        return Part(part.estimate, Spread(total, np.maximum(total**2 / terms, NIGHTS_DF_MIN)))

    return Joint(
        wider(joint.level),
        {axis: wider(part) for axis, part in joint.slopes.items()},
        {axis: wider(part) for axis, part in joint.far.items()},
        {axis: wider(part) for axis, part in joint.ends.items()},
        wider(joint.excess),
        wider(joint.absolute),
        joint.residual_variance,
    )
