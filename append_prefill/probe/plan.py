"""The sampling plan: which launches in which order, which points in which blocks, from one seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, get_args

import numpy as np

from append_prefill.records.cliffs import EXPERIMENT as CLIFFS
from append_prefill.records.cliffs import Cliff, alone_in
from append_prefill.records.grounds import Side
from append_prefill.records.run import PlanRecord
from append_prefill.workload.any_point import experiment_at
from append_prefill.workload.pd_pair import EXPERIMENT as PD_PAIR
from append_prefill.workload.pd_pair import PdPair
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile
from append_prefill.workload.traffic import DEFAULT, Condition, State
from append_prefill.workload.traffic_experiment import TrafficExperiment, Unit

_T = TypeVar("_T")

Task = Point | Unit
"""What a block takes in one go: a sample of a point, or a unit of other traffic."""

PLANE_SHARE = 0.8
"""The part of the false-alarm rate that the points have where other traffic is judged, too; the
experiments in other traffic share the rest equally, so that the whole is still the policy's. What
the points must not hide is small (3 %), and with few launches a smaller rate costs them much; the
others must not hide three times as much, and can pay for it."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Launches that run back to back on one device: one of each side, or one alone."""

    index: int
    sides: tuple[Side, ...]


def abba(sides: tuple[_T, ...], index: int) -> tuple[_T, ...]:
    """The sides of the index-th pair in order; odd ones reversed, so that two in a row are ABBA.

    A drift that is linear over the four launches then adds the same to both sides.
    """
    return sides if index % 2 == 0 else sides[::-1]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run measures. `points` are the selected experiments', `drawn` the seed's extras.

    `traffic`: the selected experiments in other traffic than the default. `pd_pair`: what is
    measured of a prefill and a decode server, None for nothing.

    `control`: the version of the reference side where that is a control.

    `cliffs`: those kept for the profile. No definition is made of them, so that what was measured
    before they were found stays comparable.
    """

    points: tuple[Point, ...]
    drawn: tuple[Point, ...]
    sides: tuple[Side, ...]
    starts: int
    samples: int
    seed: int
    budget_minutes: float
    control: str | None = None
    traffic: tuple[TrafficExperiment, ...] = ()
    cliffs: tuple[Cliff, ...] = ()
    pd_pair: PdPair | None = None

    @property
    def all_points(self) -> tuple[Point, ...]:
        return tuple(sorted({*self.points, *self.drawn, *self.cliff_points}))

    @property
    def cliff_points(self) -> tuple[Point, ...]:
        """Both points of each kept cliff of the default traffic."""
        own = alone_in(self.cliffs)
        return tuple(dict.fromkeys(point for cliff in own for point in cliff.points))

    @property
    def measured_traffic(self) -> tuple[TrafficExperiment, ...]:
        """`traffic`, and beside each the kept cliffs in it, which no comparison is made of."""
        kept = []
        for experiment in self.traffic:
            has = {condition.point for condition in experiment.conditions}
            own = [cliff for cliff in self.cliffs if cliff.experiment == experiment.id]
            points = dict.fromkeys(point for cliff in own for point in cliff.points)
            if new := [point for point in points if point not in has]:
                kept.append(experiment_at(experiment, new))
        return (*self.traffic, *kept)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """All that samples are taken at, those of the default traffic first; each once."""
        own = [Condition(DEFAULT, point) for point in self.all_points]
        others = [condition for e in self.measured_traffic for condition in e.conditions]
        return tuple(dict.fromkeys([*own, *others]))

    @property
    def units(self) -> tuple[Unit, ...]:
        """What is measured in other traffic."""
        return tuple(unit for e in self.measured_traffic for unit in e.units)

    @property
    def states(self) -> tuple[State, ...]:
        """Those that a launch's server comes into after its fresh blocks, in their order."""
        there = {e.state for e in self.traffic} - {"fresh"}
        return tuple(state for state in get_args(State) if state in there)

    def probed(self, state: State) -> Point:
        """The shortest point that is measured in a state: the one of the stages on the way there.

        Raises ValueError where none is.
        """
        points = [point for e in self.traffic if e.state == state for point in e.as_points]
        return min(points, key=lambda point: point.total_tokens)

    @property
    def samples_a_block(self) -> float:
        """Samples of one pass over everything planned, in the mean of a launch's blocks."""
        points = len(self.all_points)
        others = (e.samples / (e.every if points else 1) for e in self.measured_traffic)
        return points + sum(others)

    def longest_tokens(self, output_tokens: int) -> int:
        """Of the longest request, or conversation, with its output."""
        needs = [point.total_tokens + output_tokens for point in self.all_points]
        needs += [
            unit.total_tokens + (0 if unit.conversation else output_tokens) for unit in self.units
        ]
        return max(needs)

    def least_tokens(self, output_tokens: int) -> int:
        """What a server must take for the plan to be measured at all: of points the shortest, since
        longer ones can be left out, and all of what is in other traffic; with the output.
        """
        others = replace(self, points=(), drawn=())
        needs = [others.longest_tokens(output_tokens)] if self.units else []
        if self.all_points:
            needs.append(min(p.total_tokens for p in self.all_points) + output_tokens)
        return max(needs)

    def held_tokens(self, output_tokens: int) -> int:
        """What the KV cache must hold at once: of one request, or of all in company."""
        held = [unit.held_tokens(output_tokens) for unit in self.units]
        return max([self.least_tokens(output_tokens), *held])

    def experiments_of(self, point: Point, profile: Profile) -> list[str]:
        """Ids of the experiments a point belongs to; empty for a drawn one."""
        kept = [CLIFFS] if point in self.cliff_points else []
        return [*profile.experiments_of(point), *kept]

    def pair(self, index: int) -> Pair:
        """The index-th pair."""
        return Pair(index, abba(self.sides, index))

    def order(self, pair: int, block: int, state: State = "fresh") -> list[Task]:
        """The tasks in the random order of one block; the same on both sides of a pair.

        Blocks of a server in another state have what is measured in it, all of it in each.
        """
        rng = np.random.default_rng([self.seed, pair, block])
        points = self.all_points if state == "fresh" else ()
        # Without points there is nothing else to take, in any block.
        due = [
            e
            for e in self.measured_traffic
            if e.state == state and (block % e.every == 0 or not points)
        ]
        tasks: list[Task] = [*points, *(unit for e in due for unit in e.units)]
        return [tasks[i] for i in rng.permutation(len(tasks))]

    def prompt_seed(self, pair: int) -> tuple[int, ...]:
        """Seed of the token ids of one pair; both sides are sent the same ids."""
        return (self.seed, pair, 1)

    def core_seed(self, pair: int) -> tuple[int, ...]:
        """Seed of the cores that the threads of one pair are placed on."""
        return (self.seed, pair)

    def with_points(self, points: Sequence[Point]) -> Plan:
        """The same of these points, and none of any experiment."""
        return replace(self, points=tuple(sorted(points)), drawn=(), traffic=())

    def narrowed(self, profile: Profile) -> Profile:
        """The profile that the plan is judged by.

        It has only those experiments of which the plan measures every point: a claim about points
        that were not selected does not apply; it is not undecided. Where other traffic is measured,
        its policy has the points' part of the false-alarm rate.
        """
        kept = tuple(e for e in profile.experiments if set(e.as_points) <= set(self.points))
        policy = profile.policy
        if self.traffic and self.all_points:
            rate = policy.false_alarm_rate * PLANE_SHARE
            policy = policy.model_copy(update={"false_alarm_rate": rate})
        return profile.model_copy(
            update={
                "experiments": kept,
                "traffic": self.traffic,
                "pd_pair": self.pd_pair,
                "policy": policy,
            }
        )

    def record(self, link_gb_per_s: float) -> PlanRecord:
        """The plan as the run record keeps it."""
        return PlanRecord(
            sides=list(self.sides),
            starts=self.starts,
            samples=self.samples,
            points=[(p.context_tokens, p.append_tokens) for p in self.points],
            drawn=[(p.context_tokens, p.append_tokens) for p in self.drawn],
            traffic=[
                *(experiment.id for experiment in self.traffic),
                *([PD_PAIR] if self.pd_pair else []),
            ],
            pairs=[list(self.pair(i).sides) for i in range(self.starts)],
            budget_minutes=self.budget_minutes,
            link_gb_per_s=link_gb_per_s,
            control=self.control,
            cliffs=list(self.cliffs),
        )
