"""`append-prefill plan`: what a run would measure, how long, and what it could see. Sends nothing.

The minimum detectable effect is that of the overall level: the joint test's first share of the
false-alarm rate, with the spread of stored noise where there is some, of the profile where not.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from append_prefill.analysis.joint import design_of, prior_of, with_nights
from append_prefill.analysis.power import mde, points_error, starts_needed
from append_prefill.cli.output import (
    Commands,
    add_baselines,
    add_json,
    print_json,
    print_table,
    say,
)
from append_prefill.errors import UsageError
from append_prefill.probe.plan import Plan, make_plan
from append_prefill.probe.warmup import WINDOW
from append_prefill.records.baselines import shares_points, stored_baselines
from append_prefill.records.definition import definition_of, protocol_of
from append_prefill.records.grounds import Side
from append_prefill.records.identity import identity_of
from append_prefill.records.run import NoiseRecord, Run
from append_prefill.records.store import read_run
from append_prefill.report import format as fmt
from append_prefill.report.reasons import noise_words
from append_prefill.run.settings import default_profile
from append_prefill.workload.profile import Noise, Profile, load_profile

# Priming and the request that is measured.
_REQUESTS_A_SAMPLE = 2


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a start is: seconds until it is ready, and seconds a sample, priming included."""

    ready_s: float
    sample_s: float
    warmup_rounds: float
    source: str


# Used until a stored run tells. On an H200 a block of 22 primed samples took 1.3 s, and 0.5.17 was
# ready after 36 to 49 s (106 where it had to compile first). On a CPU 210 primed samples took 5.4 s
# and starts 17 to 28 s on two cores. Warm-up ends after two windows where nothing drifts, and takes
# about twice that where it does.
_ASSUMED = {
    "cuda": Pace(60.0, 0.058, 4 * WINDOW, "assumed: no stored run of this protocol and model"),
    "cpu": Pace(25.0, 0.026, 4 * WINDOW, "assumed: no stored run of this protocol and model"),
}


def register(commands: Commands) -> None:
    parser = commands.add_parser(
        "plan",
        help="what a run would measure, how long, and what it could see",
        description="Points, requests, minutes and the minimum detectable effect of a run. "
        "Starts no server and sends nothing.",
    )
    parser.add_argument("--profile", metavar="NAME|FILE", help="as in pytest (default: by device)")
    parser.add_argument("--starts", type=int, metavar="N", help="server starts a side")
    parser.add_argument("--samples", type=int, metavar="N", help="samples a point and start")
    parser.add_argument("--budget", type=float, metavar="MINUTES", help="time limit of the run")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the drawn points")
    parser.add_argument(
        "--against", action="store_true", help="a run of two sides, measured side by side"
    )
    parser.add_argument(
        "--like",
        type=Path,
        metavar="RUN",
        help="a run to take noise and pace from (default: the newest baseline of this protocol)",
    )
    add_baselines(parser)
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    for name in ("starts", "samples", "budget"):
        value = getattr(args, name)
        if value is not None and value <= 0:
            raise UsageError(f"--{name}", value, "plans nothing.", "Give more than 0.")
    profile = load_profile(args.profile or default_profile())
    sides: tuple[Side, ...] = ("candidate", "reference") if args.against else ("candidate",)
    plan = make_plan(
        profile,
        seed=args.seed,
        sides=sides,
        starts=args.starts,
        samples=args.samples,
        budget_minutes=args.budget,
    )
    like = read_run(args.like, option="--like") if args.like else _newest(args.baselines, profile)
    outlook = outlook_of(plan, profile, like)
    if args.json:
        print_json(outlook)
    else:
        _print(outlook, plan, profile)
    return 0


def outlook_of(plan: Plan, profile: Profile, like: Run | None) -> dict[str, Any]:
    """The figures of a plan, as `--json` prints them. Effects are relative: 0.03 is +3 %.

    `like` is a stored run whose noise and pace are taken over as far as it has them.
    """
    noise: Noise | NoiseRecord = profile.noise
    if like is not None and like.noise is not None:
        noise = with_nights(like.noise, profile.noise)
    pace = _pace(like) or _ASSUMED[profile.device]
    starts = plan.starts * len(plan.sides)
    points = len(plan.all_points)
    # A block throws its first request away: it pays for the flush before it.
    in_blocks = plan.samples * (points + 1)
    in_warmup = round(pace.warmup_rounds * points)
    samples = starts * (in_blocks + in_warmup)
    # The servers of an interleaved pair come up side by side.
    waits = plan.starts if profile.plan.interleave else starts
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
        "requests": _REQUESTS_A_SAMPLE * samples,
        "tokens_max": max(p.total_tokens for p in plan.all_points),
        "minutes": (waits * pace.ready_s + samples * pace.sample_s) / 60,
        "minutes_from": pace.source,
        "budget_minutes": plan.budget_minutes,
        "noise_from": noise_words(prior_of(noise).source),
        "must_catch": profile.policy.must_catch,
        **power_of(plan, profile, noise),
    }


def power_of(plan: Plan, profile: Profile, noise: Noise | NoiseRecord) -> dict[str, float | None]:
    """The minimum detectable effects; None where the noise is not known well enough to tell."""
    prior = prior_of(noise)
    policy = profile.policy
    figures: dict[str, float | None] = dict.fromkeys(
        ("mde_side_by_side", "mde_baseline", "starts_needed_side_by_side")
    )
    error = points_error(noise, plan.all_points, plan.samples)
    if prior.start_sd is None or error is None:
        return figures
    level = math.sqrt(prior.start_sd**2 + error)
    alpha = policy.false_alarm_rate * design_of(plan.all_points).shares["level"]
    starts = plan.starts
    paired = profile.plan.interleave
    pair_sd = prior.level_sd(paired=paired)
    if pair_sd is not None:
        # A ratio has the points' scatter of both sides in it.
        together = math.sqrt(pair_sd**2 + error * (2 if paired else 1))
        df, least = prior.level_df(paired=paired), policy.min_effect
        figures["mde_side_by_side"] = mde(
            together, starts, starts, alpha, paired=paired, prior_df=df, min_effect=least
        )
        figures["starts_needed_side_by_side"] = starts_needed(
            policy.must_catch, together, alpha, paired=paired, prior_df=df, min_effect=least
        )
    if prior.night_sd is not None:
        figures["mde_baseline"] = mde(
            level,
            starts,
            starts,
            alpha,
            night_sd=prior.night_sd,
            night_df=prior.night_df,
            prior_df=prior.start_df,
            min_effect=policy.min_effect,
        )
    return figures


def _newest(baselines: Path, profile: Profile) -> Run | None:
    """The newest stored run that measured the profile's model its way, on whichever device."""
    runs = [s.run for s in stored_baselines(baselines) if _alike(s.run, profile)]
    return max(runs, key=lambda run: run.created_at, default=None)


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


def _pace(like: Run | None) -> Pace | None:
    """The pace of a stored run's starts; None without one that tells all of it."""
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


def _print(outlook: dict[str, Any], plan: Plan, profile: Profile) -> None:
    print_table(
        f"{profile.title} ({profile.name})",
        ["L", "m", "N", "r", "experiments"],
        [
            [
                fmt.count(point.context_tokens),
                fmt.count(point.append_tokens),
                fmt.count(point.total_tokens),
                f"{point.cache_rate:.2f}",
                ", ".join(profile.experiments_of(point)) or f"drawn from seed {plan.seed}",
            ]
            for point in plan.all_points
        ],
        left=["experiments"],
    )
    sides = " and ".join(plan.sides)
    say(
        f"{fmt.plural(plan.starts, 'start')} of {sides}, {fmt.plural(plan.samples, 'sample')} a "
        f"point and start, {fmt.plural(len(plan.all_points), 'point')}."
    )
    say(
        f"About {fmt.count(outlook['requests'])} requests of up to "
        f"{fmt.count(outlook['tokens_max'])} tokens."
    )
    over = " More than the budget!" if outlook["minutes"] > plan.budget_minutes else ""
    say(
        f"About {fmt.number(outlook['minutes'], 2)} minutes ({outlook['minutes_from']}); budget "
        f"{fmt.exact(plan.budget_minutes)}.{over}"
    )
    if profile.device == "cuda":
        say("What a machine has not compiled yet is started once more, uncounted.")
    say(f"Minimum detectable effect on the overall level ({outlook['noise_from']}):")
    _say_mde("side by side", outlook["mde_side_by_side"])
    _say_mde("against a baseline", outlook["mde_baseline"])
    needed = outlook["starts_needed_side_by_side"]
    catch = f"{fmt.exact(100 * profile.policy.must_catch)} %"
    say(f"Side by side, +{catch} takes {_needed(needed)}.")


def _say_mde(how: str, value: float | None) -> None:
    text = "cannot be told" if value is None else f"+{fmt.share(value)}"
    say(f"  {how}: {text}")


def _needed(starts: int | None) -> str:
    return "more starts than a night holds" if starts is None else f"{starts} starts a side"
