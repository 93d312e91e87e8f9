"""What a profile says of judging: its policy, how the plane is weighed, what noise to assume."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from append_prefill.workload.experiment import Argument, Strict
from append_prefill.workload.points import Point

Stratum = Literal["floor", "compute"]


class Policy(Strict):
    """What counts as a regression (relative effects), and how often a run may alarm falsely.

    `looks`: at most that many interim analyses of a run side by side. The first of them is after
    half of the planned launches, the second after all of them, further ones after more; 1 leaves
    the one after the planned launches. See `analysis.verdict.sequential`.
    """

    min_effect: float = Field(default=0.015, gt=0)
    must_catch: float = Field(default=0.03, gt=0)
    false_alarm_rate: float = Field(default=0.01, gt=0, lt=0.5)
    fdr: float = Field(default=0.05, gt=0, lt=0.5)
    looks: int = Field(default=4, ge=1)
    argument: Argument


class Plane(Strict):
    """How the points of the (L, m) plane are grouped and weighed.

    `floor_append_tokens`: up to this m TTFT is at its floor, host work; beyond it computing shows.
    The two strata scatter differently and are tested apart; None where all points are alike. It is
    fixed here, before anything is measured. `weights`: (L, m, weight) of points that count more or
    less in the level than the others, whose weight is 1, as in the traffic that matters.
    """

    floor_append_tokens: int | None = Field(default=None, ge=1)
    weights: tuple[tuple[int, int, float], ...] = ()
    argument: Argument = "The profile does not tell its points apart."

    @model_validator(mode="after")
    def _weights_are_weights(self) -> Plane:
        for context, append, weight in self.weights:
            point = Point(context, append)
            if weight <= 0:
                raise ValueError(f"weights: {point.label} has {weight}; a weight is above 0")
        if len({entry[:2] for entry in self.weights}) != len(self.weights):
            raise ValueError("weights: a point has two")
        return self


class PairNoise(Strict):
    """Scatter of a pair's log ratio: beyond its rounds (`pair_sd`), and of one round."""

    pair_sd: float = Field(gt=0, le=1)
    round_sd: float = Field(gt=0, le=1)


class Noise(Strict):
    """Spread to assume where none is stored yet: relative standard deviations (log scale).

    `pair_sd` is that of the ratio within an interleaved pair beyond what its rounds explain,
    `round_sd` that of one round (a block of both sides), each as a mean over all points; `strata`
    the same over the points of one stratum. None where none is assumed. A stored A/A noise record
    replaces all of them.
    """

    # At most 1: an assumption beyond 100 % is one in per cent.
    start_sd: float = Field(gt=0, le=1)
    within_sd: float = Field(gt=0, le=1)
    night_sd: float = Field(gt=0, le=1)
    pair_sd: float | None = Field(default=None, gt=0, le=1)
    round_sd: float | None = Field(default=None, gt=0, le=1)
    strata: dict[Stratum, PairNoise] = Field(default_factory=dict)
    argument: Argument
