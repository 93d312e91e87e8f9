"""An experiment's traffic at points that the experiment does not have: where a search looks."""

from __future__ import annotations

from collections.abc import Sequence

from append_prefill.errors import UsageError
from append_prefill.workload.boundary import TEXT_TOKENS_MIN
from append_prefill.workload.conversation import Conversation, Turn
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Limits, Profile
from append_prefill.workload.traffic_experiment import TrafficExperiment


def experiment_at(experiment: TrafficExperiment, points: Sequence[Point]) -> TrafficExperiment:
    """The same traffic at `points` and nowhere else.

    In a conversation the point is its second turn, whose context is a first prompt and the reply to
    it, as long as the experiment's first. Raises ValueError for a context that is no longer than
    such a reply.
    """
    if experiment.context == "primed":
        at = tuple((point.context_tokens, point.append_tokens) for point in points)
        return experiment.model_copy(update={"points": at})
    reply_tokens = _reply_tokens(experiment)
    talks = tuple(
        Conversation(
            (
                Turn(point.context_tokens - reply_tokens, reply_tokens),
                Turn(point.append_tokens, reply_tokens),
            )
        )
        for point in points
    )
    return experiment.model_copy(update={"conversation": None, "trace": None, "talks": talks})


def searched(profile: Profile, name: str | None) -> tuple[TrafficExperiment | None, Limits]:
    """The experiment `name` of a profile, and the limits within which its traffic can be anywhere.

    Without a name it is lone append-prefills behind a primed context: no experiment, and the
    profile's own limits. Raises UsageError where there is no such experiment, or where its points
    cannot be chosen freely.
    """
    if name is None:
        return None, profile.limits
    others = {e.id: e for e in profile.traffic if e.state == "fresh"}
    if name not in others:
        aged = any(e.id == name for e in profile.traffic)
        raise UsageError(
            "--experiment",
            name,
            "is measured on a server that is not fresh, and a search would make it another."
            if aged
            else f"is no traffic of profile {profile.name}.",
            f"It can be searched in that of {', '.join(others)}, and without --experiment.",
        )
    experiment, limits = others[name], profile.limits
    context, append = limits.context_tokens, limits.append_tokens
    total_tokens = limits.total_tokens
    if experiment.form != "ids":
        context = max(context[0], TEXT_TOKENS_MIN), context[1]
        append = max(append[0], TEXT_TOKENS_MIN), append[1]
    if experiment.context != "primed":
        reply_tokens = _reply_tokens(experiment)
        context = max(context[0], reply_tokens + 1), context[1]
        total_tokens -= reply_tokens
    narrowed = Limits(context_tokens=context, append_tokens=append, total_tokens=total_tokens)
    if context[0] > context[1] or append[0] > append[1] or context[0] + append[0] > total_tokens:
        raise UsageError(
            "--experiment",
            name,
            f"has no point within the limits of profile {profile.name}.",
            "Widen the profile's [limits].",
        )
    return experiment, narrowed


def _reply_tokens(experiment: TrafficExperiment) -> int:
    (first, *_) = (unit.conversation for unit in experiment.units)
    assert first is not None  # a context that is not primed has a conversation
    return first.turns[0].reply_tokens
