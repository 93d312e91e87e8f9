"""The run record, `append-prefill/run/2`: what one run measured and what was made of it.

Times are milliseconds unless a key ends in `_s`. A value that is missing is None (JSON null),
never 0. `schema/run.schema.json` is generated from these classes and checked in.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from append_prefill.records.cliffs import Cliff, KeptCliff, alone_in
from append_prefill.records.comparison import Comparison
from append_prefill.records.confirmation import Confirmation, Confirms
from append_prefill.records.figures import Estimate, TimeMs, Tokens
from append_prefill.records.grounds import FindingGround, FindingVerdict, Record, RunWarning, Side
from append_prefill.records.launch import Start, told_version
from append_prefill.records.noise import NoiseRecord
from append_prefill.records.pd_pair import PairBackend
from append_prefill.records.traffic import TrafficMean, TrafficResult
from append_prefill.workload.points import Point

SCHEMA: Literal["append-prefill/run/2"] = "append-prefill/run/2"


READABLE = ("append-prefill/run/1", SCHEMA)
"""Schemas that are read. Run 1 had no traffic but the default's; what it has means the same."""


RunVerdict = Literal[
    "pass",
    "regression",
    "broken",
    "improvement",
    "inconclusive",
    "not-comparable",
    "infrastructure",
]


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
    """A claim of the study, measured. `low`/`high`: 95 % interval over launches, no narrower than
    their own samples leave it (before 0.2 it could be).

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


Term = Literal["chunk", "padding", "attention", "attention_of_all"]
"""What may be added to the fitted surface: each further chunk of a prefill, tokens by which a chunk
is padded to a captured graph's size, pairs of a new token and one that it attends to, and the same
where every chunk attends for all tokens so far."""


class Step(Record):
    """Why a term was added to the fitted surface, or was not.

    `fitted`, `not-needed` (it betters the fit by no more than chance, or its interval over launches
    holds 0), `bend` (chunks: no step at
    the edges themselves), `no-edge` (no two points close to both sides of a chunk's edge; no point
    that is padded), `short` (no prompt of so many tokens), `off` (no graphs), `not-told` (the
    server did not tell the size). `tokens`: the chunk, the largest captured size, or how long a
    prompt has to be. `gain` is n ln(S without / S with), S the squared relative residuals of n
    values, and had to exceed `needed`.
    """

    code: Literal["fitted", "not-needed", "bend", "no-edge", "short", "off", "not-told"]
    tokens: Tokens | None = None
    gain: float | None = None
    needed: float | None = None


class Surface(Record):
    """The fitted TTFT(L, m) of the candidate.

    `form` is `sum` (T0 + a m + b L) or `max` (max(T0, a m) + b L), whichever leaves the smaller
    relative residual; `crossover_tokens` is m*, where the new tokens of a prompt, with the chunk
    steps among them, cost as much as the floor: T0 / a where nothing was added. What was added:
    `chunk_ms` each further chunk, `padded_token_us` each token of padding, `attention_ns` each pair
    of `attention` or `attention_of_all`; `steps` says why, or why not. Records of suites before 0.2
    have none of them.
    """

    form: Literal["sum", "max"]
    floor_ms: Estimate
    new_token_us: Estimate
    cached_token_us: Estimate
    crossover_tokens: Estimate
    residual: float | None
    starts: int
    chunk_ms: Estimate | None = None
    padded_token_us: Estimate | None = None
    attention_ns: Estimate | None = None
    steps: dict[Term, Step] = {}


class PlanRecord(Record):
    """What was planned: enough to plan it again from the seed.

    `traffic`: ids of the profile's experiments in other traffic than the default, and `pd_pair`
    where a prefill and a decode server are. `control`: the version of the reference side where that
    is a control, never judged itself. `cliffs`: those kept for the profile, whose points are
    measured as well.
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
    cliffs: list[Cliff] = []

    @property
    def has_points(self) -> bool:
        """Whether points of the default traffic are measured, and so judged: planned ones, drawn
        ones, or kept cliffs alone.
        """
        return bool(self.points or self.drawn or alone_in(self.cliffs))


class Run(Record):
    """One run, whole. `verdict` is null until the record was judged.

    `suite` has the suite's version and what it was told: the options, and what the user calls the
    sides (`label`, `against_label`), where that was said. `pd_pair`: one entry a transfer backend
    that was tried.

    `confirms` is the run whose suspicion this one measures again, `confirmations` are what such
    runs said of this one's.
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
    cliffs: list[KeptCliff] = []
    pd_pair: list[PairBackend] = []
    traffic_mean: TrafficMean | None = None
    noise: NoiseRecord | None = None
    verdict: RunVerdict | None = None
    provenance: Literal["suite", "study"] = "suite"
    warnings: list[RunWarning | str] = []
    confirms: Confirms | None = None
    confirmations: list[Confirmation] = []

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
        return told_version(self.subject)

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
