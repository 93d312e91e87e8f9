"""`append-prefill bisect A..B`: which version brought a change, in which steps, how sure."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from append_prefill.cli.measuring import add_measuring, asked_of
from append_prefill.cli.output import Commands
from append_prefill.cli.searching import searched, slug
from append_prefill.errors import UsageError
from append_prefill.places import checkout_of
from append_prefill.records.run import Run
from append_prefill.records.store import read_run
from append_prefill.report.confirmation import confirming_folder
from append_prefill.run.bisection.lists import Positions, commits, interpreters, releases
from append_prefill.run.bisection.search import Origin

RANGE = re.compile(r"(?P<first>.+?)\.\.(?P<last>.+)")


def register(commands: Commands) -> None:
    parser = commands.add_parser(
        "bisect",
        help="find the versions, or commits, that brought a change",
        description="Find where TTFT changed between A and B: released versions, whose "
        "environments are made as it goes, builds of another index, commits of a checkout, or any "
        "interpreters in order. Each comparison is a run of its own, side by side, of the points "
        "where the change shows most; which is made next is what tells the most in a minute. The "
        "same call goes on where it stopped.",
        epilog="Exit status: 0 no step is slower · 1 a step that is · 8 not settled, and none "
        "found · 7 an end of the list cannot be measured · 4 an option cannot be honoured.",
    )
    parser.add_argument(
        "range", nargs="?", metavar="A..B", help="older and newer version, or commit"
    )
    parser.add_argument(
        "--from",
        dest="run_folder",
        type=Path,
        metavar="RUN",
        help="bisect what this run found: its versions, profile and server arguments",
    )
    parser.add_argument(
        "--among",
        nargs="+",
        default=[],
        metavar="ENV",
        help="these, oldest first, in place of released versions: interpreters, versions or "
        "simulated servers",
    )
    parser.add_argument("--git", type=Path, metavar="CHECKOUT", help="bisect commits of a checkout")
    parser.add_argument(
        "--build",
        metavar="COMMAND",
        help="run by the shell in a commit's work tree; it makes an environment at $ENVIRONMENT",
    )
    parser.add_argument(
        "--index-url", metavar="URL", help="an index of builds, in place of released versions"
    )
    add_measuring(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    run = None if args.run_folder is None else _confirmed(args.run_folder)
    first, last = _ends(args, run)
    positions = _positions(args, first, last)
    names = [position.name for position in positions.positions]
    asked = asked_of(args, run)
    folder = args.report_dir / f"bisect-{slug(names[0])}..{slug(names[-1])}"
    origin = None if run is None else Origin(run, str(args.run_folder))
    return searched(args, positions, asked, folder, origin)


def _confirmed(folder: Path) -> Run:
    """The run to go on from. Raises UsageError for one whose sides do not surely differ."""
    run = read_run(folder, option="--from")
    comparison = run.comparison
    if comparison is None or comparison.verdict not in ("regression", "improvement"):
        raise UsageError(
            "--from", folder, "found no change to look for.", "Give two versions, as A..B."
        )
    if not comparison.confirmed and confirming_folder(run) is None:
        raise UsageError(
            "--from",
            folder,
            "only suspects: its sides were not measured side by side.",
            "Confirm it first; the command stands in its report.",
        )
    return run


def _ends(args: argparse.Namespace, run: Run | None) -> tuple[str, str]:
    if args.range:
        match = RANGE.fullmatch(args.range)
        if match is None:
            raise UsageError(
                "A..B", args.range, "is no range.", "Write two with dots between: 0.5.21..0.5.23."
            )
        return match["first"], match["last"]
    if args.among:
        return "", ""
    if run is None or run.comparison is None:
        raise UsageError(
            "A..B", "(not given)", "says between what to look.", "Give A..B, --from RUN or --among."
        )
    ends = (run.comparison.reference_version, run.version)
    if None in ends or ends[0] == ends[1]:
        raise UsageError(
            "--from",
            args.run_folder,
            "does not tell two versions apart.",
            "For commits give A..B with --git, for interpreters --among; for arguments there is "
            "`append-prefill ablate`.",
        )
    return str(ends[0]), str(ends[1])


def _positions(args: argparse.Namespace, first: str, last: str) -> Positions:
    if args.build and args.git is None:
        raise UsageError("--build", args.build, "needs --git.", "Give the checkout, too.")
    kinds = {"--among": args.among, "--git": args.git, "--index-url": args.index_url}
    given = [option for option, value in kinds.items() if value]
    if len(given) > 1:
        raise UsageError(
            given[1],
            args.git if given[1] == "--git" else args.index_url,
            f"cannot go with {given[0]}: each says what the list is.",
            "Drop one of them.",
        )
    if args.among:
        if args.range:
            raise UsageError("A..B", args.range, "cannot go with --among.", "Drop one of the two.")
        return interpreters(args.among)
    if args.git is not None:
        return commits(first, last, args.git, args.build)
    here = Path.cwd()
    return releases(first, last, checkout_of(here) or here, args.index_url)
