"""The sampling plan: which launches in which order, which points in which blocks, from one seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from append_prefill.records.grounds import Side
from append_prefill.records.run import PlanRecord, Run
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile
from append_prefill.workload.strategies import drawn_points


@dataclass(frozen=True, slots=True)
class Pair:
    """Launches that run back to back on one device: one of each side, or one alone."""

    index: int
    sides: tuple[Side, ...]


def abba(sides: tuple[Side, ...], index: int) -> tuple[Side, ...]:
    """The sides of the index-th pair in order; odd ones reversed, so that two in a row are ABBA.

    A drift that is linear over the four launches then adds the same to both sides.
    """
    return sides if index % 2 == 0 else sides[::-1]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run measures. `points` are the selected experiments', `drawn` the seed's extras.

    `control`: the version of the reference side where that is a control.
    """

    points: tuple[Point, ...]
    drawn: tuple[Point, ...]
    sides: tuple[Side, ...]
    starts: int
    samples: int
    seed: int
    budget_minutes: float
    control: str | None = None

    @property
    def all_points(self) -> tuple[Point, ...]:
        return tuple(sorted({*self.points, *self.drawn}))

    def pair(self, index: int) -> Pair:
        """The index-th pair."""
        return Pair(index, abba(self.sides, index))

    def order(self, pair: int, block: int) -> list[Point]:
        """The points in the random order of one block; the same on both sides of a pair."""
        rng = np.random.default_rng([self.seed, pair, block])
        points = self.all_points
        return [points[i] for i in rng.permutation(len(points))]

    def prompt_seed(self, pair: int) -> tuple[int, ...]:
        """Seed of the token ids of one pair; both sides are sent the same ids."""
        return (self.seed, pair, 1)

    def core_seed(self, pair: int) -> tuple[int, ...]:
        """Seed of the cores that the threads of one pair are placed on."""
        return (self.seed, pair)

    def narrowed(self, profile: Profile) -> Profile:
        """The profile with only those experiments of which the plan measures every point.

        A claim about points that were not selected does not apply; it is not undecided.
        """
        kept = tuple(e for e in profile.experiments if set(e.as_points) <= set(self.points))
        return profile.model_copy(update={"experiments": kept})

    def record(self, link_gb_per_s: float) -> PlanRecord:
        """The plan as the run record keeps it."""
        return PlanRecord(
            sides=list(self.sides),
            starts=self.starts,
            samples=self.samples,
            points=[(p.context_tokens, p.append_tokens) for p in self.points],
            drawn=[(p.context_tokens, p.append_tokens) for p in self.drawn],
            pairs=[list(self.pair(i).sides) for i in range(self.starts)],
            budget_minutes=self.budget_minutes,
            link_gb_per_s=link_gb_per_s,
            control=self.control,
        )


def make_plan(
    profile: Profile,
    *,
    seed: int,
    sides: Sequence[Side],
    experiments: Sequence[str] | None = None,
    starts: int | None = None,
    samples: int | None = None,
    budget_minutes: float | None = None,
    control: str | None = None,
) -> Plan:
    """The plan of a run; what is None comes from the profile.

    `experiments` selects by id (None = all). Raises KeyError for an id the profile lacks.
    """
    chosen = (
        profile.experiments
        if experiments is None
        else tuple(profile.experiment(name) for name in experiments)
    )
    points = tuple(sorted({point for e in chosen for point in e.as_points}))
    drawn = drawn_points(profile.limits, profile.plan.drawn_points, seed)
    return Plan(
        points=points,
        drawn=tuple(point for point in drawn if point not in points),
        sides=tuple(sides),
        starts=starts or profile.plan.starts,
        samples=samples or profile.plan.samples,
        seed=seed,
        budget_minutes=budget_minutes or profile.plan.budget_minutes,
        control=control,
    )


def plan_of(run: Run) -> Plan:
    """The plan that a record was measured by."""
    record = run.plan
    return Plan(
        points=tuple(Point(*point) for point in record.points),
        drawn=tuple(Point(*point) for point in record.drawn),
        sides=tuple(record.sides),
        starts=record.starts,
        samples=record.samples,
        seed=run.seed,
        budget_minutes=record.budget_minutes,
        control=record.control,
    )
