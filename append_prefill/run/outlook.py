"""What a plan asks for and what it could see: requests, minutes, minimum detectable effects.

Computed alike for `append-prefill plan` and for the header of a run, before anything is sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from append_prefill.analysis.power import power_of, side_by_side
from append_prefill.analysis.prior import prior_of, with_nights
from append_prefill.analysis.split import Choice, Costs, Power, for_effect, for_minutes
from append_prefill.analysis.verdict.sequential import schedule_of
from append_prefill.probe.plan import Plan
from append_prefill.records.definition import definition_of, protocol_of
from append_prefill.records.identity import identity_differences, identity_of
from append_prefill.records.noise import NoiseRecord
from append_prefill.records.run import Run
from append_prefill.records.selecting import shares_points
from append_prefill.report.reasons import noise_words
from append_prefill.report.traffic import traffic_words
from append_prefill.run.pace import long_of, pace_of
from append_prefill.workload.policy import Noise
from append_prefill.workload.profile import Profile

# Priming and the request that is measured.
_REQUESTS_A_SAMPLE = 2


def newest_like(
    runs: Iterable[Run], profile: Profile, identity: Mapping[str, Any] | None = None
) -> Run | None:
    """The newest run that measured the profile's model its way, to take noise and pace from.

    With an `identity`, one of that identity goes before all others.
    """

    def rank(run: Run) -> tuple[bool, datetime]:
        same = identity is not None and not identity_differences(
            identity, identity_of(run), profile.identity_not_binding
        )
        return same, run.created_at

    return max((run for run in runs if _alike(run, profile)), key=rank, default=None)


def _alike(run: Run, profile: Profile) -> bool:
    """Whether a run's noise and pace are the profile's: of its definition, or nearly.

    That is, of its protocol and model at some of its points.
    """
    if run.definition == definition_of(profile):
        return True
    identity = identity_of(run)
    return (
        identity.get("protocol") == protocol_of(profile)
        and identity.get("model", {}).get("name") == profile.model.name
        and shares_points(run, profile)
    )


def outlook_of(
    plan: Plan, profile: Profile, like: Run | None, *, noise: Noise | NoiseRecord | None = None
) -> dict[str, Any]:
    """The numbers of a plan, as `--json` prints them. Effects are relative: 0.03 is +3 %.

    `traffic`: the experiments in other traffic, each with its samples in `every` so many blocks.
    `requests` and `minutes` are those of the planned launches; `analyses` says after how many
    launches per side, and minutes, a run of two sides is judged and may end.

    `like` is a stored run whose noise and pace are taken over as far as it has them, its noise
    only where no `noise` is given.
    """
    profile = plan.narrowed(profile)
    noise = _noise_for(profile, like) if noise is None else noise
    if isinstance(noise, NoiseRecord):
        noise = with_nights(noise, profile.noise)
    pace = pace_of(like, profile.device)
    of_block, sides = plan.samples_a_block, len(plan.sides)
    costs = pace.costs(
        of_block,
        sides,
        together=profile.plan.interleave,
        states_s=_states_s(plan, profile),
        beyond=long_of(plan.all_points),
    )
    # A block throws its first request away.
    of_launch = round(plan.samples * (of_block + 1) + pace.warmup_rounds * of_block)
    analyses = schedule_of(profile.policy, plan.starts).starts if sides > 1 else ()
    return {
        "profile": profile.name,
        "definition": definition_of(profile),
        "sides": list(plan.sides),
        "starts": plan.starts,
        "samples": plan.samples,
        "points": [
            {
                "context_tokens": point.context_tokens,
                "append_tokens": point.append_tokens,
                "experiment": plan.experiments_of(point, profile),
            }
            for point in plan.all_points
        ],
        "requests": _REQUESTS_A_SAMPLE * plan.starts * sides * of_launch,
        "traffic": [
            {
                "experiment": e.id,
                "traffic": e.traffic.label,
                "words": traffic_words(e.traffic),
                "samples": len(e.conditions),
                "every": e.every if plan.all_points else 1,
            }
            for e in plan.traffic
        ],
        "tokens_max": plan.longest_tokens(0),
        "minutes": costs.seconds(plan.starts, plan.samples) / 60,
        "minutes_from": pace.source,
        "analyses": [
            {"starts": starts, "minutes": costs.seconds(starts, plan.samples) / 60}
            for starts in analyses
        ],
        "budget_minutes": plan.budget_minutes,
        "noise_from": noise_words(prior_of(noise).source),
        "must_catch": profile.policy.must_catch,
        **power_of(profile, noise, plan.all_points, starts=plan.starts, samples=plan.samples),
    }


def split_minutes(plan: Plan, profile: Profile, like: Run | None, minutes: float) -> Choice:
    """Launches and samples that see most side by side in so many minutes.

    Of the plan's points; `like` as in `outlook_of`.
    """
    return for_minutes(*_power_and_costs(plan, profile, like), minutes)


def split_effect(plan: Plan, profile: Profile, like: Run | None, effect: float) -> Choice:
    """Launches and samples that see a relative effect side by side in the fewest minutes."""
    return for_effect(*_power_and_costs(plan, profile, like), effect)


def _power_and_costs(plan: Plan, profile: Profile, like: Run | None) -> tuple[Power, Costs]:
    profile = plan.narrowed(profile)
    noise, points = _noise_for(profile, like), plan.all_points
    pace = pace_of(like, profile.device)

    def power(starts: int, samples: int) -> Mapping[str, float | None]:
        return side_by_side(profile, noise, points, starts=starts, samples=samples)

    return power, pace.costs(
        plan.samples_a_block,
        len(plan.sides),
        together=profile.plan.interleave,
        states_s=_states_s(plan, profile),
        beyond=long_of(plan.all_points),
    )


def _states_s(plan: Plan, profile: Profile) -> float:
    """Of one server, at the most: it can be aged quicker than its profile allows.

    How long a burst takes to drain is not known before.
    """
    # Servers that are up together are soaked together.
    together = len(plan.sides) if profile.plan.interleave else 1
    aging_s = profile.aging.seconds_max if "aged" in plan.states else 0.0
    return aging_s + (60 * profile.soak.minutes / together if "soaked" in plan.states else 0.0)


def _noise_for(profile: Profile, like: Run | None) -> Noise | NoiseRecord:
    return profile.noise if like is None or like.noise is None else like.noise
