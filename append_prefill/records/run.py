"""The run record, `append-prefill/run/2`: what one run measured and what was made of it.

Times are milliseconds unless a key ends in `_s`. A value that is missing is None (JSON null),
never 0. `schema/run.schema.json` is generated from these classes and checked in.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from append_prefill.records.grounds import (
    ComparisonVerdict,
    Decision,
    FindingGround,
    FindingVerdict,
    Ground,
    Method,
    Quantity,
    Record,
    Region,
    RunWarning,
    Side,
)
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Stratum
from append_prefill.workload.traffic import Condition, ContextKind, Form, State, Traffic

SCHEMA: Literal["append-prefill/run/2"] = "append-prefill/run/2"
READABLE = ("append-prefill/run/1", SCHEMA)
"""Schemas that are read. Run 1 had no traffic but the default's; what it has means the same."""

ComparisonKind = Literal["baseline", "side-by-side"]
Role = Literal["chosen", "pinned", "rolling"]
RunVerdict = Literal[
    "pass",
    "regression",
    "broken",
    "improvement",
    "inconclusive",
    "not-comparable",
    "infrastructure",
]


TIME_MIN_MS = 1e-4
"""0.1 µs, what a baseline keeps of a time: a thousandth of the quickest loopback round trip."""

TIME_MAX_MS = 3_600_000.0
"""An hour: no client waits that long for a first token, and every deadline of the suite is shorter.
What is larger was written in another unit (20 ms in ns are five and a half hours)."""

SD_MAX = 51.0
"""Logs of times within these limits are at most 24.3 apart, so the robust sd of two samples per
launch (1.4826 times the median deviation, times the root of 2) is at most 51. All that was ever
measured is below 1; what is larger than 51 was never computed from times."""

TimeMs = Annotated[float, Field(ge=TIME_MIN_MS, le=TIME_MAX_MS)]
MaybeMs = Annotated[float, Field(ge=0, le=TIME_MAX_MS)] | None
Tokens = Annotated[int, Field(ge=1)]
Scalar = str | int | float | bool | None
RelativeSd = Annotated[float, Field(ge=0, le=SD_MAX)]


class Void(Record):
    """Samples that prove nothing, counted by reason."""

    reason: str
    count: int = Field(ge=1)


class Series(Record):
    """One point in one launch. The lists are parallel: one entry a valid sample, in time order.

    `itl_ms` is each sample's median inter-token time, null where it had fewer than two gaps.
    """

    context_tokens: Tokens
    append_tokens: Tokens
    ttft_ms: list[TimeMs]
    e2e_ms: list[TimeMs]
    itl_ms: list[MaybeMs]
    output_tokens: list[int]
    cached_tokens: list[int]
    block: list[int]
    void: list[Void] = []

    @model_validator(mode="after")
    def _parallel(self) -> Series:
        for name in ("e2e_ms", "itl_ms", "output_tokens", "cached_tokens", "block"):
            count = len(getattr(self, name))
            if count != len(self.ttft_ms):
                raise ValueError(
                    f"{name} has {count} entries and ttft_ms {len(self.ttft_ms)}: the lists are "
                    "parallel"
                )
        return self

    @property
    def point(self) -> Point:
        return Point(self.context_tokens, self.append_tokens)


class TrafficSeries(Series):
    """One condition beside the default one in one launch; see `workload.traffic`.

    The lists are a series' own. `planned_cached_tokens`: what the version's prefix cache should
    hold of the prompt, null where it depends on the sample. A sample of a `replied` or `session`
    context counts whatever was cached, since it is what the user waits; whether replies are cached
    is a finding of its own.

    In company a block has several samples. The further lists are as parallel, and empty where a
    value is not of that company. `together:k` and `rate:r`: `due_ms` is when the request was due,
    since the first of its unit was, `late_ms` how much later the client sent it; TTFT and
    end-to-end time count from when it was due. `beside:k`: time per token of the requests that
    decode, in windows of `WINDOW_TOKENS` of their tokens: `itl_before_ms` before the append-prefill
    came, `itl_append_ms` from then on, `itl_prefill_ms` from when a full prefill of as many tokens
    came.
    """

    context: ContextKind = "primed"
    form: Form = "ids"
    company: str = "alone"
    state: State = "fresh"
    planned_cached_tokens: int | None = None
    due_ms: list[MaybeMs] = []
    late_ms: list[MaybeMs] = []
    itl_before_ms: list[MaybeMs] = []
    itl_append_ms: list[MaybeMs] = []
    itl_prefill_ms: list[MaybeMs] = []

    @model_validator(mode="after")
    def _is_traffic(self) -> TrafficSeries:
        if self.traffic.is_default:
            raise ValueError("a primed prompt of ids, alone, to a fresh server belongs to `series`")
        for name in ("due_ms", "late_ms", "itl_before_ms", "itl_append_ms", "itl_prefill_ms"):
            count = len(getattr(self, name))
            if count not in (0, len(self.ttft_ms)):
                raise ValueError(
                    f"{name} has {count} entries and ttft_ms {len(self.ttft_ms)}: the lists are "
                    "parallel"
                )
        return self

    @property
    def traffic(self) -> Traffic:
        return Traffic(self.context, self.form, self.company, self.state)

    @property
    def condition(self) -> Condition:
        return Condition(self.traffic, self.point)


class BlockState(Record):
    """The device around one block; `void` is the reason the block does not count, or null."""

    block: int
    side: Side
    void: str | None
    readings: dict[str, Any]


class Warmup(Record):
    """How the warm-up ended: `stationary` is False when the bound on rounds was hit first."""

    rounds: int
    stationary: bool
    seconds_s: float


class Aged(Record):
    """How a launch's server was aged after its fresh blocks, before the aged ones.

    `leaves` distinct prompts of `leaf_tokens` were cached one by one, then longer ones until
    `tokens` in all had been, more than the KV pool's `capacity_tokens`. `resident_*_bytes`: memory
    of the server's processes (resident sets, summed) before that, once the pool was full, and after
    the last aged block; null where its processes are not known.
    """

    leaves: int = Field(ge=0)
    leaf_tokens: Tokens
    tokens: Tokens
    capacity_tokens: Tokens
    seconds_s: float = Field(ge=0)
    resident_before_bytes: int | None
    resident_full_bytes: int | None
    resident_after_bytes: int | None = None


class ClientLoad(Record):
    """What the client adds at the most it is asked for, against a server that only waits.

    `requests`, `per_s` a second on average, null for all at once: those of the plan that ask most.
    `late_p99_ms`: how late the client sent them. `ttft_p99_ms`: TTFT beyond what the server held
    its answer.
    """

    requests: int = Field(ge=1)
    per_s: float | None
    late_p99_ms: float
    ttft_p99_ms: float


class Start(Record):
    """One server launch: the replicate. `pair` numbers the ABBA bracket it belongs to.

    `interleaved`: the pair's servers were up together; `alternated` is what took turns then, whole
    blocks or single samples (null: blocks, in records of suites before 0.2).
    `kv_links_gb_per_s`: the device's links a KV cache can travel, measured before the first launch
    of a worker, null in the others and without a GPU. `rehearsal_s`: what an uncounted launch
    before this one took, in which kernels were compiled; null where none was needed. `held_s`: how
    long before its turn it was launched, of which it waited the most, held before it touched the
    device; null where it was launched at its turn. `ready_s` counts from its turn in either case.
    `settle_s`: how long this launch, up and warm, waited until those after it were held; null where
    none was to be. It is part of `measured_s`. `resolved`: what the server told of its arguments,
    chosen or not; empty where it did not, and in a whole run at a side's first launch alone, with
    what all of that side's told alike. `client_under_load`: null where nothing is sent in company.
    """

    index: int
    side: Side
    pair: int
    host: str
    device: str
    started_at: datetime
    ready_s: float | None = Field(ge=0)
    measured_s: float | None = Field(ge=0)
    server_args: list[str]
    subject: dict[str, Any]
    warmup: Warmup | None
    state: list[BlockState]
    client_floor_ms: float | None
    series: list[Series]
    traffic: list[TrafficSeries] = []
    client_under_load: ClientLoad | None = None
    aged: Aged | None = None
    interleaved: bool = False
    alternated: Literal["block", "sample"] | None = None
    kv_links_gb_per_s: dict[str, float] | None = None
    rehearsal_s: float | None = None
    held_s: float | None = Field(default=None, ge=0)
    settle_s: float | None = Field(default=None, ge=0)
    resolved: dict[str, Scalar] = {}
    failure: str | None = None

    @model_validator(mode="after")
    def _counts_no_invalid_block(self) -> Start:
        """What is in `series` counts: whoever writes a launch has left invalid blocks out."""
        invalid = {s.block for s in self.state if s.void is not None and s.side == self.side}
        for series in (*self.series, *self.traffic) if invalid else ():
            if both := invalid.intersection(series.block):
                raise ValueError(
                    f"{series.point.label} has samples of block {min(both)}, which the device's "
                    "state made invalid"
                )
        return self

    @property
    def usable(self) -> bool:
        """Whether this launch counts as a replicate: it did not fail and was measured to its end.

        A server that died or did not become ready is no replicate of a healthy one, even where it
        answered a few requests; nor is what a killed worker left behind.
        """
        return self.failure is None and self.measured_s is not None

    @property
    def version(self) -> str | None:
        """The SGLang version that this launch's server told; None where it did not."""
        return _version(self.subject)

    def within(self, conditions: Collection[Condition]) -> Start:
        """The same launch with the series of these conditions of one traffic, and no others.

        What judges points then judges these.
        """
        own = [series for series in self.traffic if series.condition in conditions]
        return self.model_copy(update={"series": own, "traffic": []})


class PointSummary(Record):
    """The candidate at one point: median over launches, 95 % interval over launches."""

    experiment: list[str]
    context_tokens: Tokens
    append_tokens: Tokens
    median_ms: TimeMs | None
    low_ms: float | None = Field(gt=0)
    high_ms: float | None = Field(gt=0)
    starts: int
    samples: int
    void: int

    @property
    def point(self) -> Point:
        return Point(self.context_tokens, self.append_tokens)


class Finding(Record):
    """A claim of the study, measured. `low`/`high`: 95 % interval over launches.

    `details` carries numbers shown beside it (an elasticity, a second ratio), by name.
    `reason` is why the verdict is what it is. `standing`: a regime shift that the
    reference shows as well, so nothing that this version brought.
    """

    id: str
    claim: str
    formula: str
    study_value: float | None
    measured: float | None
    low: float | None
    high: float | None
    bound: float | None
    argument: str
    verdict: FindingVerdict
    standing: bool = False
    reason: FindingGround | str
    details: dict[str, float | None] = {}


class Estimate(Record):
    """A fitted quantity with its 95 % interval over launches."""

    value: float | None
    low: float | None
    high: float | None


class Surface(Record):
    """The fitted TTFT(L, m) of the candidate.

    `form` is `sum` (T0 + a m + b L) or `max` (max(T0, a m) + b L), whichever leaves the smaller
    relative residual; `crossover_tokens` is m* = T0 / a.
    """

    form: Literal["sum", "max"]
    floor_ms: Estimate
    new_token_us: Estimate
    cached_token_us: Estimate
    crossover_tokens: Estimate
    residual: float | None
    starts: int


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
    or where computing shows; `append` and `context`: microseconds a new or a cached token; `point`:
    milliseconds at one point alone. The interval is of 95 %, for a `point` widened for its having
    been picked of all points. `append_tokens` is the largest m of the floor or the smallest of
    `compute`; with `context_tokens` it is the point.
    """

    kind: Literal["everywhere", "proportional", "floor", "compute", "append", "context", "point"]
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
    """Candidate against reference. `mde` is the minimum detectable relative effect on the level.

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
    def level(self) -> Effect | None:
        """The effect on the level over all points; None where nothing was compared."""
        return next((e for e in self.surface if e.name == "level"), None)


class TrafficPoint(Record):
    """The candidate at one condition of an experiment.

    `turn` is its number in the conversation, from 2; null where it is of none. Median, interval,
    launches and samples are as at a point; `p90_ms` and `p99_ms` are of all valid samples together,
    null where they are too few to tell. `cached_tokens` is the median of what was cached,
    `planned_cached_tokens` what should have been.

    The rest is null where it does not apply. `over_alone`: TTFT over that of the same point in the
    default traffic, in the same launches, with `over_alone_low` and `over_alone_high`, its 95 %
    interval over launches. `offered_per_s` and `completed_per_s`: requests a second that were due,
    and that came to their end, from the first being due on, in the median of all units;
    `saturation_per_s`: the latter where it stays behind what was offered, so that a queue grows.
    `late_p99_ms`: how late the client sent.
    """

    context_tokens: Tokens
    append_tokens: Tokens
    turn: int | None = None
    median_ms: TimeMs | None
    low_ms: float | None = Field(gt=0)
    high_ms: float | None = Field(gt=0)
    p90_ms: TimeMs | None
    p99_ms: TimeMs | None
    starts: int
    samples: int
    void: int
    cached_tokens: float | None
    planned_cached_tokens: int | None
    over_alone: float | None = None
    over_alone_low: float | None = None
    over_alone_high: float | None = None
    offered_per_s: float | None = None
    completed_per_s: float | None = None
    saturation_per_s: float | None = None
    late_p99_ms: float | None = None

    @property
    def point(self) -> Point:
        return Point(self.context_tokens, self.append_tokens)


class OverIds(Record):
    """What a form costs the candidate over the same points as ids, in ms: whatever the length, and
    for every 1,000 tokens of the prompt.
    """

    fixed_ms: Estimate
    per_1000_tokens_ms: Estimate


class TrafficResult(Record):
    """One experiment in other traffic than the default, judged on its own.

    `over_ids` is null for ids, and where the points were not measured as ids. `comparison` is null
    where nothing was compared; its false-alarm rate is this experiment's part of the run's.
    `reason` says why the experiment was not measured, null where it was.
    """

    experiment: str
    title: str
    context: ContextKind
    form: Form
    company: str
    state: State
    points: list[TrafficPoint]
    over_ids: OverIds | None = None
    comparison: Comparison | None = None
    reason: str | None = None

    @property
    def traffic(self) -> Traffic:
        return Traffic(self.context, self.form, self.company, self.state)


class PlanRecord(Record):
    """What was planned: enough to plan it again from the seed.

    `traffic`: ids of the profile's experiments in other traffic than the default. `control`: the
    version of the reference side where that is a control, never judged itself.
    """

    sides: list[Side]
    starts: int
    samples: int
    points: list[tuple[int, int]]
    drawn: list[tuple[int, int]]
    traffic: list[str] = []
    pairs: list[list[Side]]
    budget_minutes: float
    link_gb_per_s: float
    control: str | None = None


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


class Run(Record):
    """One run, whole. `verdict` is null until the record was judged.

    `suite` has the suite's version and what it was told: the options, and what the user calls the
    sides (`label`, `against_label`), where that was said.
    """

    schema_: Literal["append-prefill/run/2"] = Field(default=SCHEMA, alias="schema")
    created_at: datetime
    suite: dict[str, str]
    definition: str
    profile: str
    seed: int
    identity: dict[str, Any]
    subject: dict[str, Any]
    state: dict[str, Any]
    plan: PlanRecord
    starts: list[Start]
    points: list[PointSummary] = []
    findings: list[Finding] = []
    surface: Surface | None = None
    comparison: Comparison | None = None
    traffic: list[TrafficResult] = []
    noise: NoiseRecord | None = None
    verdict: RunVerdict | None = None
    provenance: Literal["suite", "study"] = "suite"
    warnings: list[RunWarning | str] = []

    model_config = ConfigDict(extra="forbid", populate_by_name=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _read_as_of_today(cls, data: Any) -> Any:
        """An older record is read as one of today's, which it is but for keys it lacks."""
        if isinstance(data, dict) and data.get("schema") in READABLE:
            return {**data, "schema": SCHEMA}
        return data

    @model_validator(mode="after")
    def _starts_told_apart(self) -> Run:
        seen: set[tuple[str, int]] = set()
        for start in self.starts:
            if (start.side, start.index) in seen:
                raise ValueError(f"two {start.side} launches have the index {start.index}")
            seen.add((start.side, start.index))
        return self

    @property
    def version(self) -> str | None:
        """The candidate's SGLang version, or None where the server did not tell."""
        return _version(self.subject)

    @property
    def compared(self) -> Comparison | None:
        """The comparison of the points, or where none was planned that of the first other traffic.

        All of a run's comparisons have their two sides in common.
        """
        if self.comparison is not None:
            return self.comparison
        return next((t.comparison for t in self.traffic if t.comparison is not None), None)

    def beside(self, side: Side) -> list[Start]:
        """The usable launches of a side that are held against each other: all but a control and
        what was measured with it.
        """
        usable = [s for s in self.starts if s.usable and s.side == side]
        if self.plan.control is None:
            return usable
        with_it = {s.pair for s in self.starts if self._is_control(s)}
        return [s for s in usable if s.pair not in with_it]

    def control_pairs(self, version: str) -> list[tuple[Start, Start]]:
        """The whole pairs of the candidate and `version`, up together: (candidate, other)."""
        of: dict[Side, dict[int, Start]] = {"candidate": {}, "reference": {}}
        for start in self.starts:
            if start.usable and start.interleaved:
                of[start.side][start.pair] = start
        return [
            (start, other)
            for pair, start in sorted(of["candidate"].items())
            if (other := of["reference"].get(pair)) is not None and other.version == version
        ]

    def _is_control(self, start: Start) -> bool:
        return start.side == "reference" and start.version == self.plan.control

    @property
    def label(self) -> str | None:
        """What the user calls the candidate; None where the version is its name."""
        return self.suite.get("label")

    @property
    def against_label(self) -> str | None:
        """The same for the reference that was measured beside it."""
        return self.suite.get("against_label")

    def labelled(self, label: str | None = None) -> Run:
        """The same run with `label` for the candidate, or none, and none for a reference."""
        suite = {k: v for k, v in self.suite.items() if k not in ("label", "against_label")}
        named = suite if label is None else suite | {"label": label}
        return self.model_copy(update={"suite": named})

    @property
    def simulated(self) -> bool:
        """Whether the suite's own simulated server was measured, which is no SGLang at all."""
        return self.identity.get("device_kind") == "planted"

    @property
    def interrupted(self) -> bool:
        """Whether the user interrupted it (Ctrl-C), so that launches of its plan are missing."""
        return any(isinstance(w, RunWarning) and w.code == "interrupted" for w in self.warnings)

    @property
    def replicated(self) -> bool:
        """Whether the launches are real ones: those of a running server cannot be repeated."""
        return self.state.get("replicated") is not False

    @property
    def kv_bytes_per_token(self) -> int | None:
        """KV bytes a token takes on one rank, as the findings were reckoned with.

        One for both sides, which serve one model; None where the geometry was not known.
        """
        size = self._detail("kv_bytes_per_token")
        return None if size is None else int(size)

    @property
    def kv_fixed_bytes(self) -> int:
        """KV bytes that a context takes beside those of its tokens: sliding windows, states."""
        return int(self._detail("kv_fixed_bytes") or 0)

    def _detail(self, name: str) -> float | None:
        known = (finding.details.get(name) for finding in self.findings)
        return next((value for value in known if value is not None), None)

    @property
    def kv_links_gb_per_s(self) -> dict[str, float]:
        """The device's links a KV cache can travel, as measured; empty where none was."""
        measured = (start.kv_links_gb_per_s for start in self.starts)
        return next((links for links in measured if links), {})


def _version(subject: dict[str, Any]) -> str | None:
    version = subject.get("sglang")
    return version if isinstance(version, str) and version else None
