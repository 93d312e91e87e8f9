"""Find the steps of a list: ask for the comparison that tells most, until nothing is left to tell.

All that is known is on disk, in the runs of the bisection's folder; whatever ends the search, the
same call goes on from there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from append_prefill.analysis.bisection.choice import (
    Next,
    next_comparison,
    posterior,
    settled,
)
from append_prefill.analysis.bisection.path import Path as LevelPath
from append_prefill.analysis.bisection.steps import (
    Sized,
    Step,
    Worth,
    between,
    level_at,
    told_of,
)
from append_prefill.engines.commits import tail_of
from append_prefill.errors import AppendPrefillError, InfrastructureError
from append_prefill.records.bisection import (
    Bisection,
    ComparisonMade,
    Ended,
    FoundStep,
    ListedPosition,
    Size,
    Suspect,
)
from append_prefill.records.run import Run
from append_prefill.run.bisection.history import LOG, RUNS, History, Trouble, read_back
from append_prefill.run.bisection.lists import Position, Positions, made_log
from append_prefill.run.bisection.where import traffic_of
from append_prefill.run.folders import LATEST
from append_prefill.run.progress import PROGRESS
from append_prefill.workload.profile import Profile

FIRST_MINUTES = 2.0
"""What the first comparison is taken to last, until one was measured: a few pairs on two cores.
Only whether the budget holds one hangs on it."""

UNANSWERED = 3
"""So many comparisons in a row without an answer are no chance: a device that is shared is taken
for longer than that."""

Measure = Callable[[Position, str, Position, str], bool]
"""Compare an earlier position with a later one: each with what `--sglang` takes for it. Leaves a
run in the folder; False if the user interrupted it."""


@dataclass(frozen=True)
class Origin:
    """The run that a search goes on from, and how the user named it.

    `suspects` are differences of its sides that are not measured. `first_ms`, `change_ms` and
    `change` as in `Bisection`, where its sides are what the list is about.
    """

    run: Run
    name: str
    suspects: Sequence[Suspect] = ()
    first_ms: float | None = None
    change_ms: float | None = None
    change: Size | None = None


@dataclass(frozen=True)
class Search:
    """One bisection. `asked` and `command` are for its record.

    `starts`, `samples`: pairs of a comparison, and samples per point and launch. `tell` takes a
    line of progress.
    """

    positions: Positions
    profile: Profile
    experiments: Sequence[str]
    starts: int
    samples: int
    budget_minutes: float
    folder: Path
    asked: dict[str, str]
    command: str
    measure: Measure
    tell: Callable[[str], None]
    told: Callable[[int, ComparisonMade], str]
    origin: Origin | None
    _began_s: float = field(default_factory=time.monotonic)
    _troubles: dict[str, Trouble] = field(default_factory=dict)
    _making_s: list[float] = field(default_factory=list)
    _unanswered: list[str] = field(default_factory=list)
    _nothing: list[str] = field(default_factory=list)
    _read: list[History] = field(default_factory=lambda: [History((), (), {})])
    _known: list[int] = field(default_factory=lambda: [0])

    @property
    def names(self) -> list[str]:
        return [position.name for position in self.positions.positions]

    def run(self) -> Bisection:
        """Measure until all is settled, nothing tells any more, or the budget is spent.

        Where no more can be measured, be it an end of the list or the machine, what was found until
        then is told with the problem.
        """
        try:
            return self._searched()
        except KeyboardInterrupt:  # while something is made: pytest handles its own
            return self._record("interrupted")
        except InfrastructureError as error:
            return self._record("stopped", str(error))

    def _searched(self) -> Bisection:
        while True:
            history = self._history()
            step = self._next(history)
            if step is None:
                return self._record(self._ended(history))
            if not self._holds(history, step):
                return self._record("budget")
            made = [self._made(at) for at in (step.earlier, step.later)]
            if None in made:
                continue
            earlier, later = (self.positions.positions[at] for at in (step.earlier, step.later))
            self.tell(f"{later.name} against {earlier.name}, {self.starts} pairs …")
            if not self.measure(earlier, str(made[0]), later, str(made[1])):
                self._history()
                return self._record("interrupted")
            after = self._history()
            if len(after.made) <= len(history.made):
                self._launched_nothing(earlier, later)
                continue
            self._nothing.clear()
            self.tell(self.told(len(after.made), after.made[-1]))
            self._give_up(after)

    def _history(self) -> History:
        policy = self.profile.policy
        history = read_back(
            self.folder,
            self.names,
            traffic=traffic_of(self.experiments, self.profile),
            min_effect=policy.min_effect,
            must_catch=policy.must_catch,
        )
        self._read[:] = [history]
        for name, trouble in history.troubles.items():
            if name not in self._troubles:
                self._skip(name, trouble)
        return history

    def _launched_nothing(self, earlier: Position, later: Position) -> None:
        """Raise InfrastructureError where that has gone on: a device that is taken comes free."""
        latest = self.folder / RUNS / LATEST / PROGRESS
        why = tail_of(latest, 1) or tail_of(self.folder / LOG)
        said = f"the comparison of {later.name} with {earlier.name} launched nothing: {why}"
        self._nothing.append(said)
        if len(self._nothing) >= UNANSWERED:
            raise InfrastructureError(f"{said} The same call goes on.")
        self.tell(said)

    def _give_up(self, history: History) -> None:
        """Raise InfrastructureError where one comparison after the other has no answer, and no
        version is to blame: the machine is.
        """
        known = len(self._troubles)
        answered = history.made[-1].size is not None or known > self._known[-1]
        self._known.append(known)
        self._unanswered[:] = [] if answered else [*self._unanswered, history.made[-1].folder]
        if len(self._unanswered) >= UNANSWERED:
            raise InfrastructureError(
                f"{len(self._unanswered)} comparisons in a row have no answer, the last one is in "
                f"{self.folder / self._unanswered[-1]}. Its report says why; the same call goes on."
            )

    def _skip(self, name: str, trouble: Trouble) -> None:
        self._troubles[name] = trouble
        if name in (self.names[0], self.names[-1]):
            log = (
                ""
                if trouble.log is None
                else (f" ({self.folder / trouble.log}; remove that folder to try it again)")
            )
            raise InfrastructureError(
                f"{name} is an end of the list and cannot be measured: {trouble.problem}{log}"
            )
        self.tell(f"{name} is left out: {trouble.problem}")

    def _made(self, at: int) -> str | None:
        """What `--sglang` takes; None where it cannot be had, which is then known."""
        position, began_s = self.positions.positions[at], time.monotonic()
        there = self.positions.at_hand(at)
        if not there:
            self.tell(f"{position.name}: making its environment …")
        try:
            made = self.positions.made(at, self.folder)
        except AppendPrefillError as error:
            log = made_log(self.folder, position.name)
            self._skip(position.name, Trouble(" ".join(str(error).split()), log))
            return None
        if not there:
            self._making_s.append(time.monotonic() - began_s)
        return made

    def _path(self, history: History) -> LevelPath:
        return posterior(
            len(self.names), history.compared, least=self._worth.least, missing=self._missing
        )

    @property
    def _worth(self) -> Worth:
        policy = self.profile.policy
        return Worth(math.log1p(policy.min_effect), math.log1p(policy.must_catch))

    @property
    def _missing(self) -> frozenset[int]:
        return frozenset(at for at, name in enumerate(self.names) if name in self._troubles)

    def _next(self, history: History) -> Next | None:
        return next_comparison(
            len(self.names),
            history.compared,
            worth=self._worth,
            missing=self._missing,
            se=self._expected_se(history),
            minutes=lambda *pair: self._minutes(history, *pair),
        )

    def _expected_se(self, history: History) -> float:
        """What the comparisons so far had, or the profile's assumption."""
        if history.compared:
            return math.sqrt(fmean(one.se**2 for one in history.compared))
        noise = self.profile.noise
        if noise.pair_sd is None:
            return noise.start_sd * math.sqrt(2 / self.starts)
        rounds = (noise.round_sd or 0.0) ** 2 / self.samples
        return math.sqrt((noise.pair_sd**2 + rounds) / self.starts)

    def _minutes(self, history: History, *pair: int) -> float:
        """What a comparison is expected to take, with what has to be made for it."""
        measuring = fmean(history.minutes) if history.minutes else FIRST_MINUTES
        # Before one was made: as long as a comparison.
        making = fmean(self._making_s) / 60 if self._making_s else measuring
        return measuring + making * sum(not self.positions.at_hand(at) for at in pair)

    def _holds(self, history: History, step: Next) -> bool:
        """Whether the budget holds this comparison; the first one is made in any case."""
        spent = (time.monotonic() - self._began_s) / 60
        expected = self._minutes(history, step.earlier, step.later)
        return not history.compared or spent + expected <= self.budget_minutes

    def _ended(self, history: History) -> Ended:
        told = told_of(self._path(history), self._worth)
        return "settled" if settled(told, self._missing) else "nothing-tells"

    def _record(self, ended: Ended, problem: str | None = None) -> Bisection:
        """What the runs that were read last say. Of a list that lost an end there is no total."""
        history = self._read[-1]
        path = self._path(history)
        told = told_of(path, self._worth)
        asked = {at for one in history.compared for at in (one.earlier, one.later)}
        whole = self._missing.isdisjoint({0, len(self.names) - 1})
        policy = self.profile.policy
        return Bisection(
            created_at=datetime.now(UTC),
            listed=self.positions.listed,
            asked=self.asked,
            experiments=list(self.experiments),
            min_effect=policy.min_effect,
            must_catch=policy.must_catch,
            minutes=sum(history.minutes),
            positions=[self._position(at, path, asked) for at in range(len(self.names))],
            comparisons=list(history.made),
            steps=[self._step(step) for step in told.steps],
            total=_size(level_at(path, len(self.names) - 1)) if asked and whole else None,
            rest=_size(told.rest) if asked and whole else None,
            open_chance=max(told.open_chance, 0.0),
            hidden_chance=max(told.hidden_chance, 0.0),
            ended=ended,
            problem=problem,
            command=self.command,
            **self._from(),
        )

    def _from(self) -> dict[str, Any]:
        origin = self.origin
        if origin is None:
            return {}
        return {
            "of": origin.name,
            "suspects": list(origin.suspects),
            "first_ms": origin.first_ms,
            "change_ms": origin.change_ms,
            "change": origin.change,
        }

    def _position(self, at: int, path: LevelPath, asked: set[int]) -> ListedPosition:
        position = self.positions.positions[at]
        trouble = self._troubles.get(position.name)
        return ListedPosition(
            name=position.name,
            title=position.title,
            level=_size(level_at(path, at)) if at in asked else None,
            own=_size(between(path, at - 1, at)) if {at - 1, at} <= asked else None,
            problem=None if trouble is None else trouble.problem,
            log=None if trouble is None else trouble.log,
        )

    def _step(self, step: Step) -> FoundStep:
        return FoundStep(
            before=self.names[step.before],
            after=self.names[step.after],
            unknown=self.names[step.before + 1 : step.after],
            chance=min(step.chance, 1.0),
            size=_size(step.size),
        )


def _size(sized: Sized) -> Size:
    return Size(ratio=math.exp(sized.value), low=math.exp(sized.low), high=math.exp(sized.high))
