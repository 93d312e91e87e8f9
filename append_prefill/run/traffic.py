"""Other traffic than the default, experiment by experiment: summarised, compared, judged.

What judges points judges these, given launches that hold one experiment's conditions alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from append_prefill.analysis.boundary import boundary
from append_prefill.analysis.company import ratios, throughput
from append_prefill.analysis.family import part_of_each
from append_prefill.analysis.forms import over_ids
from append_prefill.analysis.states import growth
from append_prefill.analysis.summary import (
    CONFIDENCE,
    geometric_interval,
    start_medians,
    upper_quantile,
    usable,
)
from append_prefill.probe.plan import PLANE_SHARE
from append_prefill.records.comparison import Comparison, Look
from append_prefill.records.launch import Start
from append_prefill.records.noise import NoiseRecord
from append_prefill.records.run import Run
from append_prefill.records.traffic import TrafficMean, TrafficPoint, TrafficResult
from append_prefill.run.against import noise_for
from append_prefill.run.comparing import Level, compare_all
from append_prefill.run.references import References
from append_prefill.run.traffic_family import Family, family_of
from append_prefill.workload.policy import Plane
from append_prefill.workload.profile import Profile
from append_prefill.workload.traffic import Condition
from append_prefill.workload.traffic_experiment import TrafficExperiment


class Judged(NamedTuple):
    """A result an experiment, in the profile's order, and what they have in common."""

    results: list[TrafficResult]
    mean: TrafficMean | None


def judge_traffic(
    run: Run,
    profile: Profile,
    *,
    references: References,
    replicable: bool,
    looks: Sequence[Look] = (),
    level: Level | None = None,
    points: Comparison | None = None,
) -> Judged:
    """Every experiment of `profile.traffic`, and all of them together.

    `profile` is narrowed to what was planned, so that its policy's false-alarm rate, or that of
    `level`, is the points' part where there are points; the experiments have the rest, and the
    points' as well in the direction in which `points`, their comparison side by side, is rejected.
    Side by side their mean is tested first (`family.part_of_each`), and each is judged by what all
    of them scatter by. A stored run is compared in each alone, at an equal part of the rate.
    """
    if level is None and looks:
        level = Level(looks[-1].threshold, looks[-1].pass_confidence)
    if level is None:
        level = Level(profile.policy.false_alarm_rate, CONFIDENCE)
    family = family_of(run, profile, _stored_noise(run, profile, references))
    rates = _rates(level.alpha, run, points)
    least = profile.policy.min_effect
    compared = _compared(
        run,
        profile,
        references,
        family,
        rates,
        replicable=replicable,
        pass_confidence=level.pass_confidence,
    )
    candidate = usable(run.starts, "candidate")
    results = []
    for experiment in profile.traffic:
        traffic = experiment.traffic
        results.append(
            TrafficResult(
                experiment=experiment.id,
                title=experiment.title,
                context=traffic.context,
                form=traffic.form,
                company=traffic.company,
                state=traffic.state,
                points=summarise(candidate, experiment),
                over_ids=over_ids(candidate, experiment),
                boundary=boundary(candidate, experiment),
                growth=growth(candidate, traffic.state),
                comparison=compared[experiment.id],
                reason=_not_measured(candidate, experiment),
                heavy=experiment.heavy,
            )
        )
    return Judged(results, family.record(rates, least))


def _rates(alpha: float, run: Run, points: Comparison | None) -> dict[int, float]:
    """The false-alarm rate that the experiments have together, by sign (+1: slower)."""
    if not run.plan.has_points:
        return {1: alpha, -1: alpha}
    rest, all_ = alpha * (1 - PLANE_SHARE) / PLANE_SHARE, alpha / PLANE_SHARE
    beside = points is not None and points.kind == "side-by-side"
    said = points.verdict if points is not None and beside else None
    return {1: all_ if said == "regression" else rest, -1: all_ if said == "improvement" else rest}


def _compared(
    run: Run,
    profile: Profile,
    references: References,
    family: Family,
    rates: Mapping[int, float],
    *,
    replicable: bool,
    pass_confidence: float,
) -> dict[str, Comparison | None]:
    """The comparison that counts in each experiment.

    Those that are not rejected are judged once more at what the rejected ones had of the rate,
    until none is.
    """
    count = max(1, len(profile.traffic))
    # Where there is none, nothing is kept for it.
    least = profile.policy.min_effect
    means = {sign: not family.mean or family.rejects(sign, rates[sign], least) for sign in rates}
    compared: dict[str, Comparison | None] = {}
    parts: tuple[float, ...] = ()
    while True:
        verdicts = [c.verdict for c in compared.values() if c and c.kind == "side-by-side"]
        before = parts
        parts = tuple(
            part_of_each(rates[sign], count, rejected, mean_rejects=means[sign])
            for sign, rejected in (
                (1, verdicts.count("regression")),
                (-1, verdicts.count("improvement")),
            )
        )
        if parts == before:
            return compared
        level = Level(parts[0], pass_confidence, parts[1])
        for experiment in profile.traffic:
            made = compared.get(experiment.id)
            if made is None or made.verdict not in ("regression", "improvement"):
                compared[experiment.id] = _compare(
                    run,
                    profile,
                    experiment,
                    references=references,
                    family=family,
                    level=level,
                    replicable=replicable,
                )


def _compare(
    run: Run,
    profile: Profile,
    experiment: TrafficExperiment,
    *,
    references: References,
    family: Family,
    level: Level,
    replicable: bool,
) -> Comparison | None:
    """One experiment against the other side at that level, and against what is stored."""
    share = (1 - PLANE_SHARE) / PLANE_SHARE if run.plan.has_points else 1.0
    policy = profile.policy.model_copy(
        update={
            "false_alarm_rate": profile.policy.false_alarm_rate * share / len(profile.traffic),
            "must_catch": experiment.must_catch,
        }
    )
    conditions = frozenset(experiment.conditions)
    return compare_all(
        _within(run, conditions),
        profile.model_copy(update={"policy": policy, "plane": Plane()}),
        _references_within(references, conditions),
        replicable=replicable,
        level=level,
        known=family.priors.get(experiment.id),
    )


def _stored_noise(run: Run, profile: Profile, references: References) -> NoiseRecord | None:
    """What is stored of this identity, of which the experiments' own is looked for."""
    known = noise_for(run, profile, references.chosen, references.noise)
    return known if isinstance(known, NoiseRecord) else None


def summarise(starts: Sequence[Start], experiment: TrafficExperiment) -> list[TrafficPoint]:
    """The launches of one side at every condition of the experiment, in its order."""
    own = [start.within(experiment.conditions) for start in starts]
    medians, alone = start_medians(own, None), start_medians(starts, None)
    table = []
    for condition in experiment.conditions:
        point = condition.point
        series = [s for start in starts for s in start.traffic if s.condition == condition]
        samples = np.array([ttft_ms for s in series for ttft_ms in s.ttft_ms])
        cached = [tokens for s in series for tokens in s.cached_tokens]
        of_launches = medians.get(point, {})
        per_start = list(of_launches.values())
        interval = geometric_interval(per_start) if per_start else None
        merged = [tokens for s in series for tokens in s.boundary_merged_tokens]
        over = ratios(of_launches, alone.get(point, {}))
        rates = throughput(series)
        late_ms = np.array([ms for s in series for ms in s.late_ms if ms is not None])
        planned = [s.planned_cached_tokens for s in series if s.planned_cached_tokens is not None]
        table.append(
            TrafficPoint(
                context_tokens=point.context_tokens,
                append_tokens=point.append_tokens,
                turn=experiment.turn_of(point),
                median_ms=interval.value if interval else None,
                low_ms=interval.low if interval else None,
                high_ms=interval.high if interval else None,
                p90_ms=upper_quantile(samples, 0.90),
                p99_ms=upper_quantile(samples, 0.99),
                starts=len(per_start),
                samples=len(samples),
                void=sum(v.count for s in series for v in s.void),
                cached_tokens=float(np.median(cached)) if cached else None,
                planned_cached_tokens=planned[0] if planned else None,
                boundary_merged_tokens=float(np.mean(merged)) if merged else None,
                over_alone=over.value if over else None,
                over_alone_low=over.low if over else None,
                over_alone_high=over.high if over else None,
                offered_per_s=rates.offered_per_s if rates else None,
                completed_per_s=rates.completed_per_s if rates else None,
                saturation_per_s=rates.saturation_per_s if rates else None,
                late_p99_ms=upper_quantile(late_ms, 0.99),
            )
        )
    return table


def _not_measured(starts: Sequence[Start], experiment: TrafficExperiment) -> str | None:
    """Why not one of an experiment's requests was sent; None where some were."""
    own = [series for start in starts for series in start.within(experiment.conditions).series]
    if experiment.context != "session" or any(s.ttft_ms or s.void for s in own):
        return None
    return "this version keeps no streaming sessions"


def _within(run: Run, conditions: frozenset[Condition]) -> Run:
    """The run as if it had measured these conditions of one traffic, and nothing else."""
    points = sorted({c.point for c in conditions})
    plan = run.plan.model_copy(
        update={"points": [(p.context_tokens, p.append_tokens) for p in points], "drawn": []}
    )
    starts = [start.within(conditions) for start in run.starts]
    return run.model_copy(update={"starts": starts, "plan": plan, "noise": None})


def _references_within(references: References, conditions: frozenset[Condition]) -> References:
    """Those stored runs that measured any of these conditions, with them alone."""

    def of(stored: Run | None) -> Run | None:
        if stored is None or stored.provenance == "study":
            return None
        within = _within(stored, conditions)
        return within if any(start.series for start in within.starts) else None

    return replace(
        references,
        chosen=of(references.chosen),
        pinned=of(references.pinned),
        rolling=of(references.rolling),
        noise=None,
    )
