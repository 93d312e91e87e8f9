"""The finding `reply_cached`: whether a turn finds all before it cached, the server's reply too.

Deterministic: what a server tells of each request's cached tokens is held against what its version
should keep. No statistics, and one conversation is enough to see it. SGLang 0.5.6 to 0.5.8 cached
no reply (sgl-project/sglang#16521), so that every turn prefilled the last one's reply again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from append_prefill.records.grounds import FindingGround
from append_prefill.records.launch import Start
from append_prefill.records.run import Finding
from append_prefill.workload.points import Point
from append_prefill.workload.traffic_experiment import TrafficExperiment

ID = "reply_cached"
CLAIM = "A turn of a conversation finds all before it cached, the server's own reply included"
FORMULA = "tokens before a turn that were prefilled again: planned - cached, mean of the worst turn"
BOUND_TOKENS = 0.0
ARGUMENT = (
    "The version's own rule says which tokens stay, to the last one, so a single token less is one "
    "that was computed twice. One turn in twenty may find less: the cache is not the test's alone "
    "where a server probes itself."
)
LOST_SHARE_MAX = 0.05
"""See `ARGUMENT`; a server that loses one reply in five has lost it in four launches of five by the
sixth turn, while its median turn has lost none."""


@dataclass(frozen=True, slots=True)
class TurnSplit:
    """What a turn found cached, in the mean over all samples, and what it should have found.

    `lost`: of `samples`, how many found less.
    """

    experiment: str
    turn: int
    point: Point
    cached_tokens: float
    planned_cached_tokens: int
    samples: int
    lost: int

    @property
    def missing_tokens(self) -> float:
        """In the mean. More than planned is none missing: a newer version may keep more."""
        return max(0.0, self.planned_cached_tokens - self.cached_tokens)


def turn_splits(
    starts: Sequence[Start], experiments: Sequence[TrafficExperiment]
) -> list[TurnSplit]:
    """Each turn of the experiments' conversations that has a sample, over all launches given."""
    found = []
    for experiment in experiments:
        for condition in experiment.conditions:
            turn = experiment.turn_of(condition.point)
            series = [
                s
                for start in starts
                for s in start.traffic
                if s.condition == condition and s.planned_cached_tokens is not None
            ]
            cached = [tokens for s in series for tokens in s.cached_tokens]
            if turn is None or not cached:
                continue
            planned = max(n for s in series if (n := s.planned_cached_tokens) is not None)
            found.append(
                TurnSplit(
                    experiment.id,
                    turn,
                    condition.point,
                    fmean(min(tokens, planned) for tokens in cached),
                    planned,
                    len(cached),
                    sum(tokens < planned for tokens in cached),
                )
            )
    return found


def reply_cached(
    starts: Sequence[Start], experiments: Sequence[TrafficExperiment]
) -> Finding | None:
    """The finding over one side's usable launches; None where no conversation is planned.

    `inconclusive` where none of its turns has a sample.
    """
    talks = [experiment for experiment in experiments if experiment.context != "primed"]
    if not talks:
        return None
    splits = turn_splits(starts, talks)
    worst = max(splits, key=lambda split: split.missing_tokens, default=None)
    if worst is None:
        ground = FindingGround(code="not-measured", text="no turn has a valid sample")
    else:
        lost = sum(split.lost for split in splits)
        too_many = lost > LOST_SHARE_MAX * sum(split.samples for split in splits)
        ground = FindingGround(
            code="reply-lost" if too_many else "reply-kept",
            turn=worst.turn,
            cached_tokens=worst.cached_tokens,
            planned_cached_tokens=worst.planned_cached_tokens,
        )
    verdicts = {"reply-lost": "broken", "reply-kept": "holds"}
    return Finding(
        id=ID,
        claim=CLAIM,
        formula=FORMULA,
        study_value=None,
        measured=None if worst is None else worst.missing_tokens,
        low=None,
        high=None,
        bound=BOUND_TOKENS,
        argument=ARGUMENT,
        verdict=verdicts.get(ground.code, "inconclusive"),
        reason=ground,
        details={f"{split.experiment}_turn_{split.turn}": split.missing_tokens for split in splits},
    )
