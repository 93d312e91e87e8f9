"""The points of a comparison: how they are weighed, grouped, and what contrasts they allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from append_prefill.analysis.moderation import FloatArray
from append_prefill.workload.points import Point
from append_prefill.workload.policy import Plane, Stratum

BoolArray = NDArray[np.bool_]

SHARES = {
    "level": 0.26,
    "floor": 0.25,
    "compute": 0.25,
    "append": 0.08,
    "context": 0.08,
    "points": 0.08,
}
"""Parts of the false-alarm rate. The means over all points and over each stratum carry the noise of
launches and need most of it; where points are not told apart, the level has the strata's parts as
well. The contrasts are free of that noise and keep their power at a twelfth (a z of 3.2, and 3.9
for one point of 18 at one run in a hundred)."""

ALIKE = Plane()


@dataclass(frozen=True, slots=True)
class Slope:
    """Growth along one axis, shown by its far half: the points with half of the most tokens or
    more, or with the most where that would be all.

    `row` gives the far half's excess over the average of all points as a line through all of them
    has it; `end` is the mean over the far half, of which the fewest tokens are `from_tokens`.
    `lever` is the part of an effect there that shows as excess if the effect is in proportion to
    the tokens.
    """

    axis: str
    tokens: int
    from_tokens: int
    row: FloatArray
    end: FloatArray
    lever: float


@dataclass(frozen=True, slots=True)
class Design:
    """The points and the contrasts that they allow.

    `weights` sum to 1, shape (points,). `strata`: which points are whose, by name; empty where they
    are not told apart, or fewer than two are in one of them.
    """

    points: tuple[Point, ...]
    weights: FloatArray
    strata: Mapping[Stratum, BoolArray]
    slopes: tuple[Slope, ...]

    @property
    def groups(self) -> list[BoolArray]:
        """The strata, or all points where there are none."""
        return list(self.strata.values()) or [np.ones(len(self.points), dtype=np.bool_)]

    @property
    def shares(self) -> dict[str, float]:
        """`SHARES` of the parts there are, summing to 1."""
        parts = {"level"} | set(self.strata) | {slope.axis for slope in self.slopes}
        if len(self.points) > 2:
            parts.add("points")
        shares = {part: SHARES[part] for part in SHARES if part in parts}
        if not self.strata:
            shares["level"] += SHARES["floor"] + SHARES["compute"]
        whole = sum(shares.values())
        return {part: share / whole for part, share in shares.items()}


def weights_of(points: Sequence[Point], plane: Plane) -> FloatArray:
    """The profile's weights of these points, summing to 1; 1 before that where it gives none."""
    given = {Point(context, append): weight for context, append, weight in plane.weights}
    raw = np.array([given.get(point, 1.0) for point in points])
    return np.asarray(raw / raw.sum())


def strata_of(points: Sequence[Point], plane: Plane) -> dict[Stratum, BoolArray]:
    """Which points are at the floor and which beyond it, as the profile has fixed."""
    if plane.floor_append_tokens is None:
        return {}
    floor = np.array([p.append_tokens <= plane.floor_append_tokens for p in points], dtype=np.bool_)
    if min(floor.sum(), (~floor).sum()) < 2:
        return {}
    return {"floor": floor, "compute": ~floor}


def design_of(points: Sequence[Point], plane: Plane = ALIKE) -> Design:
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
    slopes = []
    for position, name in enumerate(kept):
        column, tokens = columns[name], append if name == "append" else context
        far = 2 * column >= 1
        if far.all():
            far = column == 1
        lever = float(column[far].mean() - column.mean())
        slopes.append(
            Slope(
                axis=name,
                tokens=int(tokens.max()),
                from_tokens=int(tokens[far].min()),
                row=rows[1 + position] * lever,
                end=far / float(far.sum()),
                lever=lever / float(column[far].mean()),
            )
        )
    return Design(tuple(points), weights_of(points, plane), strata_of(points, plane), tuple(slopes))
