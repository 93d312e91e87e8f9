"""Sample runs with other traffic beside their points, judged by the judge of such traffic."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from append_prefill.analysis.replies import reply_cached
from append_prefill.analysis.summary import usable
from append_prefill.analysis.verdict.overall import run_verdict
from append_prefill.records.launch import Start, TrafficSeries
from append_prefill.records.run import Run
from append_prefill.run.references import References
from append_prefill.run.traffic import judge_traffic
from append_prefill.workload.traffic import Condition
from append_prefill.workload.traffic_experiment import TrafficExperiment
from tests.report.parts import Model, profile

Slower = Callable[[TrafficExperiment, Condition], float]

TURNS = TrafficExperiment.model_validate(
    {
        "id": "turns",
        "title": "A conversation of six turns, replies of 50 tokens",
        "context": "replied",
        "conversation": {
            "turns": 6, "first_tokens": 100, "append_tokens": 200, "reply_tokens": 50
        },
        "argument": "A sample for the tests of the report.",
    }
)  # fmt: skip
TOGETHER = TrafficExperiment.model_validate(
    {
        "id": "together_8",
        "title": "Eight at once",
        "company": "together:8",
        "points": [[512, 32], [512, 512]],
        "argument": "A sample for the tests of the report.",
    }
)
AGED = TrafficExperiment.model_validate(
    {
        "id": "aged",
        "title": "After an overload, the pool full",
        "state": "aged",
        "points": [[1024, 128]],
        "argument": "A sample for the tests of the report.",
    }
)


def with_traffic(
    run: Run,
    slower: Slower = lambda _, __: 1.0,
    *,
    experiments: Sequence[TrafficExperiment] = (TURNS,),
    lost_tokens: int = 0,
    sd: float = 0.008,
    samples: int = 8,
    seed: int = 3,
) -> Run:
    """`run` with series of these experiments in every launch, and all of it judged.

    `slower`: the candidate over the reference; `lost_tokens`: what each of its turns finds missing.
    """
    rng = random.Random(seed)
    starts = [
        _measured(start, experiments, slower, lost_tokens, sd=sd, samples=samples, rng=rng)
        for start in run.starts
    ]
    of = profile().model_copy(update={"traffic": tuple(experiments)})
    plan = run.plan.model_copy(update={"traffic": [e.id for e in experiments]})
    run = run.model_copy(update={"starts": starts, "plan": plan})
    traffic, mean = judge_traffic(
        run, of, references=References(), replicable=True, points=run.comparison
    )
    replies = reply_cached(usable(starts, "candidate"), of.traffic)
    findings = [*run.findings, *([] if replies is None else [replies])]
    verdict = run_verdict(findings, run.comparison, traffic, mean)
    judged = {"traffic": traffic, "traffic_mean": mean, "findings": findings, "verdict": verdict}
    return run.model_copy(update=judged)


def _measured(
    start: Start,
    experiments: Sequence[TrafficExperiment],
    slower: Slower,
    lost_tokens: int,
    *,
    sd: float,
    samples: int,
    rng: random.Random,
) -> Start:
    ours = start.side == "candidate"
    level, series = rng.lognormvariate(0, sd), []
    for experiment in experiments:
        for condition in experiment.conditions:
            point, traffic = condition.point, condition.traffic
            middle = Model()(point) * level * (slower(experiment, condition) if ours else 1.0)
            times = [middle * rng.lognormvariate(0, 0.015) for _ in range(samples)]
            lost = lost_tokens if ours and experiment.conversation is not None else 0
            series.append(
                TrafficSeries(
                    context_tokens=point.context_tokens,
                    append_tokens=point.append_tokens,
                    ttft_ms=times,
                    e2e_ms=[v + 6.7 for v in times],
                    itl_ms=[None] * samples,
                    output_tokens=[2] * samples,
                    cached_tokens=[point.context_tokens - lost] * samples,
                    block=list(range(samples)),
                    context=traffic.context,
                    form=traffic.form,
                    company=traffic.company,
                    state=traffic.state,
                    planned_cached_tokens=point.context_tokens,
                )
            )
    return start.model_copy(update={"traffic": series})
