"""What a plan asks for and what it could see: requests, minutes, minimum detectable effects.

Computed alike for `append-prefill plan` and for the header of a run, before anything is sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from statistics import mean
from typing import Any

from append_prefill.analysis.joint import prior_of, with_nights
from append_prefill.analysis.power import power_of
from append_prefill.analysis.verdict.sequential import schedule_of
from append_prefill.probe.plan import Plan
from append_prefill.probe.warmup import WINDOW
from append_prefill.records.baselines import shares_points
from append_prefill.records.definition import definition_of, protocol_of
from append_prefill.records.identity import identity_differences, identity_of
from append_prefill.records.run import NoiseRecord, Run
from append_prefill.report.reasons import noise_words
from append_prefill.workload.profile import Noise, Profile

# Priming and the request that is measured.
_REQUESTS_A_SAMPLE = 2


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a launch is: seconds until it is ready, and seconds a sample, priming included."""

    ready_s: float
    sample_s: float
    warmup_rounds: float
    source: str


# Used until a stored run tells. On an H200 a block of 22 primed samples took 1.3 s, and 0.5.17 was
# ready after 36 to 49 s (106 where it had to compile first). On a CPU 210 primed samples took 5.4 s
# and launches 17 to 28 s on two cores. Warm-up ends after two windows where nothing drifts, and
# takes about twice that where it does.
_ASSUMED = {
    "cuda": Pace(60.0, 0.058, 4 * WINDOW, "assumed: no stored run of this protocol and model"),
    "cpu": Pace(25.0, 0.026, 4 * WINDOW, "assumed: no stored run of this protocol and model"),
}


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

    `requests` and `minutes` are those of the planned launches; `analyses` says after how many
    launches per side, and minutes, a run of two sides is judged and may end.

    `like` is a stored run whose noise and pace are taken over as far as it has them, its noise
    only where no `noise` is given.
    """
    if noise is None:
        noise = profile.noise if like is None or like.noise is None else like.noise
    if isinstance(noise, NoiseRecord):
        noise = with_nights(noise, profile.noise)
    pace = _pace(like) or _ASSUMED[profile.device]
    sides, points = len(plan.sides), len(plan.all_points)
    # A block throws its first request away: it pays for the flush before it.
    in_blocks = plan.samples * (points + 1)
    in_warmup = round(pace.warmup_rounds * points)
    samples = sides * (in_blocks + in_warmup)  # of one launch per side
    # The servers of an interleaved pair come up side by side.
    waits = 1 if profile.plan.interleave else sides
    minutes = (waits * pace.ready_s + samples * pace.sample_s) / 60
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
                "experiment": profile.experiments_of(point),
            }
            for point in plan.all_points
        ],
        "requests": _REQUESTS_A_SAMPLE * samples * plan.starts,
        "tokens_max": max(p.total_tokens for p in plan.all_points),
        "minutes": plan.starts * minutes,
        "minutes_from": pace.source,
        "analyses": [{"starts": starts, "minutes": starts * minutes} for starts in analyses],
        "budget_minutes": plan.budget_minutes,
        "noise_from": noise_words(prior_of(noise).source),
        "must_catch": profile.policy.must_catch,
        **power_of(profile, noise, plan.all_points, starts=plan.starts, samples=plan.samples),
    }


def _pace(like: Run | None) -> Pace | None:
    """The pace of a stored run's launches; None without one that tells all of it."""
    paces = []
    for start in [] if like is None else like.starts:
        if start.ready_s is None or start.measured_s is None or start.warmup is None:
            continue
        blocks = max((b + 1 for s in start.series for b in s.block), default=0)
        taken = (start.warmup.rounds + blocks) * len(start.series) + blocks
        if blocks:
            rounds = float(start.warmup.rounds)
            # In an interleaved pair half of the time is the other server's.
            own_s = start.measured_s / 2 if start.interleaved else start.measured_s
            paces.append((start.ready_s, own_s / taken, rounds))
    if like is None or not paces:
        return None
    ready_s, sample_s, rounds = (mean(column) for column in zip(*paces, strict=True))
    source = f"as in the run of {like.created_at:%Y-%m-%d} on {like.identity.get('device')}"
    return Pace(ready_s, sample_s, rounds, source)
