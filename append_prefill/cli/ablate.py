"""`append-prefill ablate A..B`: which changed default of B does what, each flipped back."""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean

from append_prefill.cli.bisect import RANGE
from append_prefill.cli.measuring import Asked, Measurer, add_measuring, asked_of
from append_prefill.cli.output import Commands, print_table
from append_prefill.cli.searching import searched, slug, teller
from append_prefill.engines.defaults import defaults_of
from append_prefill.engines.resolve import interpreter_of, is_simulated
from append_prefill.engines.versions import parse_version
from append_prefill.errors import InfrastructureError, UsageError
from append_prefill.places import checkout_of
from append_prefill.records.contrast import contrast_of
from append_prefill.records.run import Run
from append_prefill.records.store import read_run
from append_prefill.report.bisection import sentence
from append_prefill.run.bisection.flips import Flipped, flips_of, given_flips, without
from append_prefill.run.bisection.history import comparison_of
from append_prefill.run.bisection.lists import Position, Releases, interpreters
from append_prefill.run.bisection.search import Origin
from append_prefill.run.bisection.where import experiment_of, traffic_of
from append_prefill.run.folders import LATEST

_TOTAL = "total"


def register(commands: Commands) -> None:
    parser = commands.add_parser(
        "ablate",
        help="find which changed default of a version does what",
        description="Compare B with A, read which server arguments and declared environment "
        "variables both resolve or declare otherwise, and flip them back on B, one after the "
        "other: which of them takes how much of the change. Dependencies that differ are listed. "
        "The same call goes on where it stopped.",
        epilog="Exit status: 0 settled · 8 not settled · 7 a server cannot be measured · 4 an "
        "option cannot be honoured.",
    )
    parser.add_argument(
        "range", metavar="A..B", help="older and newer version, or two interpreters"
    )
    parser.add_argument(
        "--flip",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="flip this, too: a variable, or --flip=--argument=value; repeatable",
    )
    parser.add_argument(
        "--switches",
        action="store_true",
        help="flip every variable that A does not have and that is on in B, too",
    )
    add_measuring(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    match = RANGE.fullmatch(args.range)
    if match is None:
        raise UsageError(
            "A..B", args.range, "is no range.", "Write two with dots between: 0.5.21..0.5.23."
        )
    given = (match["first"], match["last"])
    extra = given_flips(args.flip)
    if any(is_simulated(one) for one in given):
        raise UsageError(
            "A..B", args.range, "names a simulated server, which has no defaults of SGLang's.",
            "Give versions, or interpreters that have SGLang.",
        )  # fmt: skip
    asked = asked_of(args, None)
    sides = interpreters(given).positions
    folder = args.report_dir / f"ablate-{slug(sides[0].name)}..{slug(sides[1].name)}"
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    here = Path.cwd()
    root = checkout_of(here) or here
    made = [_made(spec, root, folder) for spec in given]
    total = _total(args, asked, folder, sides, made)
    old, new = (interpreter_of("A..B", spec, root).path for spec in made)
    found, suspects = flips_of(
        contrast_of(total), defaults_of(old), defaults_of(new), switches=args.switches
    )
    named = {flip.name for flip in extra}
    flips = [*extra, *(flip for flip in found if flip.name not in named)]
    suspects = without(suspects, extra)
    tell = teller(quiet=args.json)
    tell(
        f"{len(flips)} changed defaults to flip back; {len(suspects)} further differences are "
        "listed and not measured"
    )
    if not flips:
        print_table(
            "What differs and was not measured",
            ["kind", "difference", "why not"],
            [[s.kind, sentence.suspect_words(s), sentence.REASONS[s.reason]] for s in suspects],
            left=["kind", "difference", "why not"],
        )
        return 0
    experiments = args.experiment or [experiment_of(total, asked.profile)]
    first_ms, change_ms = _times(total, asked, experiments)
    origin = Origin(total, f"{_TOTAL}/{LATEST}", suspects, first_ms, change_ms)
    flipped = Flipped(sides[1].name, new, tuple(flips))
    return searched(args, flipped, asked, folder, origin)


def _made(spec: str, root: Path, folder: Path) -> str:
    """What `--sglang` takes; a version's environment is made where there is none."""
    if parse_version(spec) is None:
        return spec
    return Releases((Position(spec),), root).made(0, folder)


def _total(
    args: argparse.Namespace,
    asked: Asked,
    folder: Path,
    sides: tuple[Position, ...],
    made: list[str],
) -> Run:
    """The comparison of both sides, measured once. Raises InfrastructureError without one."""
    latest = folder / _TOTAL / LATEST
    if not latest.exists():
        teller(quiet=args.json)(f"{sides[1].name} against {sides[0].name} …")
        measure = Measurer(asked, folder)
        measure.experiments = tuple(args.experiment)
        if not measure(sides[0], made[0], sides[1], made[1], place=_TOTAL):
            raise InfrastructureError("interrupted before both sides were compared")
    run = read_run(latest, option="--report-dir")
    if run.comparison is None or run.verdict == "infrastructure":
        raise InfrastructureError(
            f"{sides[1].name} and {sides[0].name} could not be compared: see "
            f"{latest.resolve()}; remove it to try again."
        )
    return run


def _times(total: Run, asked: Asked, experiments: list[str]) -> tuple[float | None, float | None]:
    """The newer side's mean over the experiments' points, and what it takes more, in ms."""
    traffic = traffic_of(experiments, asked.profile)
    made = comparison_of(total, traffic)
    effects = [] if made is None else made.points
    if traffic is None:
        points = {p for name in experiments for p in asked.profile.experiment(name).as_points}
        effects = [effect for effect in effects if effect.point in points]
    known = [
        (e.candidate_ms, e.candidate_ms * (1 - 1 / e.ratio))
        for e in effects
        if e.candidate_ms is not None and e.ratio is not None
    ]
    if not known:
        return None, None
    return fmean(ms for ms, _ in known), fmean(more for _, more in known)
