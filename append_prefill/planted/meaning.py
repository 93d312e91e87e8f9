"""Which costs, faults and settings mean nothing together. Pure."""

from __future__ import annotations

from append_prefill.planted.cost import Cost
from append_prefill.planted.faults import Faults
from append_prefill.planted.protocol import Settings


def refuse_meaningless(cost: Cost, faults: Faults, settings: Settings) -> None:
    """Raises ValueError for what would change nothing, so that no test waits for it in vain."""
    problems = {
        "fault reply-lost: without a prefix cache (radix-off) no reply is ever cached": (
            faults.reply_lost > 0 and faults.radix_off
        ),
        f"fault reply-lost: SGLang {settings.sglang_version} caches no reply in any case": (
            faults.reply_lost > 0 and not settings.traits.caches_replies
        ),
        "fault cache-loss: without a prefix cache (radix-off) there is none to lose": (
            faults.cache_loss > 0 and faults.radix_off
        ),
        "evict_us_per_leaf: without a prefix cache (radix-off) there is no leaf": (
            cost.evict_us_per_leaf > 0 and faults.radix_off
        ),
    }
    for problem, is_there in problems.items():
        if is_there:
            raise ValueError(problem)
