"""What one experiment in other traffic than the default came to, in `append-prefill/run/2`."""

from __future__ import annotations

from pydantic import Field

from append_prefill.records.comparison import Comparison, Detects, detects
from append_prefill.records.figures import Estimate, TimeMs, Tokens
from append_prefill.records.grounds import ComparisonVerdict, Ground, Record
from append_prefill.records.states import Growth
from append_prefill.workload.points import Point
from append_prefill.workload.traffic import ContextKind, Form, State, Traffic


class TrafficPoint(Record):
    """The candidate at one condition of an experiment.

    `turn` is its number in the conversation, from 2; null where it is of none. Median, interval,
    launches and samples are as at a point; `p90_ms` and `p99_ms` are of all valid samples together,
    null where they are too few to tell. `cached_tokens` is the median of what was cached,
    `planned_cached_tokens` what should have been.

    The rest is null where it does not apply. `boundary_merged_tokens`: how many tokens at the end
    of a text's or a chat's context are others in the whole prompt, in the mean of all samples.
    `over_alone`: TTFT over that of the same point in the default traffic, in the same launches,
    with `over_alone_low` and `over_alone_high`, its 95 % interval over launches. `offered_per_s`
    and `completed_per_s`: requests a second that were due, and that came to their end, from the
    first being due on, in the median of all units; `saturation_per_s`: the latter where it stays
    behind what was offered, so that a queue grows. `late_p99_ms`: how late the client sent.
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
    boundary_merged_tokens: float | None = None
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


class Boundary(Record):
    """What the candidate's tokenizer and template merged where context and append meet.

    `share` of the prompts lost tokens of their context to it, `tokens` of them in the mean of those
    prompts, null where none did. `prefilled_again_tokens`: how many more tokens those prompts
    prefilled than the others at the same points, which the rest of a page is part of, and
    `cost_ms`: how much more TTFT they took for it in the same launches, with its 95 % interval over
    launches; null where no point has prompts of both.
    """

    share: float = Field(ge=0, le=1)
    tokens: float | None
    prefilled_again_tokens: float | None
    cost_ms: Estimate | None


class TrafficResult(Record):
    """One experiment in other traffic than the default, judged on its own.

    `over_ids` is null for ids, and where the points were not measured as ids; `boundary` for ids,
    and for conversations, whose turns begin with a new word; `growth` for a fresh server, and where
    no launch tells it. `comparison` is null where nothing was compared; its
    false-alarm rate is this experiment's part of the run's. `reason` says why the experiment was
    not measured, null where it was. `heavy`: it is measured only where it is asked for
    (`-m "append_prefill and load"`); false in records of suites before 0.2.
    """

    experiment: str
    title: str
    context: ContextKind
    form: Form
    company: str
    state: State
    points: list[TrafficPoint]
    over_ids: OverIds | None = None
    boundary: Boundary | None = None
    growth: Growth | None = None
    comparison: Comparison | None = None
    reason: str | None = None
    heavy: bool = False

    @property
    def traffic(self) -> Traffic:
        return Traffic(self.context, self.form, self.company, self.state)


class TrafficMean(Record):
    """The mean change over `experiments` in other traffic, measured side by side.

    Each is weighed by one over what its pairs scatter by; `weights` sum to 1. `ratio` is candidate
    over reference on the log scale, with a 95 % interval; `p` is two-sided, `alpha` the one-sided
    false-alarm rate that the mean has. `mde`: the least change of all of them that it finds 95
    times in 100, null where none below a hundredfold. `verdict`: `regression`, `improvement` or
    `inconclusive`; what passes is said of each experiment alone.
    """

    experiments: list[str]
    weights: list[float]
    ratio: float
    low: float
    high: float
    p: float
    alpha: float
    mde: float | None
    verdict: ComparisonVerdict

    @property
    def detects(self) -> Detects:
        """As `Comparison.detects`."""
        return detects(self.mde, Ground(code="undecided"))
