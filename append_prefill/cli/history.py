"""`append-prefill history`: the runs of a report folder by machine, their trend, and a page."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from append_prefill.analysis.trend.lineages import Followed
from append_prefill.cli.output import Commands, add_json, print_json, print_table, say
from append_prefill.errors import EXIT_USAGE, UsageError
from append_prefill.records.history.entry import Entry
from append_prefill.records.store import write_whole
from append_prefill.report import format as fmt
from append_prefill.report.confirmation import entry_words
from append_prefill.report.history.note import history_lines, note_of
from append_prefill.report.history.page import render_history
from append_prefill.report.history.words import machine_words
from append_prefill.report.names import SIMULATED
from append_prefill.report.words import word_of
from append_prefill.run.history import follow, rebuild, records_in

PAGE = "history.html"


def register(commands: Commands) -> None:
    parser = commands.add_parser(
        "history",
        help="the runs so far, their trend and their alerts",
        description="The runs of a report folder, by machine and definition, oldest first, with "
        "the level's trend and the open alerts; --html makes a page of all trends.",
    )
    add_report_dir(parser)
    parser.add_argument("--last", type=int, metavar="N", help="only the last N of each machine")
    parser.add_argument(
        "--html",
        nargs="?",
        type=Path,
        const=Path(),
        metavar="FILE",
        help=f"write a page of alerts and trends (default: {PAGE} in the report folder)",
    )
    parser.add_argument(
        "--rebuild",
        nargs="*",
        type=Path,
        metavar="RUN",
        help="first read run.json again, of these runs or of all in the report folder",
    )
    add_json(parser)
    parser.set_defaults(run=_run)


def add_report_dir(parser: argparse.ArgumentParser) -> None:
    """`--report-dir DIR`: whose history."""
    parser.add_argument(
        "--report-dir",
        type=Path,
        default=Path("reports"),
        metavar="DIR",
        help="where runs are written (default: %(default)s)",
    )


def _run(args: argparse.Namespace) -> int:
    if args.last is not None and args.last < 1:
        raise UsageError("--last", args.last, "shows nothing.", "Give 1 or more.")
    refused: list[UsageError] = []
    if args.rebuild is not None:
        count, refused = rebuild(args.report_dir, args.rebuild or records_in(args.report_dir))
        if not args.json:
            say(f"{fmt.plural(count, 'run')} read into the history of {args.report_dir}.")
    for error in refused:
        print(f"append-prefill: {error}", file=sys.stderr)
    histories = follow(args.report_dir)
    if args.html is not None:
        page = args.report_dir / PAGE if args.html == Path() else args.html
        write_whole(page, render_history(histories, now=datetime.now(UTC)))
    if args.json:
        print_json([_data(followed, args.last) for followed in histories])
    elif args.html is not None:
        say(str(page))
    elif not histories:
        say(f"No runs in {args.report_dir} yet.")
    else:
        for followed in reversed(histories):  # the newest last, where a terminal ends
            _show(followed, args.last)
    return EXIT_USAGE if refused else 0


def _show(followed: Followed, last: int | None) -> None:
    lineage = followed.lineage
    say(machine_words(lineage), style="bold")
    if lineage.sessions:
        for line in history_lines(note_of(followed)):
            say(line)
    print_table(
        f"{fmt.plural(len(lineage.runs), 'run')}",
        ["created", "version", "against", "verdict", "purpose", "level ms", "since last", "run"],
        [_row(entry, step) for entry, step in _steps(lineage.runs)][-(last or 0) :],
        left=["created", "version", "against", "verdict", "purpose", "run"],
    )


def _steps(runs: Sequence[Entry]) -> list[tuple[Entry, float | None]]:
    """Each run, and its level over that of the whole run before it."""
    found: list[tuple[Entry, float | None]] = []
    before: float | None = None
    for run in runs:
        level = run.value_of("level")
        value = None if level is None else level.value
        step = None if value is None or before is None else value / before
        found.append((run, step))
        if run.whole and value is not None:
            before = value
    return found


def _named(version: str | None, entry: Entry) -> str:
    """A version of either side, told apart from one that is only simulated."""
    if version is None:
        return fmt.MISSING
    return f"{SIMULATED} {version}" if entry.simulated else version


def _row(entry: Entry, step: float | None) -> list[str]:
    word, level = word_of(entry.verdict), entry.value_of("level")
    return [
        fmt.moment(entry.created_at),
        _named(entry.label or entry.version, entry),
        _named(entry.reference, entry),
        ", ".join(filter(None, [f"{word.sign} {word.word}", entry_words(entry)])),
        entry.purpose,
        fmt.number(None if level is None else level.value),
        fmt.change(step),
        entry.path,
    ]


def _data(followed: Followed, last: int | None) -> dict[str, Any]:
    runs = followed.lineage.runs[-(last or 0) :]
    return {
        "id": followed.lineage.id,
        "achieved": asdict(followed.achieved),
        "alerts": [as_data(alert) for alert in followed.alerts],
        "runs": [as_data(run) for run in runs],
    }


def as_data(thing: Any) -> dict[str, Any]:
    """A dataclass as JSON has it: moments as text."""
    return {key: _plain(value) for key, value in asdict(thing).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
