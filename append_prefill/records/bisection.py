"""What a bisection found, `append-prefill/bisection/1`: the file `bisection.json` of its folder.

Sizes are ratios (1.05: 5 % slower). A value that is missing is None, never 0.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, ValidationError

from append_prefill.errors import UsageError, first_problem
from append_prefill.records.grounds import Record
from append_prefill.records.store import write_whole

FILE = "bisection.json"
SCHEMA: Literal["append-prefill/bisection/1"] = "append-prefill/bisection/1"

Listed = Literal["releases", "commits", "interpreters", "defaults"]
Ended = Literal["settled", "budget", "nothing-tells", "interrupted", "stopped"]
Seen = Literal["slower", "faster", "alike", "cannot-tell"]
Why = Literal["no-option", "unknown-old-value", "not-asked", "gone", "left-out"]


class Size(Record):
    """A ratio of levels with its 95 % interval."""

    ratio: float = Field(gt=0)
    low: float = Field(gt=0)
    high: float = Field(gt=0)


class ListedPosition(Record):
    """One version, commit, interpreter or set of defaults, in the order of the list.

    `title` says more than the name (a commit's subject). `level` is over the first one, None where
    it was not compared; `own` is over the one before it, None where either was not. `problem` is
    why it cannot be measured, `log` where that can be read.
    """

    name: str
    title: str | None = None
    level: Size | None = None
    own: Size | None = None
    problem: str | None = None
    log: str | None = None


class FoundStep(Record):
    """A change of the level after `before` and no later than `after`.

    They are neighbours, but for what is in `unknown`: positions between that cannot be measured,
    or were not told apart. `chance` is how likely there is a step.
    """

    before: str
    after: str
    unknown: list[str]
    chance: float = Field(ge=0, le=1)
    size: Size


class ComparisonMade(Record):
    """One comparison: a run of its own, in `folder` (as seen from the bisection's).

    `size` is of `later` over `earlier`, over the points measured; None where it was not to be had.
    `delta_ms` is the same in milliseconds. `seen` is what it shows taken alone.
    """

    folder: str
    earlier: str
    later: str
    launches: int
    minutes: float | None
    size: Size | None
    delta_ms: float | None
    seen: Seen | None


class Suspect(Record):
    """A difference between two neighbours that was not measured, and why not.

    `old`, `new`: what either side has, as text; None where it has none. Of what was tried and does
    not work (`left-out`) `problem` says how, and `log` where that can be read.
    """

    kind: Literal["argument", "variable", "dependency"]
    name: str
    old: str | None
    new: str | None
    reason: Why
    problem: str | None = None
    log: str | None = None


class Bisection(Record):
    """The whole. `asked` is what has to be equal for a bisection to be gone on with.

    `total` is the last position over the first, `rest` the part of it that is in no step.
    `open_chance`: the probabilities, summed, of steps of `min_effect` or more where none is named,
    `hidden_chance` of `must_catch` or more; null in records from before it was told. `problem` is
    what stopped it.
    `suspects` are differences that were not measured. Of defaults the list begins with the newer
    version as it is; `first_ms` is then its level, `change_ms` what it takes more than the older
    one, in milliseconds, and `change` its level over that one's.
    """

    schema_: Literal["append-prefill/bisection/1"] = Field(default=SCHEMA, alias="schema")
    created_at: datetime
    listed: Listed
    asked: dict[str, str]
    experiments: list[str]
    min_effect: float
    must_catch: float
    minutes: float
    positions: list[ListedPosition]
    comparisons: list[ComparisonMade]
    steps: list[FoundStep]
    total: Size | None
    rest: Size | None
    open_chance: float
    hidden_chance: float | None = None
    ended: Ended
    problem: str | None = None
    command: str
    of: str | None = None
    first_ms: float | None = None
    change_ms: float | None = None
    change: Size | None = None
    suspects: list[Suspect] = Field(default_factory=list)

    model_config = ConfigDict(extra="forbid", populate_by_name=True, allow_inf_nan=False)


def write_bisection(bisection: Bisection, folder: Path) -> Path:
    """Write it into `folder`, replacing what was there as a whole."""
    text = json.dumps(
        bisection.model_dump(mode="json", by_alias=True), indent=1, ensure_ascii=False
    )
    return write_whole(folder / FILE, text + "\n")


def read_bisection(folder: Path) -> Bisection | None:
    """That of a folder; None where there is none yet. Raises UsageError for one that is damaged."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        return Bisection.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise UsageError(
            "--report-dir",
            path,
            f"does not validate: {first_problem(error, 'bisection')}.",
            "Remove the file: the runs beside it are read again.",
        ) from error
