"""What the history keeps of a run: who measured what, what came out, and every quantity's value."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from append_prefill.records.comparison import ComparisonKind, Role
from append_prefill.records.confirmation import Confirmation
from append_prefill.records.definition import defined_by
from append_prefill.records.identity import identity_of
from append_prefill.records.run import Run, RunVerdict
from append_prefill.workload.points import Point

Purpose = Literal["nightly", "partial", "try", "simulated"]
"""Why a run was made. `nightly`: scheduled, as CI or `ci/nightly.sh` said; `partial`: not all of
its profile's experiments, a quick one, one that was cut short, or one that measures a suspicion
again; `simulated`: of no SGLang; `try`: whatever else. The first of simulated, partial, nightly,
try that holds."""

PURPOSE_KEY = "purpose"
"""In a record's `suite`: what the run was told of its purpose (`nightly`, `partial` or `try`)."""

Line = Literal["own", "reference"]
"""What a value is relative to: nothing (`own`), or the run's `Yardstick`."""


@dataclass(frozen=True, slots=True)
class Value:
    """One quantity of one run with its 95 % interval over launches; None where it is not known.

    Of the line `own`: `level` (ms, the geometric mean over points of the compared statistic),
    `floor_ms`, `new_token_us`, `cached_token_us`, `finding:ID` and `point:LABEL` (ms, the median).
    Of the line `reference`: `level`, `floor_points`, `compute_points`, `append_end`, `context_end`,
    `point:LABEL` and `traffic:EXPERIMENT` (its level), candidate over reference. `slower`: what the
    run's own rule says of it (of a finding: that it is broken), None where that did not judge it.
    """

    line: Line
    quantity: str
    value: float | None
    low: float | None = None
    high: float | None = None
    slower: bool | None = None


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What a run was held against, as its history follows it.

    `reference` is its name, by which sessions with one yardstick are known; `mde` the least effect
    everywhere that the comparison finds 95 times in 100.
    """

    kind: ComparisonKind
    role: Role
    reference: str
    verdict: str
    mde: float | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One run of the history. `path` is its folder, relative to the report folder where inside it.

    `whole`: it was judged, and measured all its profile has. `minutes` are device-minutes.
    """

    key: str
    path: str
    created_at: datetime
    host: str | None
    profile: str
    definition: str
    identity: Mapping[str, Any]
    version: str | None
    label: str | None
    reference: str | None
    verdict: RunVerdict | None
    purpose: Purpose
    whole: bool
    launches: int
    minutes: float | None
    blocks: int
    invalid_blocks: int
    yardstick: Yardstick | None = None
    values: tuple[Value, ...] = ()
    confirmations: tuple[Confirmation, ...] = ()

    @property
    def simulated(self) -> bool:
        """Whether the suite's own simulated server was measured."""
        return self.identity.get("device_kind") == "planted"

    @property
    def name(self) -> str:
        """What the candidate is called."""
        return self.label or self.version or "the candidate"

    @property
    def points(self) -> set[str]:
        """Labels of the points that were measured."""
        points = (v.quantity.removeprefix("point:") for v in self.values if _is_point(v))
        return set(points)

    def value_of(self, quantity: str, line: Line = "own") -> Value | None:
        """That quantity of that line; None where the run has none."""
        return next((v for v in self.values if v.quantity == quantity and v.line == line), None)


def _is_point(value: Value) -> bool:
    return value.line == "own" and value.quantity.startswith("point:")


def key_of(run: Run) -> str:
    """What tells the run from all others, on whichever host it was measured.

    The same for a record wherever it lies and however often it was judged.
    """
    told = [run.created_at.astimezone(UTC).isoformat(), host_of(run) or "", str(run.seed)]
    told += [run.definition, run.version or ""]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


def host_of(run: Run) -> str | None:
    """The host that the run was started on, as the record tells it."""
    host = run.state.get("host")
    return host if isinstance(host, str) else None


def purpose_of(run: Run) -> Purpose:
    """Why the run was made; of records that were not told it, from what they hold."""
    if run.simulated:
        return "simulated"
    if not complete(run):
        return "partial"
    return "nightly" if run.suite.get(PURPOSE_KEY) == "nightly" else "try"


def complete(run: Run) -> bool:
    """Whether the run measured all that its profile has, as planned."""
    told = run.suite.get(PURPOSE_KEY)
    if run.interrupted or told == "partial":
        return False
    if told is not None:
        return True
    # Suites before 0.2 did not say: a plan of all points hashes to the definition.
    if "--quick" in shlex.split(run.suite.get("options", "")):
        return False
    protocol = identity_of(run).get("protocol")
    if protocol is None:
        return False
    return defined_by(protocol, [Point(*point) for point in run.plan.points]) == run.definition


def whole(run: Run) -> bool:
    """Whether the run may be one of a series, or of a reference: complete, valid, repeatable."""
    return run.verdict not in (None, "infrastructure") and run.replicated and complete(run)
