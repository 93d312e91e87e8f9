"""The A/A noise that was measured and stored."""

from __future__ import annotations

from pydantic import Field

from append_prefill.records.figures import RelativeSd, Tokens
from append_prefill.records.grounds import Record
from append_prefill.workload.points import Point
from append_prefill.workload.policy import Stratum


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


class NoiseRecord(Record):
    """The stored A/A noise. `starts` and `nights` say what the numbers rest on.

    `start_sd` is the scatter of a launch's common level, `night_sd` that of a session's; None where
    too little was measured to tell. `pair_sd` is the scatter of the log ratio between the two
    launches of an interleaved A/A pair beyond what its rounds explain, from `pairs` of them, whose
    rounds number `rounds` on average; `components` and `strata` are what pairs and rounds scatter
    by over all points, and over those of one stratum. In records of suites before 0.2 `pair_sd` has
    the rounds' part in it, and there is none of the others. `night_assumed`: `night_sd` is not
    measured but a profile's assumption. `ratio_night_sd`: how a session's mean ratio to a control
    scatters beyond its pairs.
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
