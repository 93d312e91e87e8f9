"""The routing rule in words: where a turn is prefilled best, by the fitted surface and the link."""

from __future__ import annotations

import math
from dataclasses import dataclass

from append_prefill.analysis.routing import NOMINAL, Route, routes_of
from append_prefill.records.run import Run
from append_prefill.report import format as fmt
from append_prefill.report.surface import crossover_words
from append_prefill.workload.profile import Profile

# The defaults in their documentation, read in November 2026.
PEERS = (
    "NVIDIA Dynamo's conditional disaggregation prefills on the decode worker if the uncached "
    "tokens are fewer than 2048 and less than 0.7 of the prompt (eff_isl_threshold, "
    "eff_isl_ratio_threshold; its defaults).",
    "llm-d's prefix-based-pd-decider prefills elsewhere if the uncached tokens reach "
    "nonCachedTokens (default 0: never; its examples have 8 and 16).",
    "Neither weighs what moving the L cached tokens over the link at hand costs.",
)


@dataclass(frozen=True, slots=True)
class RoutingRow:
    """One link with its rule."""

    link: str
    route: Route
    rule: str


def routing_rows(run: Run, profile: Profile | None = None) -> list[RoutingRow]:
    """A row a link, the nominal one first; empty where the surface or the KV's size is unknown.

    `profile` names the nominal link.
    """
    rows = []
    for route in routes_of(run):
        link = f"{route.link.replace('_', ' ')}, measured"
        if route.link == NOMINAL:
            link = f"nominal: {profile.link.name}" if profile else "nominal"
        rows.append(RoutingRow(link, route, _rule(run, route)))
    return rows


def limit_words(route: Route) -> str:
    """The L from which moving the KV costs too much."""
    limit = route.transfer_tokens
    return "never" if limit is None else fmt.count(math.ceil(limit))


def computing_words(run: Run) -> str:
    """What m* means for the decision, a sentence; of a run with a surface."""
    crossover = crossover_words(run)
    if not crossover or run.surface is None:
        return "No cost per new token was seen, so a prefill worker saves no computing."
    below = f"Below {crossover}"
    if run.surface.form == "max":
        return f"{below} the floor hides their cost, so a prefill worker saves no computing."
    return f"{below} the floor, which every worker pays, is more than their own cost."


def _rule(run: Run, route: Route) -> str:
    """The decision at one link in a sentence."""
    if route.transfer_tokens is None:
        return "Moving the KV costs little at any L: another worker may prefill the turn."
    longest = max((summary.context_tokens for summary in run.points), default=0)
    guess = " (extrapolated)" if route.transfer_tokens > longest else ""
    return f"From L = {limit_words(route)}{guess} on, keep the turn where its cache is."
