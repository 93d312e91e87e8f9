"""What one server launch measured, in `append-prefill/run/2`.

Times are milliseconds unless a key ends in `_s`. A value that is missing is None (JSON null),
never 0.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Literal

from pydantic import Field, model_validator

from append_prefill.records.figures import MaybeMs, Scalar, TimeMs, Tokens
from append_prefill.records.grounds import Record, Side
from append_prefill.records.states import Aged, Burst, Stage
from append_prefill.workload.points import Point
from append_prefill.workload.traffic import Condition, ContextKind, Form, State, Traffic


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

    `boundary_merged_tokens`, as parallel: of a text or a chat, how many of the context's tokens at
    its end are others in the whole prompt, by the server's own tokenizer and template, so that the
    cache cannot have them for it; empty where there is none to merge. A primed sample counts where
    exactly these, and with them the rest of their page, were not found cached.

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
    boundary_merged_tokens: list[int] = []
    due_ms: list[MaybeMs] = []
    late_ms: list[MaybeMs] = []
    itl_before_ms: list[MaybeMs] = []
    itl_append_ms: list[MaybeMs] = []
    itl_prefill_ms: list[MaybeMs] = []

    @model_validator(mode="after")
    def _is_traffic(self) -> TrafficSeries:
        if self.traffic.is_default:
            raise ValueError("a primed prompt of ids, alone, to a fresh server belongs to `series`")
        for name in (
            *("due_ms", "late_ms", "itl_before_ms", "itl_append_ms", "itl_prefill_ms"),
            "boundary_merged_tokens",
        ):
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
    """The device around one block; `void` is the reason the block does not count, or null.

    Of a block that takes long there is one for each of its legs, which count or do not each for
    itself; what did not count may have been taken again, in the leg that follows.
    """

    block: int
    side: Side
    void: str | None
    readings: dict[str, Any]


class Warmup(Record):
    """How the warm-up ended: `stationary` is False when the bound on rounds was hit first."""

    rounds: int
    stationary: bool
    seconds_s: float


class LeftOut(Record):
    """A planned point that a launch's server cannot take, so that it was not measured.

    With its output it takes `need_tokens`; what the server told of `limit` holds `capacity_tokens`.
    """

    context_tokens: Tokens
    append_tokens: Tokens
    need_tokens: Tokens
    limit: Literal["context-length", "kv-pool"]
    capacity_tokens: Tokens

    @property
    def point(self) -> Point:
        return Point(self.context_tokens, self.append_tokens)


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
    what all of that side's told alike. `prefill_graph_tokens`: the numbers of new tokens it
    captured a prefill graph for; empty where it runs without, null where it did not tell.
    `left_out`: planned points that it is too small for.
    `client_under_load`: null where nothing is sent in company. `aged`, `burst` and `stages` tell
    how the server came into states that are not fresh.
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
    burst: Burst | None = None
    stages: list[Stage] = []
    interleaved: bool = False
    alternated: Literal["block", "sample"] | None = None
    kv_links_gb_per_s: dict[str, float] | None = None
    rehearsal_s: float | None = None
    held_s: float | None = Field(default=None, ge=0)
    settle_s: float | None = Field(default=None, ge=0)
    resolved: dict[str, Scalar] = {}
    prefill_graph_tokens: list[Tokens] | None = None
    left_out: list[LeftOut] = []
    failure: str | None = None

    @model_validator(mode="after")
    def _measured_each_once(self) -> Start:
        """A point that is told twice has two times, of which a comparison would take either."""
        seen: set[Point | Condition] = set()
        points: list[Point | Condition] = [series.point for series in self.series]
        for one in [*points, *(series.condition for series in self.traffic)]:
            if one in seen:
                raise ValueError(f"{one.label} is there twice")
            seen.add(one)
        return self

    @model_validator(mode="after")
    def _counts_no_invalid_block(self) -> Start:
        """What is in `series` counts: whoever writes a launch has left invalid blocks out.

        Of a block that was watched in legs some may count where others do not.
        """
        own = [state for state in self.state if state.side == self.side]
        invalid = {state.block for state in own if state.void is not None}
        invalid -= {state.block for state in own if state.void is None}
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
        return told_version(self.subject)

    def without(self, points: Collection[Point]) -> Start:
        """The same launch without the series of these points."""
        kept = [series for series in self.series if series.point not in points]
        return self.model_copy(update={"series": kept})

    def within(self, conditions: Collection[Condition]) -> Start:
        """The same launch with the series of these conditions of one traffic, and no others.

        What judges points then judges these.
        """
        own = [series for series in self.traffic if series.condition in conditions]
        return self.model_copy(update={"series": own, "traffic": []})


def told_version(subject: dict[str, Any]) -> str | None:
    version = subject.get("sglang")
    return version if isinstance(version, str) and version else None
