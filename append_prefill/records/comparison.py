"""The candidate held against a reference, in `append-prefill/run/2`."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, model_validator

from append_prefill.records.grounds import (
    JUDGED,
    ComparisonVerdict,
    Decision,
    Ground,
    Method,
    Quantity,
    Record,
    Region,
)
from append_prefill.workload.points import Point

ComparisonKind = Literal["baseline", "side-by-side"]


Role = Literal["chosen", "pinned", "rolling"]

Detects = Literal["effect", "no-doubling", "unknown"]

DOUBLING = 1.0
"""A minimum detectable effect beyond it says that the comparison can tell nothing: so few pairs
know their own scatter by one or two degrees of freedom, and it would be a number of chance."""


def detects(mde: float | None, reason: Ground | str) -> Detects:
    """`effect`: up to a doubling. `no-doubling`: more than that; so it is where a comparison was
    judged and none up to a hundredfold was found. `unknown`: nothing was judged.
    """
    if mde is not None:
        return "effect" if mde <= DOUBLING else "no-doubling"
    judged = isinstance(reason, Ground) and reason.code in JUDGED
    return "no-doubling" if judged else "unknown"


_OLD_NAMES: dict[str, Quantity] = {
    "overall level": "level",
    "growth with m": "append_growth",
    "growth with L": "context_growth",
    "per new token": "new_token",
    "per cached token": "cached_token",
}


_OLD_END = re.compile(r"at ([mL]) = (\d+)")


class Effect(Record):
    """Candidate over reference for one quantity; a ratio above 1 is slower (or dearer).

    `tokens`: the m or L that an end is the effect at; null for the other quantities. With
    `from_tokens` it is the mean over the points from there on. `delta_ms` is the same as `ratio` in
    milliseconds, over the same points; null where records do not tell it, as `low_ms` and
    `high_ms`.
    """

    name: Quantity
    tokens: int | None = None
    from_tokens: int | None = None
    reference: float | None
    candidate: float | None
    ratio: float | None
    low: float | None
    high: float | None
    delta_ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None
    p: float | None
    mde: float | None
    verdict: ComparisonVerdict

    @model_validator(mode="before")
    @classmethod
    def _named_in_words(cls, data: Any) -> Any:
        """Suites before 0.2 wrote the names as the report shows them."""
        if not isinstance(data, dict) or not isinstance(data.get("name"), str):
            return data
        name = data["name"]
        if name in _OLD_NAMES:
            return {**data, "name": _OLD_NAMES[name]}
        if end := _OLD_END.fullmatch(name):
            quantity = "append_end" if end[1] == "m" else "context_end"
            return {**data, "name": quantity, "tokens": int(end[2])}
        return data


class PointEffect(Record):
    """Candidate over reference at one point.

    `reference_ms`, `candidate_ms`: geometric means over launches of the medians, what a user waits.
    `ratio` is of the statistic that is compared (`Comparison.method`), so not quite their quotient.
    """

    context_tokens: int
    append_tokens: int
    reference_ms: float | None
    candidate_ms: float | None
    ratio: float | None
    low: float | None
    high: float | None
    p: float | None
    mde: float | None
    verdict: ComparisonVerdict

    @property
    def point(self) -> Point:
        return Point(self.context_tokens, self.append_tokens)


class ChangeTerm(Record):
    """One part of the model of change: a shape over the (L, m) plane, and how much of it there is.

    `everywhere`: milliseconds added to every append-prefill; `proportional`: a factor on TTFT
    (`value` 0.03 is +3 %); `floor` and `compute`: milliseconds added where TTFT is at its floor,
    or where computing shows; `append` and `context`: microseconds a new or a cached token; `chunk`:
    milliseconds at each further chunk of a prefill, or at each that one side has more; `point`:
    milliseconds at one point alone. The interval is of 95 %, for a `point` widened for its having
    been picked of all points. `append_tokens` is the largest m of the floor or the smallest of
    `compute` or with a further chunk; with `context_tokens` it is the point.
    """

    kind: Literal[
        "everywhere", "proportional", "floor", "compute", "append", "context", "chunk", "point"
    ]
    value: float
    low: float
    high: float
    context_tokens: int | None = None
    append_tokens: int | None = None


class ChangeAt(Record):
    """What the model of change says of one point: `delta_ms` on a reference of `reference_ms`."""

    context_tokens: int
    append_tokens: int
    reference_ms: float
    delta_ms: float

    @property
    def point(self) -> Point:
        return Point(self.context_tokens, self.append_tokens)

    @property
    def ratio(self) -> float:
        """Candidate over reference by the model."""
        return 1 + self.delta_ms / self.reference_ms


class ChangeIn(Record):
    """The change over a part of the plane: measured mean over its points, 95 % intervals.

    `region` is a part that was fixed beforehand (see `Effect`: `level` is everywhere, `floor` and
    `compute` the strata, `append_end` and `context_end` the far halves of m and L), or `points`:
    the `points` (L, m) that the model says moved one way; the interval of a single one is widened
    for its having been picked. `ratio` is the mean over the points on the log scale, `delta_ms`
    over their times. `append_tokens`, `context_tokens`: the range (least, most) of m and of L in it
    where that tells the part from the rest, else null.
    """

    region: Literal["level", "floor", "compute", "append_end", "context_end", "points"]
    ratio: float
    low: float
    high: float
    delta_ms: float
    low_ms: float
    high_ms: float
    points: list[tuple[int, int]]
    append_tokens: tuple[int, int] | None = None
    context_tokens: tuple[int, int] | None = None


class Change(Record):
    """What two sides differ by: Delta(L, m) in ms, fitted once on the whole plane.

    Headline, places, table, plane and curves are read off it. `parts` is what the headline speaks
    of: one part, or two where the candidate is slower in one and faster in the other (slower
    first). `terms` are the shapes that were needed, the strongest first; `points` the fitted change
    at every common point, whose means over a part are the part's. `misfit` is the chance of
    residuals as large as they are if the form is right; below `MISFIT_P` the form is wrong, `fits`
    is false, and `parts` and `points` are of what was measured at each point.
    """

    parts: list[ChangeIn] = Field(min_length=1, max_length=2)
    terms: list[ChangeTerm]
    points: list[ChangeAt]
    misfit: float | None
    fits: bool


class Look(Record):
    """One interim analysis of an adaptive run; `look` is its number, from 1.

    `threshold`: its one-sided false-alarm rate. `pass_confidence`: as in `Method`.
    """

    look: int
    candidate_starts: int
    reference_starts: int
    threshold: float
    pass_confidence: float = 0.95
    verdict: ComparisonVerdict
    suspects: list[str]
    decision: Decision | str


class Comparison(Record):
    """Candidate against reference. `mde` is the least relative effect, alike at all
    points, that one of the means is sure to find (minimum detectable effect).

    `change` is what a regression or an improvement consists of, null for other verdicts and in
    records of suites before 0.2, which have the regions of `where` instead.

    `reference` is what the other side is called, `reference_version` its SGLang version, by which
    it is known: null where no server told it. `role` is how a stored reference came to be one.
    `surface` holds the joint quantities. `where` are the parts of the (L, m) plane that moved,
    `slower_points` the (L, m) that a run with changes both ways is slower at. `others` keeps the
    comparisons this one supersedes (the stored baseline that suspected, the rolling window).
    `only_candidate`, `only_reference`: the planned points (L, m) that the other side did not
    measure, so that nothing is said of them; points drawn from a seed are never listed.
    """

    reference: str
    reference_version: str | None = None
    kind: ComparisonKind
    provenance: str
    confirmed: bool
    method: Method | str | None
    points: list[PointEffect]
    surface: list[Effect]
    looks: list[Look] = []
    mde: float | None
    starts_needed: int | None
    verdict: ComparisonVerdict
    where: list[Region] | str
    change: Change | None = None
    slower_points: list[tuple[int, int]] = []
    reason: Ground | str
    differing: dict[str, list[Any]] = {}
    role: Role = "chosen"
    only_candidate: list[tuple[int, int]] = []
    only_reference: list[tuple[int, int]] = []
    others: list[Comparison] = []

    @property
    def detects(self) -> Detects:
        """Whether `mde` is an effect that says something, or why it is none."""
        return detects(self.mde, self.reason)

    @property
    def level(self) -> Effect | None:
        """The effect on the level over all points; None where nothing was compared."""
        return next((e for e in self.surface if e.name == "level"), None)
