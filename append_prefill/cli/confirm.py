"""`append-prefill confirm RUN`: measure what a run suspects again, with launches of their own.

The run that measures it is one as any other: this process becomes its pytest, and its record says
which run's suspicion it measures again (`--confirms`).
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any, NoReturn

from append_prefill.cli.output import Commands
from append_prefill.cli.run import become_pytest, job
from append_prefill.engines.resolve import interpreter_of
from append_prefill.errors import UsageError
from append_prefill.places import BASELINES, checkout_of, is_checkout, shipped_baselines
from append_prefill.plugin.options import declare_options
from append_prefill.plugin.resuming import recorded_options
from append_prefill.records.comparison import Comparison
from append_prefill.records.confirmation import POINTS
from append_prefill.records.run import Run
from append_prefill.records.secrets import MASK
from append_prefill.report.names import option_words
from append_prefill.report.next_step import TRAFFIC_TEST
from append_prefill.run.confirming import Suspicion, read_suspicion
from append_prefill.run.references import compared_with
from append_prefill.workload.loading import load_profile
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile

MORE_LAUNCHES = 2
"""Times the launches that the run had planned. The smallest effect that is found falls with their
root, to 0.7 of the run's own: what was seen once at the edge of its sight is well within. Side by
side the first analysis comes after half of them, as many as the run had, and mostly ends it."""

_POINTS_TEST = "test_surface_has_not_regressed"
_GIVEN = (
    "--sglang", "--against", "--against-server-arg", "--server-arg", "--profile", "--model",
    "--starts", "--samples", "--budget", "--seed", "--report-dir", "--lock-clocks",
)  # fmt: skip
"""Of the run's options those that may be given otherwise than they were."""

# What is decided anew: the others are those that the run was made with.
_DROPPED = ("starts", "budget", "seed", "baseline", "against", "experiment", "quick", "confirms")


def register(commands: Commands) -> None:
    parser = commands.add_parser(
        "confirm",
        help="measure what a run suspects again, with more launches",
        usage="append-prefill confirm RUN [options] [-- pytest's own options]",
        description="Measure the experiments in which a run found something slower again: side by "
        "side where the reference's environment is at hand or --against names one, else against "
        "the same stored run. The fresh launches decide alone; the run's record, report and alert "
        "then say by which run it is confirmed or withdrawn, or that it still cannot be told.",
        epilog="Exit status: 0 withdrawn · 1 confirmed · 8 still cannot tell · 7 infrastructure "
        "failed · 4 an option cannot be honoured.",
    )
    parser.add_argument("run_folder", metavar="RUN", type=Path, help="run.json or its folder")
    names: dict[str, str] = {}

    def add(flag: str, **settings: Any) -> None:
        if flag in _GIVEN:
            action = parser.add_argument(flag, **settings | {"default": argparse.SUPPRESS})
            names[action.dest] = flag

    declare_options(add)
    parser.set_defaults(run=lambda args: _run(args, names))


def _run(args: argparse.Namespace, names: dict[str, str]) -> NoReturn:
    suspicion = read_suspicion(args.run_folder, option="RUN")
    given = {name: getattr(args, name) for name in names if hasattr(args, name)}
    for name in suspicion.left_out:
        print(
            f"append-prefill: {name} is suspected against another reference than "
            f"{suspicion.comparison.reference} and is not measured now; do this again for it.",
            file=sys.stderr,
        )
    options = options_for(suspicion, given, Path.cwd())
    print(f"append-prefill run {shlex.join(options)}")
    become_pytest(job([*options, *args.passed], Path.cwd()))


def options_for(suspicion: Suspicion, given: dict[str, Any], here: Path) -> list[str]:
    """The options of the run that measures it again, called in `here`.

    `given` are those of this call, by the names pytest has for them. Raises UsageError.
    """
    run = suspicion.run
    recorded, _, flags = recorded_options(shlex.join(option_words(run)))
    chosen = {name: value for name, value in recorded.items() if name not in _DROPPED} | given
    _refuse_masked(chosen, flags)
    profile = load_profile(chosen.get("profile") or run.profile)
    root = checkout_of(here) or here
    chosen |= _reference(suspicion, chosen, recorded, root)
    chosen.setdefault("starts", MORE_LAUNCHES * max(run.plan.starts, 2))
    budget = max(MORE_LAUNCHES * run.plan.budget_minutes, profile.plan.budget_minutes)
    chosen.setdefault("budget", budget)
    chosen.setdefault("report_dir", suspicion.folder.parent)
    chosen["experiment"] = experiments_of(suspicion, profile)
    chosen["confirms"] = suspicion.folder
    # A test of the points selects no experiment, so that --experiment alone says what is measured,
    # heavy traffic too, whose own tests ask for a marker.
    tests = {_POINTS_TEST, *(TRAFFIC_TEST for name in suspicion.comparisons if name != POINTS)}
    words: list[str] = []
    for name, value in chosen.items():
        if value is True:
            words.append(flags[name])
        elif value not in (None, False):
            several = value if isinstance(value, list | tuple) else [value]
            words += [f"{flags[name]}={one}" for one in several]
    return [*words, f"-k={' or '.join(sorted(tests))}"]


def experiments_of(suspicion: Suspicion, profile: Profile) -> list[str]:
    """Ids of the experiments that hold a point that is suspected, and those of other traffic.

    Where no part of the plane is named, all that the run measured.
    """
    found = [name for name in suspicion.comparisons if name != POINTS]
    points = suspicion.comparisons.get(POINTS)
    if points is None:
        return found
    planned = {Point(*point) for point in suspicion.run.plan.points}
    there = _slower(points) & planned or planned
    own = [
        e.id
        for e in profile.experiments
        if there & set(e.as_points) and planned >= set(e.as_points)
    ]
    if not own:
        raise UsageError(
            "RUN",
            suspicion.folder,
            f"suspects nothing in an experiment of profile {profile.name} that it measured.",
            "Name its own profile with --profile.",
        )
    return own + found


def _slower(comparison: Comparison) -> set[Point]:
    found = {p.point for p in comparison.points if p.verdict == "regression"}
    for part in comparison.change.parts if comparison.change is not None else ():
        if part.ratio > 1:
            found |= {Point(*point) for point in part.points}
    return found


def _refuse_masked(chosen: dict[str, Any], flags: dict[str, str]) -> None:
    """Raise UsageError for a secret argument of the run's, which no record keeps."""
    for name, value in chosen.items():
        if isinstance(value, list) and any(MASK in argument for argument in value):
            raise UsageError(
                flags[name],
                shlex.join(value),
                "is a secret that no record keeps.",
                f"Give every {flags[name]} of the run again.",
            )


def _reference(
    suspicion: Suspicion, chosen: dict[str, Any], recorded: dict[str, Any], root: Path
) -> dict[str, Any]:
    """What it is held against: side by side if that can be had, else the stored run of before."""
    run, comparison = suspicion.run, suspicion.comparison
    beside = chosen.get("against")
    if beside is None and comparison.kind == "side-by-side":
        beside = recorded.get("against")
    if beside is None:
        beside = _at_hand(run, comparison, root)
    if beside is not None:
        return {"against": beside, "baseline": "none", "control": None}
    print(
        f"append-prefill: the environment of {comparison.reference} is not at hand, so fresh "
        "launches are held against the same stored run: they can withdraw a suspicion, and not "
        "confirm one. --against ENV measures both sides.",
        file=sys.stderr,
    )
    return {"baseline": _stored(run, comparison, recorded, root)}


def _at_hand(run: Run, comparison: Comparison, root: Path) -> str | None:
    """The stored version, where there is an environment with it that is not the candidate's."""
    version = comparison.reference_version or comparison.reference
    if version == run.version or run.simulated:
        return None
    try:
        interpreter_of("--against", version, root)
    except UsageError:
        return None
    return version


def _stored(run: Run, comparison: Comparison, recorded: dict[str, Any], root: Path) -> str:
    """The selector of the stored run that the run was held against."""
    selector = recorded.get("baseline", "auto")
    if selector not in ("auto", "none"):
        return str(selector)
    shipped = None if is_checkout(root) else shipped_baselines()
    kept = compared_with(run, comparison, root / BASELINES, shipped)
    if kept is None or kept.version is None:
        raise UsageError(
            "RUN",
            comparison.reference,
            "was held against what is not there any more: earlier runs, or a stored run that was "
            "stored anew since.",
            "Name an environment of the reference with --against.",
        )
    return kept.version
