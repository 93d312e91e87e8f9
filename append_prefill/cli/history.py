"""`append-prefill history`: the runs of a report folder, oldest first."""

from __future__ import annotations

import argparse
from pathlib import Path

from append_prefill.cli.output import Commands, add_json, print_json, print_table, say
from append_prefill.errors import UsageError
from append_prefill.records.history import HistoryEntry, load_history
from append_prefill.report import format as fmt
from append_prefill.report.names import SIMULATED
from append_prefill.report.words import word_of


def register(commands: Commands) -> None:
    parser = commands.add_parser(
        "history",
        help="the runs so far",
        description="The runs of a report folder, oldest first: verdict, floor, largest TTFT.",
    )
    parser.add_argument(
        "--report-dir",
        type=Path,
        default=Path("reports"),
        metavar="DIR",
        help="where runs are written (default: %(default)s)",
    )
    parser.add_argument("--last", type=int, metavar="N", help="only the last N")
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    if args.last is not None and args.last < 1:
        raise UsageError("--last", args.last, "shows nothing.", "Give 1 or more.")
    entries = load_history(args.report_dir)
    if args.last is not None:
        entries = entries[-args.last :]
    if args.json:
        print_json([entry.model_dump(mode="json") for entry in entries])
    elif not entries:
        say(f"No runs in {args.report_dir} yet.")
    else:
        print_table(
            f"Runs in {args.report_dir}",
            ["created", "version", "against", "verdict", "floor ms", "largest ms", "device", "run"],
            [_row(entry) for entry in entries],
            left=["created", "version", "against", "verdict", "device", "run"],
        )
    return 0


def _named(version: str | None, entry: HistoryEntry) -> str:
    """A version of either side, told apart from one that is only simulated."""
    if version is None:
        return fmt.MISSING
    return f"{SIMULATED} {version}" if entry.identity.get("device_kind") == "planted" else version


def _row(entry: HistoryEntry) -> list[str]:
    medians = [point.median_ms for point in entry.points if point.median_ms is not None]
    word = word_of(entry.verdict)
    return [
        fmt.moment(entry.created_at),
        _named(entry.version, entry),
        _named(entry.reference, entry),
        f"{word.sign} {word.word}",
        fmt.number(entry.floor_ms),
        fmt.number(max(medians, default=None)),
        fmt.scalar(entry.identity.get("device")),
        entry.path,
    ]
