"""Cliffs: what a search found, and the file of those that are kept and measured ever after.

`append-prefill/cliffs/1` is `cliffs/PROFILE.json`, beside `baselines/`;
`append-prefill/cliff-search/1` is `cliffs.json` in a search's folder. Sizes are ratios (1.4: 40 %
more). What is missing is None.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, Field

from append_prefill.records.figures import Tokens
from append_prefill.records.grounds import Record, Side
from append_prefill.workload.points import Point

EXPERIMENT = "cliffs"
"""What kept cliffs are called where experiments are."""

KEPT_SCHEMA: Literal["append-prefill/cliffs/1"] = "append-prefill/cliffs/1"
SEARCH_SCHEMA: Literal["append-prefill/cliff-search/1"] = "append-prefill/cliff-search/1"
SEARCH_FILE = "cliffs.json"

Axis = Literal["append", "context"]
Range = tuple[Tokens, Tokens]
Ended = Literal["minutes", "requests", "suspects", "interrupted"]
Told = Literal["confirmed", "not-confirmed", "no-edge", "not-tried"]


class Edge(Record):
    """Two points (L, m) that differ on one axis by a step, with TTFT jumping from one to the other.

    `expected_ratio`: what the surface has of `slow` over `fast`, so what is no jump. `experiment`:
    the one in whose traffic it is, null for lone append-prefills behind a primed context.
    """

    axis: Axis
    fast: Range
    slow: Range
    expected_ratio: float = Field(gt=0)
    experiment: str | None = None

    @property
    def points(self) -> tuple[Point, Point]:
        """The fast one, the slow one."""
        return Point(*self.fast), Point(*self.slow)


class Cliff(Edge):
    """An edge that fresh launches confirmed: its jump beyond what is expected, 95 % interval.

    `context_tokens`, `append_tokens`: how far it reaches from `slow` along each axis, both ends
    included; what lies off these two lines was not looked at. `p`: of the jump being no more than
    the bound.
    """

    ratio: float = Field(gt=0)
    low: float = Field(gt=0)
    high: float = Field(gt=0)
    p: float
    launches: int
    context_tokens: Range
    append_tokens: Range
    found_at: datetime
    version: str | None
    device: str

    def has(self, point: Point) -> bool:
        """Whether a point lies within its reach."""
        return all(
            low <= tokens <= high
            for (low, high), tokens in (
                (self.context_tokens, point.context_tokens),
                (self.append_tokens, point.append_tokens),
            )
        )


class Suspect(Record):
    """A place that the search went to see, and what came of it.

    `point` is what drew attention, `excess` how much it took beyond what is expected. `edge` is the
    sharpest there, with the search's own estimate of its jump, which is no evidence.
    """

    point: Range
    excess: float
    edge: Edge | None
    jump: float | None
    context_tokens: Range
    append_tokens: Range
    told: Told
    ratio: float | None = None
    low: float | None = None
    p: float | None = None


def alone_in(cliffs: Iterable[Cliff]) -> list[Cliff]:
    """Those of lone append-prefills behind a primed context, the default traffic."""
    return [cliff for cliff in cliffs if cliff.experiment is None]


class CliffSearch(Record):
    """One search, whole.

    `requests` are those of the searching launch (two a lone sample), `points` the (L, m) looked at,
    `noise_sd` the scatter of its samples on the log scale. `false_alarm_rate`: that it confirms a
    cliff where no jump is beyond `bound`; over all of its suspects. `experiment`: in whose traffic,
    null for lone append-prefills behind a primed context.
    """

    schema_: Literal["append-prefill/cliff-search/1"] = Field(default=SEARCH_SCHEMA, alias="schema")
    created_at: datetime
    version: str | None
    profile: str
    device: str
    seed: int
    bound: float
    false_alarm_rate: float
    minutes: float
    experiment: str | None = None
    requests: int
    points: int
    noise_sd: float | None
    launches: int
    suspects: list[Suspect]
    cliffs: list[Cliff]
    ended: Ended
    command: str

    model_config = ConfigDict(extra="forbid", populate_by_name=True, allow_inf_nan=False)


class KeptCliffs(Record):
    """The cliffs of one profile that every run measures."""

    schema_: Literal["append-prefill/cliffs/1"] = Field(default=KEPT_SCHEMA, alias="schema")
    profile: str
    cliffs: list[Cliff] = []

    model_config = ConfigDict(extra="forbid", populate_by_name=True, allow_inf_nan=False)


class CliffSide(Record):
    """A kept cliff on one side of a run: its jump now, 95 % interval over launches.

    `standing`: whether it is still there; None where the interval leaves it open. `ratio` is None
    where no launch has both points, the interval where one launch is all.
    """

    side: Side
    ratio: float | None
    low: float | None
    high: float | None
    standing: bool | None


class KeptCliff(Record):
    """A kept cliff, as a run measured it."""

    edge: Edge
    found: float
    found_version: str | None
    sides: list[CliffSide]
