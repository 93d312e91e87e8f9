"""Traffic of sample runs: conversations beside the points of `parts`."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from append_prefill.records.launch import Start, TrafficSeries
from append_prefill.workload.profile import Profile
from append_prefill.workload.traffic_experiment import TrafficExperiment
from tests.report.parts import Model

WHY = "An argument of at least twenty letters."


def conversation(experiment_id: str = "turns", **changes: Any) -> TrafficExperiment:
    """Turns 2 to 4, behind 150, 220 and 290 tokens."""
    talk = {"turns": 4, "first_tokens": 100, "append_tokens": 20, "reply_tokens": 50}
    own = {"id": experiment_id, "title": "Turns", "context": "replied", "conversation": talk}
    return TrafficExperiment.model_validate({**own, "argument": WHY, **changes})


def with_traffic(profile: Profile, *experiments: TrafficExperiment) -> Profile:
    return profile.model_copy(update={"traffic": experiments})


def talking(
    starts: Sequence[Start],
    experiment: TrafficExperiment,
    model: Model,
    *,
    seed: int = 1,
    sd: float = 0.01,
    samples: int = 5,
    missing: int = 0,
) -> list[Start]:
    """The launches with the experiment's samples; of each turn's plan, `missing` are not cached."""
    rng = random.Random(seed)
    with_it = []
    for start in starts:
        level = rng.lognormvariate(0, sd)
        series = []
        for condition in experiment.conditions:
            point, traffic = condition.point, condition.traffic
            times = [model(point) * level * rng.lognormvariate(0, sd) for _ in range(samples)]
            series.append(
                TrafficSeries(
                    context_tokens=point.context_tokens,
                    append_tokens=point.append_tokens,
                    context=traffic.context,
                    form=traffic.form,
                    company=traffic.company,
                    state=traffic.state,
                    ttft_ms=times,
                    e2e_ms=[ms + 6.7 for ms in times],
                    itl_ms=[None] * samples,
                    output_tokens=[50] * samples,
                    cached_tokens=[point.context_tokens - 1 - missing] * samples,
                    planned_cached_tokens=point.context_tokens - 1,
                    block=list(range(samples)),
                )
            )
        with_it.append(start.model_copy(update={"traffic": [*start.traffic, *series]}))
    return with_it
