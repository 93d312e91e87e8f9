"""Whether a server holds what a plan asks of it."""

from __future__ import annotations

from append_prefill.engines.base import ServerDescription
from append_prefill.errors import InfrastructureError
from append_prefill.probe.plan import Plan
from append_prefill.workload.profile import Profile


def check_capacity(plan: Plan, profile: Profile, description: ServerDescription) -> None:
    """Raise InfrastructureError if the server cannot hold the plan's longest request, or all that
    are there at once.
    """
    output_tokens = profile.plan.share_output_tokens
    longest, held = plan.longest_tokens(output_tokens), plan.held_tokens(output_tokens)
    pool = description.kv_capacity_tokens
    for subject, need, what, capacity in (
        ("longest request takes", longest, "KV pool", pool),
        ("requests that are there at once take", held, "KV pool", pool),
        ("longest request takes", longest, "context length", description.context_length_tokens),
    ):
        if capacity is not None and need > capacity:
            raise InfrastructureError(
                f"the plan's {subject} {need} tokens, the server's {what} holds {capacity}: raise "
                f"--max-total-tokens / --context-length or use a profile with shorter points"
            )
