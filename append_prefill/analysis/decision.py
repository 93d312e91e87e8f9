"""Prefill a turn where its cache is, or elsewhere: what either costs everybody, and rules for it.

A turn's KV cache lies with the worker that decodes. Prefilled there, the turn holds up the k
requests that are being decoded; prefilled by another worker that has the context too, the KV of
all N = L + m tokens has to be moved. With T the measured TTFT of the point, s the share of a
prefill for which decodes stand still, b bytes a token and f bytes whatever N over a link of speed
v:

    local  = T + k s T        remote = T + (f + N b) / v

Summed over the requests concerned; queues are left out, being the cluster's and not a worker's.
Points are those that were measured, none is extrapolated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

from append_prefill.analysis.transfer import transfer_ms
from append_prefill.records.run import Run
from append_prefill.workload.points import Point

DECODES = (1, 4, 16, 64)
"""Requests that are decoded beside the turn: from an idle worker to a full one."""

WHOLE_STALL = 1.0
"""Decodes stand still for all of a prefill: without mixed batches SGLang's scheduler runs a prefill
and a decode step one after the other."""

PUBLISHED_STALL = 0.02
"""What an append-prefill added to the time per output token of decodes beside it (arXiv 2603.13358,
where a full prefill added 48 %)."""

Rule = Callable[[Point], bool]
"""Whether a turn is prefilled where its cache is."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One point beside `decodes` others: the delay that either way adds to all requests, in ms."""

    point: Point
    decodes: int
    local_ms: float
    remote_ms: float

    @property
    def stays(self) -> bool:
        """Whether it is best prefilled where its cache is."""
        return self.local_ms <= self.remote_ms

    def regret_ms(self, *, stays: bool) -> float:
        """What that decision costs over the best."""
        chosen = self.local_ms if stays else self.remote_ms
        return chosen - min(self.local_ms, self.remote_ms)


@dataclass(frozen=True, slots=True)
class Judged:
    """A rule over all choices: `agrees` is a share, `regret_ms` a mean and `worst_ms` the most."""

    name: str
    agrees: float
    regret_ms: float
    worst_ms: float


def choices_of(
    run: Run, link_gb_per_s: float, stall_share: float = WHOLE_STALL, fixed_ms: float = 0.0
) -> list[Choice]:
    """Every measured point beside each of `DECODES`; empty where the KV's size is not known.

    `fixed_ms`: what a transfer takes however little is moved, where a pair has shown it.
    """
    size = run.kv_bytes_per_token
    if size is None:
        return []
    return [
        Choice(
            summary.point,
            decodes,
            summary.median_ms * (1 + decodes * stall_share),
            summary.median_ms
            + fixed_ms
            + transfer_ms(size * summary.point.total_tokens + run.kv_fixed_bytes, link_gb_per_s),
        )
        for summary in run.points
        if summary.median_ms is not None
        for decodes in DECODES
    ]


def below(new_tokens: float, share: float | None = None) -> Rule:
    """Stay with fewer new tokens than `new_tokens` and, if given, than `share` of the prompt."""

    def stays(point: Point) -> bool:
        few = point.append_tokens < new_tokens
        return few and (share is None or 1 - point.cache_rate < share)

    return stays


PUBLISHED: dict[str, Rule] = {
    # The peers' rules and defaults as in their documentation of November 2026; see report.routing.
    "Dynamo, its defaults (2048, 0.7)": below(2048, 0.7),
    "llm-d, its default (never elsewhere)": below(float("inf")),
    "llm-d, its examples (16)": below(16),
    # "Route to P only if: very large m (> 2048)", the study's revised model.
    "the study's advice (2048)": below(2048 + 1),
}


def judged(name: str, rule: Rule, choices: Sequence[Choice]) -> Judged:
    """What a rule that knows neither load nor link costs. Raises ValueError without a choice."""
    if not choices:
        raise ValueError("a rule is judged by one choice or more")
    regrets = [choice.regret_ms(stays=rule(choice.point)) for choice in choices]
    right = sum(choice.stays == rule(choice.point) for choice in choices)
    count = len(choices)
    return Judged(name, right / count, sum(regrets) / count, max(regrets))


def judged_rules(choices: Sequence[Choice]) -> list[Judged]:
    """The published rules, then the best thresholds of either kind, by their mean regret.

    The best are chosen on the choices they are judged on, so they are a bound for what such a rule
    can do, and no promise.
    """
    new = sorted({choice.point.append_tokens for choice in choices})
    limits = [0.0, *(tokens + 1.0 for tokens in new)]
    shares = (0.25, 0.5, 0.7, 0.9, 1.0)
    own = [judged(name, rule, choices) for name, rule in PUBLISHED.items()]
    alone = [judged(f"llm-d's kind at {t:g}", below(t), choices) for t in limits]
    both = [
        judged(f"Dynamo's kind at {t:g}, {share:g}", below(t, share), choices)
        for t, share in product(limits, shares)
    ]
    best = [min(kind, key=lambda rule: rule.regret_ms) for kind in (alone, both)]
    return [*own, *best]
