"""Whether a server holds what a plan asks of it, and which points it does not."""

from __future__ import annotations

from collections.abc import Sequence

from append_prefill.engines.base import ServerDescription
from append_prefill.errors import InfrastructureError
from append_prefill.probe.plan import Plan, Task
from append_prefill.records.launch import LeftOut
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile


def left_out_of(plan: Plan, profile: Profile, description: ServerDescription) -> list[LeftOut]:
    """The planned points that this server cannot take, for its context length or its KV pool.

    What the server did not tell leaves nothing out.
    """
    output_tokens = profile.plan.share_output_tokens
    left = []
    for point in plan.all_points:
        need = point.total_tokens + output_tokens
        # A server never takes more than its pool holds and may say so as its context length.
        if description.kv_capacity_tokens is not None and need > description.kv_capacity_tokens:
            limit, capacity = "kv-pool", description.kv_capacity_tokens
        elif (told := description.context_length_tokens) is not None and need > told:
            limit, capacity = "context-length", told
        else:
            continue
        left.append(
            LeftOut(
                context_tokens=point.context_tokens,
                append_tokens=point.append_tokens,
                need_tokens=need,
                limit=limit,
                capacity_tokens=capacity,
            )
        )
    return left


def left_out_words(left: Sequence[LeftOut]) -> str:
    """One line of what is not measured and why; `left` is not empty."""
    labels = ", ".join(one.point.label for one in left)
    limits = dict.fromkeys((one.limit.replace("-", " "), one.capacity_tokens) for one in left)
    holds = " and ".join(f"{limit} of {capacity} tokens" for limit, capacity in limits)
    longest = max(one.need_tokens for one in left)
    return f"not measured, since they take up to {longest} tokens with a {holds}: {labels}"


class Room:
    """What the points of an open block have cached at the most, of what the server's pool holds.

    The next point is to find room beside it, or an eviction would fall into its sample.
    """

    def __init__(self, description: ServerDescription, profile: Profile) -> None:
        self._capacity = description.kv_capacity_tokens
        self._output_tokens = profile.plan.share_output_tokens
        self._cached = 0

    def empty(self, then: Task) -> None:
        """The cache was emptied, and `then` was, or will be, the first in it."""
        self._cached = self._tokens_of(then)

    def takes(self, task: Task) -> bool:
        """Whether a task fits beside the others; if so it is counted as one of them."""
        after = self._cached + self._tokens_of(task)
        if self._capacity is not None and after > self._capacity:
            return False
        self._cached = after
        return True

    def _tokens_of(self, task: Task) -> int:
        # Units are not counted: those in company find the cache emptied, the others are short.
        return task.total_tokens + self._output_tokens if isinstance(task, Point) else 0


def check_capacity(plan: Plan, profile: Profile, description: ServerDescription) -> None:
    """Raise InfrastructureError if the server cannot hold any of the plan's points, or its longest
    request in other traffic, or all that are there at once.
    """
    output_tokens = profile.plan.share_output_tokens
    least, held = plan.least_tokens(output_tokens), plan.held_tokens(output_tokens)
    pool = description.kv_capacity_tokens
    for subject, need, what, capacity in (
        ("requests take", least, "KV pool", pool),
        ("requests that are there at once take", held, "KV pool", pool),
        ("requests take", least, "context length", description.context_length_tokens),
    ):
        if capacity is not None and need > capacity:
            raise InfrastructureError(
                f"the plan's {subject} at least {need} tokens, the server's {what} holds "
                f"{capacity}: raise --max-total-tokens / --context-length or use a profile with "
                "shorter points"
            )
