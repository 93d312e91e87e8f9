"""Variance components of pairs that alternated: request, block, launch, and what a pair adds.

By moments, from a two-way layout (blocks by points) inside each launch (Searle, Casella &
McCulloch, Variance Components, 1992, section 4.4) and from the pairs' ratios. What a component says
of a plan: a pair's ratio over n rounds has the variance pair_sd^2 + round_sd^2 / n, of which more
rounds shrink the second term and only more pairs the first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from append_prefill.analysis.design import BoolArray
from append_prefill.analysis.rounds import by_round, pair_figures, rounds_of
from append_prefill.analysis.summary import FloatArray, usable
from append_prefill.analysis.verdict.sides import complete
from append_prefill.records.launch import Start
from append_prefill.records.noise import PairComponents
from append_prefill.workload.points import Point

Pair = tuple[Start, Start]
"""The candidate's and the reference's launch of a pair that was up together."""

UNKNOWN = PairComponents(
    request_sd=None,
    block_sd=None,
    launch_point_sd=None,
    launch_sd=None,
    round_sd=None,
    pair_sd=None,
)


def pairs_of(nights: Sequence[Sequence[Start]]) -> list[Pair]:
    """The whole pairs of all sessions, whose launches were up together."""
    pairs = []
    for starts in nights:
        sides: dict[int, dict[str, Start]] = {}
        for start in usable(starts, None):
            if start.interleaved:
                sides.setdefault(start.pair, {})[start.side] = start
        whole = (pair for _, pair in sorted(sides.items()) if len(pair) == 2)
        pairs += [(pair["candidate"], pair["reference"]) for pair in whole]
    return pairs


def whole(pairs: Sequence[Pair], points: Sequence[Point]) -> tuple[list[Pair], list[Point]]:
    """Pairs and points of which nothing is missing; points that some sessions drew go first."""
    table = [pair_figures(*pair, points).values for pair in pairs]
    kept, _, columns = complete(
        np.array(table).reshape(len(pairs), len(points)), np.zeros((0, len(points)))
    )
    return [pairs[row] for row in kept] if columns else [], [points[column] for column in columns]


def components_of(
    pairs: Sequence[Pair], points: Sequence[Point], group: BoolArray, *, alike: bool = True
) -> PairComponents:
    """The components over the points of `group`, shape (points,); of one version on both sides.

    Every pair must have all of them (see `whole`). The mean ratio is known to be 0 and costs no
    degree of freedom; not `alike` are sides that may differ, whose mean ratio is taken off. With
    fewer than two pairs nothing is told.
    """
    if len(pairs) < 2:
        return UNKNOWN
    chosen = [point for point, inside in zip(points, group, strict=True) if inside]
    ratios = [pair_figures(*pair, chosen) for pair in pairs]
    known = [
        (float(np.mean(f.values)), f.covariance, len(rounds_of(*pair)))
        for f, pair in zip(ratios, pairs, strict=True)
    ]
    values = np.array([value for value, _, _ in known])
    total = float((values**2).mean() if alike else values.var(ddof=1))
    # A mean over all entries of a covariance is the variance of the mean over points.
    inside = [(float(c.mean()), rounds) for _, c, rounds in known if c is not None]
    if not inside:
        return UNKNOWN.model_copy(update={"pair_sd": float(np.sqrt(total))})
    of_rounds = float(np.mean([variance for variance, _ in inside]))
    one_round = float(np.mean([variance * rounds for variance, rounds in inside]))
    layouts = [_layout(start, chosen) for pair in pairs for start in pair]
    request, block = _inside(layouts)
    launch_point, launch = _between(pairs, chosen, request, of_rounds, alike=alike)
    return PairComponents(
        request_sd=request,
        block_sd=block,
        launch_point_sd=launch_point,
        launch_sd=launch,
        round_sd=float(np.sqrt(one_round)),
        pair_sd=float(np.sqrt(max(0.0, total - of_rounds))),
    )


def _layout(start: Start, points: Sequence[Point]) -> FloatArray:
    """The launch's log TTFT, shape (rounds, points), an absent sample at its point's median."""
    table = by_round(start, points, rounds_of(start))
    table = table[:, ~np.isnan(table).all(axis=0)]
    return np.where(np.isnan(table), np.nanmedian(table, axis=0), table)


def _inside(layouts: Sequence[FloatArray]) -> tuple[float | None, float | None]:
    """Sd of a request, and of what a block's points have in common."""
    squares = common = df = blocks_df = size = 0.0
    for table in layouts:
        rounds, points = table.shape
        if rounds < 2 or points < 2:
            continue
        centred = table - table.mean(axis=0)
        by_block = centred.mean(axis=1, keepdims=True)
        squares += float(((centred - by_block) ** 2).sum())
        df += (rounds - 1) * (points - 1)
        common += float((by_block**2).sum())
        blocks_df += rounds - 1
        size += points * (rounds - 1)
    if not df:
        return None, None
    request = squares / df
    block = max(0.0, common / blocks_df - request * blocks_df / size)
    return float(np.sqrt(request)), float(np.sqrt(block))


def _between(
    pairs: Sequence[Pair],
    points: Sequence[Point],
    request: float | None,
    of_rounds: float,
    *,
    alike: bool,
) -> tuple[float | None, float | None]:
    """Sd of a point within a launch beyond its samples, and of a launch beyond its rounds.

    Of half the variance between the sides of a pair, so that what a point takes cancels.
    """
    gaps, rounds = [], []
    for candidate, reference in pairs:
        tables = [_by_point(start, points) for start in (candidate, reference)]
        gaps.append(tables[0] - tables[1])
        rounds.append(len(rounds_of(candidate, reference)))
    table = np.array(gaps)
    table = table[:, ~np.isnan(table).any(axis=0)]
    if table.shape[1] < 2 or request is None:
        return None, None
    level = table.mean(axis=1, keepdims=True)
    centred = table - level - table.mean(axis=0) + table.mean()
    df = (table.shape[0] - 1) * (table.shape[1] - 1)
    stray = float((centred**2).sum()) / df / 2
    launch_point = max(0.0, stray - request**2 / float(np.mean(rounds)))
    between = float((level**2).mean() if alike else level.var(ddof=1))
    launch = max(0.0, between / 2 - of_rounds / 2)
    return float(np.sqrt(launch_point)), float(np.sqrt(launch))


def _by_point(start: Start, points: Sequence[Point]) -> FloatArray:
    """Mean log TTFT by point, shape (points,); NaN without a sample."""
    table = by_round(start, points, rounds_of(start))
    return np.array(
        [float(np.mean(c[~np.isnan(c)])) if (~np.isnan(c)).any() else np.nan for c in table.T]
    )
