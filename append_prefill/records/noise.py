"""The A/A noise that was measured and stored."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from append_prefill.records.figures import RelativeSd, Tokens
from append_prefill.records.grounds import Record
from append_prefill.workload.points import Point
from append_prefill.workload.policy import Stratum
from append_prefill.workload.traffic import Condition


class NoisePoint(Record):
    """A/A scatter at one point: relative standard deviations on the log scale."""

    context_tokens: Tokens
    append_tokens: Tokens
    start_sd: RelativeSd | None
    within_sd: RelativeSd | None
    lag1: float | None = Field(ge=-1, le=1)
    effective_n: float | None = Field(ge=0)

    @property
    def point(self) -> Point:
        return Point(self.context_tokens, self.append_tokens)


class PairComponents(Record):
    """Variance components of pairs that alternated, over some points: relative sds, log scale.

    `request_sd`: of one sample; `block_sd`: common to the points of a block, which is where cores
    are drawn anew, so placement is in it; `launch_point_sd`: of a point within a launch beyond
    them; `launch_sd`: common to a launch, half of what its pair shows. `round_sd`: of the mean
    ratio of one round (both sides' blocks); `pair_sd`: of a pair's ratio beyond what its rounds
    explain. None where too little was measured to tell.
    """

    request_sd: RelativeSd | None
    block_sd: RelativeSd | None
    launch_point_sd: RelativeSd | None
    launch_sd: RelativeSd | None
    round_sd: RelativeSd | None
    pair_sd: RelativeSd | None


class TrafficNoise(Record):
    """A/A scatter of one experiment in other traffic, over all its `points` (L, m) together.

    `traffic` is its label, `pairs` and `rounds` as in `NoiseRecord`. Where its pairs have too few
    rounds to tell theirs apart, `components.pair_sd` has the part of so many rounds in it.
    """

    experiment: str
    traffic: str
    points: list[tuple[int, int]]
    pairs: int = Field(ge=0)
    rounds: float | None = Field(gt=0)
    components: PairComponents


class NoiseRecord(Record):
    """The stored A/A noise. `starts` and `nights` say what the numbers rest on.

    `start_sd` is the scatter of a launch's common level, `night_sd` that of a session's; None where
    too little was measured to tell. `pair_sd` is the scatter of the log ratio between the two
    launches of an interleaved A/A pair beyond what its rounds explain, from `pairs` of them, whose
    rounds number `rounds` on average; `components` and `strata` are what pairs and rounds scatter
    by over all points, and over those of one stratum. In records of suites before 0.2 `pair_sd` has
    the rounds' part in it, and there is none of the others. `night_assumed`: `night_sd` is not
    measured but a profile's assumption. `ratio_night_sd`: how a session's mean ratio to a control
    scatters beyond its pairs. `traffic`: of the experiments in other traffic, empty in records of
    suites before 0.2 and where none was measured.
    """

    starts: int = Field(ge=0)
    nights: int = Field(ge=0)
    start_sd: RelativeSd | None
    within_sd: RelativeSd | None
    night_sd: RelativeSd | None
    night_assumed: bool = False
    pair_sd: RelativeSd | None = None
    pairs: int = Field(default=0, ge=0)
    rounds: float | None = Field(default=None, gt=0)
    components: PairComponents | None = None
    strata: dict[Stratum, PairComponents] = {}
    ratio_night_sd: RelativeSd | None = None
    points: list[NoisePoint]
    traffic: list[TrafficNoise] = []

    def of_traffic(self, conditions: Sequence[Condition]) -> TrafficNoise | None:
        """The noise of these conditions of one traffic; None where other ones were measured."""
        points = {(c.point.context_tokens, c.point.append_tokens) for c in conditions}
        labels = {c.traffic.label for c in conditions}
        same = (t for t in self.traffic if {t.traffic} == labels and {*t.points} == points)
        return next(same, None)
