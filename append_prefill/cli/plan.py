"""`append-prefill plan`: what a run would measure, how long, what it could see. Sends nothing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from append_prefill.cli.output import (
    Commands,
    add_baselines,
    add_json,
    print_json,
    print_table,
    say,
    shipped_beside,
)
from append_prefill.errors import UsageError
from append_prefill.probe.plan import Plan, make_plan
from append_prefill.records.baselines import stored_baselines
from append_prefill.records.grounds import Side
from append_prefill.records.run import Run
from append_prefill.records.store import read_run
from append_prefill.report import format as fmt
from append_prefill.run.outlook import newest_like, outlook_of
from append_prefill.run.settings import default_profile
from append_prefill.workload.profile import Profile, load_profile


def register(commands: Commands) -> None:
    parser = commands.add_parser(
        "plan",
        help="what a run would measure, how long, and what it could see",
        description="Points, requests, minutes and the minimum detectable effect of a run. "
        "Starts no server and sends nothing.",
    )
    parser.add_argument("--profile", metavar="NAME|FILE", help="as in pytest (default: by device)")
    parser.add_argument("--starts", type=int, metavar="N", help="server launches per side")
    parser.add_argument("--samples", type=int, metavar="N", help="samples per point and launch")
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
    like = read_run(args.like, option="--like") if args.like else _newest(args, profile)
    outlook = outlook_of(plan, profile, like)
    if args.json:
        print_json(outlook)
    else:
        _print(outlook, plan, profile)
    return 0


def _newest(args: argparse.Namespace, profile: Profile) -> Run | None:
    stored = stored_baselines(args.baselines, shipped=shipped_beside(args))
    return newest_like((one.run for one in stored), profile)


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
        f"{fmt.plural(plan.starts, 'launch')} of {sides}, "
        f"{fmt.plural(plan.samples, 'sample')} per point and launch, "
        f"{fmt.plural(len(plan.all_points), 'point')}."
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
    if outlook["analyses"]:
        say(_analyses(outlook["analyses"]))
    if profile.device == "cuda":
        say("What a machine has not compiled yet is started once more, uncounted.")
    say(f"Minimum detectable effect on the overall level ({outlook['noise_from']}):")
    _say_mde("side by side", outlook["mde_side_by_side"])
    _say_mde("against a baseline", outlook["mde_baseline"])
    needed = outlook["starts_needed_side_by_side"]
    catch = f"{fmt.exact(100 * profile.policy.must_catch)} %"
    say(f"Side by side, +{catch} takes {_needed(needed)}.")


def _analyses(analyses: Sequence[dict[str, Any]]) -> str:
    """When a run of two sides is judged, so when it may end."""
    first, *others = analyses
    more = ", ".join(str(one["starts"]) for one in others)
    return (
        f"Judged after {fmt.plural(first['starts'], 'launch')} per side, about "
        f"{fmt.number(first['minutes'], 2)} minutes"
        + (f", then {more}, until the answer is in or the budget spent." if others else ".")
    )


def _say_mde(how: str, value: float | None) -> None:
    text = "cannot be told" if value is None else f"+{fmt.share(value)}"
    say(f"  {how}: {text}")


def _needed(starts: int | None) -> str:
    return "more launches than a session holds" if starts is None else f"{starts} launches per side"
