"""What is merged where a text's context and append meet: how often, how much, and at what cost.

The tokens are counted, not estimated. What they cost is: within a launch, prompts of a point that
lost tokens are held against those of the point that lost none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean, median

from append_prefill.analysis.summary import t_interval, usable
from append_prefill.records.figures import Estimate
from append_prefill.records.launch import Start, TrafficSeries
from append_prefill.records.traffic import Boundary
from append_prefill.workload.traffic_experiment import TrafficExperiment


def boundary(starts: Sequence[Start], experiment: TrafficExperiment) -> Boundary | None:
    """Over one side's usable launches; None where no sample tells, as for ids."""
    conditions = frozenset(experiment.conditions)
    launches = [
        [series for series in start.traffic if series.condition in conditions]
        for start in usable(starts, None)
    ]
    every = [tokens for own in launches for s in own for tokens in s.boundary_merged_tokens]
    if not every:
        return None
    some = [tokens for tokens in every if tokens]
    again = _prefilled_again([series for own in launches for series in own])
    return Boundary(
        share=len(some) / len(every),
        tokens=fmean(some) if some else None,
        prefilled_again_tokens=fmean(again) if again else None,
        cost_ms=_estimate([cost for own in launches if (cost := _cost_ms(own)) is not None]),
    )


def _prefilled_again(every: Sequence[TrafficSeries]) -> list[float]:
    """Of each prompt that lost tokens, how many fewer were cached than of those that lost none."""
    again: list[float] = []
    for point in {series.point for series in every}:
        own = [series for series in every if series.point == point]
        lost, whole = _parted(own, lambda series: series.cached_tokens)
        if whole:
            again += [fmean(whole) - cached for cached in lost]
    return again


def _cost_ms(launch: Sequence[TrafficSeries]) -> float | None:
    """How much longer prompts that lost tokens took, in the mean of a launch's conditions."""
    differences_ms = []
    for series in launch:
        lost_ms, whole_ms = _parted([series], lambda one: one.ttft_ms)
        if lost_ms and whole_ms:
            differences_ms.append(median(lost_ms) - median(whole_ms))
    return fmean(differences_ms) if differences_ms else None


def _parted(
    every: Sequence[TrafficSeries], values_of: Callable[[TrafficSeries], Sequence[float]]
) -> tuple[list[float], list[float]]:
    """Values of prompts that lost tokens, and of those that lost none."""
    parted: tuple[list[float], list[float]] = ([], [])
    for series in every:
        # The record's list is empty where nothing could merge.
        for tokens, value in zip(series.boundary_merged_tokens, values_of(series), strict=False):
            parted[0 if tokens else 1].append(value)
    return parted


def _estimate(values: Sequence[float]) -> Estimate | None:
    if not values:
        return None
    interval = t_interval(values)
    return Estimate(value=interval.value, low=interval.low, high=interval.high)
