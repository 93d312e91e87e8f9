"""`append-prefill cliffs`: search one version for points where TTFT jumps, and keep them."""

from __future__ import annotations

import argparse
import shlex
from datetime import UTC, datetime
from pathlib import Path

from append_prefill.cli.measuring import add_server
from append_prefill.cli.output import Commands, add_json, print_json, print_table, say
from append_prefill.cli.searching import teller
from append_prefill.errors import EXIT_INCONCLUSIVE, EXIT_REGRESSION, UsageError
from append_prefill.places import CLIFFS, checkout_of
from append_prefill.records.cliffs import SEARCH_FILE, CliffSearch
from append_prefill.records.kept import keep
from append_prefill.report.cliffs import (
    SUSPECT_COLUMNS,
    cliff_lines,
    suspect_rows,
    verdict_words,
)
from append_prefill.run.cliffs.whole import Asked, whole_search
from append_prefill.run.folders import new_folder
from append_prefill.run.options import Options
from append_prefill.run.resolve import resolve
from append_prefill.workload.any_point import searched

BUDGET_MINUTES = 10.0
"""A thousand points or two on two cores, with the fresh launches."""


def register(commands: Commands) -> None:
    parser = commands.add_parser(
        "cliffs",
        help="search a version for points where TTFT jumps",
        description="Drive (L, m) to where most is measured over what is expected, find the edges "
        "there, and confirm them on fresh launches. What is confirmed is kept in "
        f"{CLIFFS}/PROFILE.json, and measured by every run of the profile ever after.",
        epilog="Exit status: 0 no cliff confirmed · 1 a cliff · 8 interrupted, a suspect that "
        "nobody went to see, or a budget too small to look · 7 a server failed · 4 an option "
        "cannot be honoured.",
    )
    parser.add_argument("--sglang", metavar="ENV", help="as of append-prefill run")
    add_server(parser)
    parser.add_argument(
        "--experiment",
        metavar="ID",
        help="search in the traffic of this experiment of the profile's (default: lone "
        "append-prefills behind a primed context)",
    )
    parser.add_argument(
        "--lock-clocks", action="store_true", help="lock the GPU's SM clock meanwhile"
    )
    parser.add_argument(
        "--budget",
        type=float,
        default=BUDGET_MINUTES,
        metavar="MINUTES",
        help="for all of it, the confirming launches included (default: %(default)g)",
    )
    parser.add_argument(
        "--requests", type=int, metavar="N", help="look no longer than so many requests, either"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of every draw")
    parser.add_argument(
        "--report-dir",
        type=Path,
        default=Path("reports"),
        metavar="DIR",
        help="where the search's folder is made (default: %(default)s)",
    )
    parser.add_argument(
        "--no-keep", action="store_true", help="write no kept cliffs, only the search's record"
    )
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    for option, value in (("--budget", args.budget), ("--requests", args.requests)):
        if value is not None and not value > 0:
            raise UsageError(option, value, "leaves nothing to look at.", "Give more than 0.")
    here = Path.cwd()
    settings = resolve(
        Options(
            sglang=args.sglang,
            server_arg=tuple(args.server_arg),
            profile=args.profile,
            model=args.model,
            dummy_weights=args.dummy_weights,
            lock_clocks=args.lock_clocks,
            seed=args.seed,
        ),
        checkout_of(here) or here,
    )
    experiment, limits = searched(settings.profile, args.experiment)
    name = settings.candidate.version or settings.candidate.label
    folder = new_folder(args.report_dir, datetime.now(UTC), f"cliffs-{name}")
    tell = teller(quiet=args.json)
    where = "" if args.experiment is None else f" in the traffic of {args.experiment}"
    tell(f"searching {settings.candidate.label} for cliffs{where}, {args.budget:g} min …")
    found = whole_search(
        Asked(
            settings,
            folder,
            args.budget,
            args.requests,
            shlex.join(["append-prefill", *args.typed]),
            limits,
            experiment,
        ),
        tell,
    )
    if args.json:
        print_json(found.model_dump(mode="json", by_alias=True))
    else:
        _tell_all(found)
    if not args.no_keep:
        path, new = keep(settings.root / CLIFFS, settings.profile.name, found.cliffs)
        if new:
            tell(f"kept in {path}: {len(new)}, measured by every run of {settings.profile.name}")
    tell(f"record: {folder / SEARCH_FILE}")
    if not args.json:
        say(f"verdict: {verdict_words(found)}", style="bold")
    return status_of(found)


def status_of(found: CliffSearch) -> int:
    """1 for a cliff, 8 where somewhere was not looked that should have been."""
    if found.cliffs:
        return EXIT_REGRESSION
    left = found.ended == "interrupted" or any(s.told == "not-tried" for s in found.suspects)
    return EXIT_INCONCLUSIVE if left or not found.points else 0


def _tell_all(found: CliffSearch) -> None:
    if found.suspects:
        say()
        columns = list(SUSPECT_COLUMNS)
        print_table("Suspects", columns, suspect_rows(found), left=(columns[0], *columns[2::2]))
    for line in cliff_lines(found):
        say(line)
