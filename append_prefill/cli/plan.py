"""`append-prefill plan`: what a run would measure, how long, what it could see. Sends nothing."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from append_prefill.analysis.split import Choice, Split
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
from append_prefill.places import CLIFFS, checkout_of
from append_prefill.probe.plan import Plan
from append_prefill.probe.planning import make_plan
from append_prefill.records.baselines import stored_baselines
from append_prefill.records.grounds import Side
from append_prefill.records.kept import read_kept
from append_prefill.records.run import Run
from append_prefill.records.store import read_run
from append_prefill.report import format as fmt
from append_prefill.report.terminal import planned_traffic
from append_prefill.run.outlook import newest_like, outlook_of, split_effect, split_minutes
from append_prefill.run.resolve import default_profile, refuse_experiments
from append_prefill.workload.loading import load_profile
from append_prefill.workload.profile import Profile


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
    parser.add_argument("--quick", action="store_true", help="as in pytest: a first answer")
    parser.add_argument(
        "--experiment",
        action="append",
        default=[],
        metavar="ID",
        help="as in pytest: this experiment, and no other that is not named; repeatable",
    )
    ask = parser.add_mutually_exclusive_group()
    ask.add_argument(
        "--minutes",
        type=float,
        metavar="M",
        help="with --against: the launches and samples that see most in so many minutes",
    )
    ask.add_argument(
        "--effect",
        nargs="?",
        const="",
        metavar="PER CENT",
        help="with --against: those that see such a slow-down (3%%; by default the profile's "
        "must_catch) 95 times in 100 in the fewest minutes",
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
    for name in ("starts", "samples", "budget", "minutes"):
        value = getattr(args, name)
        if value is not None and not 0 < value < math.inf:
            raise UsageError(f"--{name}", value, "plans nothing.", "Give more than 0.")
    profile = load_profile(args.profile or default_profile())
    if args.quick:
        profile = profile.quickened(both=args.against)
    asked, here = _asked(args, profile), Path.cwd()
    sides: tuple[Side, ...] = ("candidate", "reference") if args.against else ("candidate",)
    cliffs = read_kept((checkout_of(here) or here) / CLIFFS, profile.name)
    refuse_experiments(args.experiment, profile, cliffs)
    plan = make_plan(
        profile,
        seed=args.seed,
        sides=sides,
        experiments=args.experiment or (profile.quick_experiments if args.quick else None),
        starts=args.starts,
        samples=args.samples,
        budget_minutes=args.budget,
        cliffs=cliffs,
    )
    like = read_run(args.like, option="--like") if args.like else _newest(args, profile)
    around: tuple[Split, ...] = ()
    if asked is not None:
        choice = _choose(asked, plan, profile, like)
        around = choice.around
        if choice.best is not None:
            plan = replace(plan, starts=choice.best.starts, samples=choice.best.samples)
    outlook = outlook_of(plan, profile, like)
    if args.json:
        splits = [asdict(split) for split in around]
        print_json(outlook | {"asked": None if asked is None else dict([asked]), "splits": splits})
        return 0
    _print(outlook, plan, profile)
    if asked is not None:
        _print_splits(asked, around, plan)
    elif args.against and plan.all_points:
        _say_catch(split_effect(plan, profile, like, profile.policy.must_catch).best, profile)
    return 0


Asked = tuple[str, float]
"""What the launches and samples are chosen for: `minutes`, or a relative `effect`."""


def _asked(args: argparse.Namespace, profile: Profile) -> Asked | None:
    """Raises UsageError for what leaves nothing to choose, or cannot be seen at all."""
    option = "--effect" if args.effect is not None else "--minutes"
    if args.effect is None and args.minutes is None:
        return None
    value = args.minutes if args.effect is None else args.effect or "(of the profile)"
    if not args.against:
        raise UsageError(
            option,
            value,
            "chooses the launches and samples of a run of two sides.",
            "Give --against with it: against a stored run more of either hardly helps.",
        )
    for name in ("starts", "samples"):
        if getattr(args, name) is not None:
            raise UsageError(
                f"--{name}",
                getattr(args, name),
                f"is what {option} chooses.",
                f"Drop --{name} or {option}.",
            )
    if args.effect is None:
        return "minutes", args.minutes
    effect = _effect(args.effect) if args.effect else profile.policy.must_catch
    least = profile.policy.min_effect
    if effect <= least:
        raise UsageError(
            option,
            value,
            f"is not above {fmt.exact(100 * least)} %, below which the profile calls nothing "
            "slower (policy.min_effect).",
            "Give more.",
        )
    return "effect", effect


def _effect(text: str) -> float:
    """A relative effect from per cent (`3%`) or a fraction (`0.03`). Raises UsageError."""
    per_cent = text.strip().endswith("%")
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        value = math.nan
    effect = value / 100 if per_cent else value
    if not 0 < effect < math.inf or not (per_cent or effect < 1):
        raise UsageError("--effect", text, "is no slow-down.", "Give per cent, as in 3%, or 0.03.")
    return effect


def _choose(asked: Asked, plan: Plan, profile: Profile, like: Run | None) -> Choice:
    what, value = asked
    if what == "minutes":
        choice = split_minutes(plan, profile, like, value)
        problem, remedy = "are too few for two launches per side of three samples.", "Give more."
    else:
        choice = split_effect(plan, profile, like, value)
        problem, remedy = "takes more launches than a session holds.", "Give more."
    if choice.best is None:
        if outlook_of(plan, profile, like)["mde_side_by_side"] is None:
            problem = "cannot be chosen for: the noise known here does not say how pairs scatter."
            remedy = "Measure it with append-prefill noise, or give another run with --like."
        shown = f"{fmt.exact(100 * value)} %" if what == "effect" else fmt.exact(value)
        raise UsageError(f"--{what}", shown, problem, remedy)
    return choice


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
                ", ".join(plan.experiments_of(point, profile)) or f"drawn from seed {plan.seed}",
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
    if outlook["traffic"]:
        say(f"Other traffic: {planned_traffic(outlook['traffic'])}.")
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
    if not plan.all_points:
        say("What it could see is told of points alone, and none is measured.")
        return
    say(f"Minimum detectable effect on the overall level ({outlook['noise_from']}):")
    _say_mde("side by side", outlook["mde_side_by_side"])
    most = profile.plane.floor_append_tokens
    if most is not None:
        _say_mde(f"side by side, up to m = {fmt.count(most)} alone", outlook["mde_floor"])
        _say_mde(f"side by side, beyond m = {fmt.count(most)} alone", outlook["mde_compute"])
    _say_mde("against a baseline", outlook["mde_baseline"])
    _say_mde("against a baseline, by the ratio to a control", outlook["mde_control"])
    needed = outlook["starts_needed_side_by_side"]
    catch = f"{fmt.exact(100 * profile.policy.must_catch)} %"
    say(f"Side by side, +{catch} takes {_needed(needed)} of so many samples.")


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
    say(f"  {how}: {_effect_words(value)}")


def _needed(starts: int | None) -> str:
    return "more launches than a session holds" if starts is None else f"{starts} launches per side"


def _say_catch(best: Split | None, profile: Profile) -> None:
    """In how many minutes the slow-down that a pass rules out is found."""
    if best is not None:
        say(
            f"In the fewest minutes, about {fmt.number(best.minutes, 2)}, by {best.starts} "
            f"launches per side of {fmt.plural(best.samples, 'sample')} (--effect "
            f"{fmt.exact(100 * profile.policy.must_catch)}%)."
        )


def _print_splits(asked: Asked, around: Sequence[Split], plan: Plan) -> None:
    what, value = asked
    title = (
        f"The split of {fmt.exact(value)} minutes that sees most, and its neighbours"
        if what == "minutes"
        else f"The fewest minutes that detect +{fmt.exact(100 * value)} %, and their neighbours"
    )
    strata = any(split.mde_floor is not None for split in around)
    columns = ["launches per side", "samples", "minutes", "everywhere"]
    columns += ["floor alone", "compute alone"] if strata else []
    say()
    print_table(
        title,
        [*columns, ""],
        [
            [
                str(split.starts),
                str(split.samples),
                fmt.number(split.minutes, 2),
                *map(_effect_words, _effects(split, strata=strata)),
                "planned above" if split.starts == plan.starts else "",
            ]
            for split in around
        ],
    )


def _effects(split: Split, *, strata: bool) -> Sequence[float | None]:
    alone = (split.mde_floor, split.mde_compute) if strata else ()
    return (split.mde_side_by_side, *alone)


def _effect_words(effect: float | None) -> str:
    return "cannot be told" if effect is None else fmt.slowdown(effect)
