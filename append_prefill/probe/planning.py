"""A plan from a profile and options, and from a record: what is measured, and how often."""

from __future__ import annotations

from collections.abc import Sequence

from append_prefill.probe.plan import Plan
from append_prefill.records.cliffs import EXPERIMENT as CLIFFS
from append_prefill.records.cliffs import Cliff
from append_prefill.records.grounds import Side
from append_prefill.records.run import Run
from append_prefill.workload.pd_pair import EXPERIMENT as PD_PAIR
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile


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
    cliffs: Sequence[Cliff] = (),
) -> Plan:
    """The plan of a run; what is None comes from the profile.

    `experiments` selects by id (None = all that are not heavy). The kept `cliffs` are measured
    where all of the profile's points are, or where `cliffs` is among the ids; those in other
    traffic, where their experiment is. The points of other traffic are measured in the default one
    as well: what company, or age, costs is a ratio to that. So are those of a P/D pair, which is
    heavy: that a turn be sent there is decided by TTFT alone.
    Where nothing else is measured one launch tells that: the pair has launches of its own, each
    with a server alone beside it, as many as `starts` says if it does. Raises KeyError for an id
    the profile lacks.
    """
    # With Hypothesis, which a tenth of a second goes into: who reads a record plans nothing.
    from append_prefill.workload.strategies import drawn_points  # noqa: PLC0415

    traffic = {e.id: e for e in profile.traffic}
    if experiments is None:
        chosen = profile.experiments
        heard = tuple(e for e in profile.traffic if not e.heavy)
    else:
        known = {*traffic, CLIFFS, *([PD_PAIR] if profile.pd_pair else [])}
        chosen = tuple(profile.experiment(name) for name in experiments if name not in known)
        heard = tuple(traffic[name] for name in experiments if name in traffic)
    ids = {e.id for e in heard}
    with_cliffs = chosen == profile.experiments or CLIFFS in (experiments or ())
    pair = profile.pd_pair if PD_PAIR in (experiments or ()) else None
    if pair is not None:
        asked = {"launches": starts or pair.launches, "samples": samples or pair.samples}
        pair = pair.model_copy(update=asked)
    alone = pair is not None and not chosen and not heard
    own = {point for e in chosen for point in e.as_points}
    paired = () if pair is None else pair.as_points
    points = tuple(sorted(own.union(paired, *(e.as_points for e in heard))))
    drawn = drawn_points(profile.limits, profile.plan.drawn_points if chosen else 0, seed)
    return Plan(
        points=points,
        drawn=tuple(point for point in drawn if point not in points),
        sides=tuple(sides),
        starts=1 if alone else starts or profile.plan.starts,
        samples=samples or profile.plan.samples,
        seed=seed,
        budget_minutes=budget_minutes or profile.plan.budget_minutes,
        control=control,
        traffic=heard,
        cliffs=tuple(
            cliff
            for cliff in cliffs
            if (with_cliffs if cliff.experiment is None else cliff.experiment in ids)
        ),
        pd_pair=pair,
    )


def plan_of(run: Run, profile: Profile) -> Plan:
    """The plan that a record was measured by, with `profile`."""
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
        traffic=tuple(e for e in profile.traffic if e.id in record.traffic),
        cliffs=tuple(record.cliffs),
        pd_pair=profile.pd_pair if PD_PAIR in record.traffic else None,
    )
