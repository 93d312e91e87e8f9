"""What two sides' profiles differ by, `append-prefill/cause/1`: `cause.json` of its folder.

Times are milliseconds per request. A value that is missing is None, never 0.
"""

from __future__ import annotations

import json
import math
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Literal

from pydantic import ConfigDict, Field, ValidationError

from append_prefill.errors import UsageError, first_problem
from append_prefill.records.grounds import Record, Side
from append_prefill.records.store import write_whole
from append_prefill.workload.points import Point
from append_prefill.workload.traffic import ContextKind, Form, State, Traffic

FILE = "cause.json"
SCHEMA: Literal["append-prefill/cause/1"] = "append-prefill/cause/1"

SHOWN_SHARE = 0.5
"""Of a run's change that has to show in the requests that are profiled, in logs: less is nearer to
none than to it. Where the run is not sure of that much, what it is sure of has to show: the point
is the one that moved most, and of several that moved alike that is told as more than it is (two
steps of 3 % as 7.6 and 11 %, sure of 1.9 and 4.1: `benchmarks/data/cause-2026-11`)."""


class Spent(Record):
    """Time per request on both sides, None where a side never showed any, and candidate minus
    reference with a 95 % interval over pairs of launches, None where there is one pair alone.
    """

    reference_ms: float | None
    candidate_ms: float | None
    delta_ms: float
    low_ms: float | None
    high_ms: float | None


class FunctionSpent(Record):
    """One function of one process. `name` is `module:function`; `own` is the time in itself and
    in what it calls in C, None where it was never seen to run itself, `whole` also that in what it
    calls. Their intervals hold for all functions together; in records of suites before 0.2, each
    for itself.

    `idle`: an idle server of a side shows it, too, and not the other one's. `was`: what the
    reference calls it, null where that is the same, or it has none.
    """

    process: str
    name: str
    own: Spent | None
    whole: Spent
    idle: bool
    was: str | None = None

    @property
    def module(self) -> str:
        return module_of(self.name)


def module_of(function: str) -> str:
    """The module of `module:function`."""
    return function.partition(":")[0]


class ModuleSpent(Record):
    """What the functions of one module take themselves, in one process."""

    process: str
    name: str
    own: Spent


class KernelSpent(Record):
    """One kernel of the GPU, or one family of them. Intervals hold for all together; one that takes
    next to nothing has none.
    """

    name: str
    own: Spent


class StackSpent(Record):
    """One stack of a process, as indices of `Cause.names` from the outermost frame on."""

    process: str
    frames: list[int]
    reference_ms: float
    candidate_ms: float


class LaunchProfiled(Record):
    """One launch: TTFT medians of as many requests without the profiler and with it.

    `requests` were profiled, `invalid` of them prove nothing; `recorded_s` is how long they were
    recorded, `idle_s` how long the idle server was. `unread` samples could not be read.
    `kernels_ms`: of other requests, under torch's profiler, None without a GPU.
    """

    side: Side
    pair: int
    requests: int
    invalid: int
    plain_ms: float
    profiled_ms: float
    recorded_s: float
    idle_s: float
    unread: int
    kernels_ms: float | None = None


class Cause(Record):
    """The whole. Never part of a verdict: it says where the time goes that a run has found.

    `run` names that run; `reference_ms` and `candidate_ms` are what it measured at the condition
    (None where it tells none), `ratio` with its interval what it compared. `functions` are in the
    order of their rank by `own`, those without one behind, by `whole`; `functions_seen` is of how
    many. `modules` (of all functions) and `kernels` are in the order of their rank. `own_total` is
    the sum over all functions, without `device_wait`, which is what waiting for the GPU takes of a
    core (None where nothing was seen to). `kernel_families` are the kernels summed by the name that
    they share, and `kernels_total` all of them; None without a GPU, and in records of suites before
    0.2. `with_primes`: a request is profiled with the prime before it.
    """

    schema_: Literal["append-prefill/cause/1"] = Field(default=SCHEMA, alias="schema")
    created_at: datetime
    run: str
    command: str
    profile: str
    candidate: str
    reference: str
    experiment: str | None
    context: ContextKind
    form: Form
    company: str
    state: State
    context_tokens: int
    append_tokens: int
    ratio: float
    low: float
    high: float
    reference_ms: float | None
    candidate_ms: float | None
    rate_hz: int
    profiler: str
    launches: list[LaunchProfiled]
    with_primes: bool = False
    own_total: Spent
    device_wait: Spent | None = None
    functions_seen: int
    functions: list[FunctionSpent]
    modules: list[ModuleSpent] = []
    kernels_total: Spent | None = None
    kernel_families: list[KernelSpent] | None = None
    kernels: list[KernelSpent] | None
    names: list[str]
    stacks: list[StackSpent]

    model_config = ConfigDict(extra="forbid", populate_by_name=True, allow_inf_nan=False)

    @property
    def point(self) -> Point:
        return Point(self.context_tokens, self.append_tokens)

    @property
    def traffic(self) -> Traffic:
        return Traffic(self.context, self.form, self.company, self.state)

    @property
    def slower(self) -> bool:
        """Whether the run found the candidate slower there."""
        return self.ratio > 1

    @property
    def plain_ratio(self) -> float:
        """TTFT of these requests without the profiler, candidate over reference: the geometric mean
        over launches of their medians.
        """
        logs = {
            side: fmean(math.log(one.plain_ms) for one in self.launches if one.side == side)
            for side in ("candidate", "reference")
        }
        return math.exp(logs["candidate"] - logs["reference"])

    @property
    def along(self) -> float:
        """How far these requests moved the way that the run found, in logs."""
        return math.log(self.plain_ratio) * (1 if self.slower else -1)

    @property
    def shown(self) -> bool:
        """Whether these requests, sent without the profiler, show what the run found."""
        surely = math.log(self.low) if self.slower else -math.log(self.high)
        return self.along >= min(SHOWN_SHARE * abs(math.log(self.ratio)), surely)


def write_cause(cause: Cause, folder: Path) -> Path:
    """Write it into `folder`, replacing what was there as a whole."""
    text = json.dumps(cause.model_dump(mode="json", by_alias=True), ensure_ascii=False)
    return write_whole(folder / FILE, text + "\n")


def read_cause(folder: Path) -> Cause:
    """That of a folder. Raises UsageError for none, and for one that is damaged."""
    path = folder / FILE
    try:
        return Cause.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise UsageError(
            "cause", path, "no such file.", "Make it with `append-prefill cause RUN`."
        ) from error
    except ValidationError as error:
        raise UsageError(
            "cause",
            path,
            f"does not validate: {first_problem(error, 'cause')}.",
            "Measure it again with `append-prefill cause RUN`.",
        ) from error
