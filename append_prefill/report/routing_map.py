"""`routing.json`: where each measured turn is best prefilled, and what rules of thumb cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from append_prefill.analysis.decision import (
    DECODES,
    PUBLISHED_STALL,
    WHOLE_STALL,
    Choice,
    choices_of,
    judged_rules,
)
from append_prefill.analysis.routing import NOMINAL
from append_prefill.records.run import Run

SCHEMA = "append-prefill/routing/1"


@dataclass(frozen=True, slots=True)
class Link:
    """What a KV cache can travel on, and what that takes however little is moved."""

    name: str
    gb_per_s: float
    fixed_ms: float


def to_routing(run: Run) -> dict[str, Any]:
    """The decision map by link and load, and the rules' regrets in ms a request.

    One map by the measured stall of decodes; where that was not measured, one for each end of what
    it may be, for the answer turns on it. Their links are none where nothing was measured or the
    KV's size is not known; a measured P/D pair is one, with what it takes beside the bytes.
    """
    stall = stall_share(run)
    maps = {"measured": stall} if stall else {"published": PUBLISHED_STALL, "whole": WHOLE_STALL}
    links = [
        Link(name, speed, 0.0)
        for name, speed in {NOMINAL: run.plan.link_gb_per_s, **run.kv_links_gb_per_s}.items()
    ]
    links += [
        Link(f"pd_pair {pair.backend}", pair.gb_per_s, max(0.0, pair.fixed_ms.value))
        for pair in run.pd_pair
        if pair.gb_per_s is not None and pair.fixed_ms is not None
        if pair.fixed_ms.value is not None
    ]
    return {
        "schema": SCHEMA,
        "version": run.version,
        "kv_bytes_per_token": run.kv_bytes_per_token,
        "kv_fixed_bytes": None if run.kv_bytes_per_token is None else run.kv_fixed_bytes,
        "maps": [
            {
                "stall": source,
                "stall_share": share,
                "links": [
                    _link(link, choices)
                    for link in links
                    if (choices := choices_of(run, link.gb_per_s, share, link.fixed_ms))
                ],
            }
            for source, share in maps.items()
        ],
    }


def stall_share(run: Run) -> float | None:
    """The share of an append-prefill for which decodes stood still, where it was measured."""
    told = (f.details.get("stall_share") for f in run.findings if f.id == "decode_interference")
    return next((value for value in told if value is not None and value > 0), None)


def _link(link: Link, choices: list[Choice]) -> dict[str, Any]:
    return {
        "link": link.name,
        "gb_per_s": link.gb_per_s,
        "fixed_ms": link.fixed_ms,
        "beside": [
            {
                "decodes": decodes,
                "points": [
                    {
                        "context_tokens": choice.point.context_tokens,
                        "append_tokens": choice.point.append_tokens,
                        "local_ms": choice.local_ms,
                        "remote_ms": choice.remote_ms,
                        "choose": "local" if choice.stays else "remote",
                    }
                    for choice in choices
                    if choice.decodes == decodes
                ],
            }
            for decodes in DECODES
        ],
        "rules": [
            {
                "rule": rule.name,
                "agrees": rule.agrees,
                "regret_ms": rule.regret_ms,
                "worst_ms": rule.worst_ms,
            }
            for rule in judged_rules(choices)
        ],
    }
