"""`append-prefill report RUN…` and `schema`: records into pages, and what a record looks like."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from append_prefill.cli.output import Commands, add_json, print_json, say
from append_prefill.errors import UsageError
from append_prefill.records.run import Run
from append_prefill.records.store import json_schema, read_run, write_whole
from append_prefill.report.write import write_reports
from append_prefill.workload.profile import Profile, load_profile, shipped_profiles


def register(commands: Commands) -> None:
    report = commands.add_parser(
        "report",
        help="render report.html and summary.md again",
        description="Render report.html and summary.md from run.json, beside it. Nothing is "
        "judged anew: the record's verdicts are shown.",
    )
    report.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="run.json or its folder")
    report.add_argument(
        "--out", type=Path, metavar="DIR", help="write there instead (one RUN only)"
    )
    report.add_argument(
        "--profile", metavar="NAME|FILE", help="for titles and policy (default: the run's own)"
    )
    report.add_argument(
        "--baseline", type=Path, metavar="FILE", help="the stored run it was compared with"
    )
    add_json(report)
    report.set_defaults(run=_report)

    schema = commands.add_parser(
        "schema", help="print the JSON Schema of run.json", description="The schema of run.json."
    )
    schema.add_argument("--out", type=Path, metavar="FILE", help="write it there instead")
    schema.set_defaults(run=_schema)


def _report(args: argparse.Namespace) -> int:
    if args.out is not None and len(args.runs) > 1:
        raise UsageError(
            "--out", args.out, f"cannot hold the reports of {len(args.runs)} runs.", "Give one RUN."
        )
    baseline = None if args.baseline is None else read_run(args.baseline, option="--baseline")
    written: dict[str, dict[str, str]] = {}
    for path in args.runs:
        run = read_run(path, option="RUN")
        folder = args.out or (path if path.is_dir() else path.parent)
        paths = write_reports(run, folder, profile=_profile(args.profile, run), baseline=baseline)
        written[str(path)] = {name: str(file) for name, file in paths.items()}
    if args.json:
        print_json(written)
    else:
        for files in written.values():
            for file in files.values():
                say(file)
    return 0


def _profile(option: str | None, run: Run) -> Profile | None:
    """The profile to render with; of a run of someone's own profile, none is at hand."""
    if option is not None:
        return load_profile(option)
    if run.profile in shipped_profiles():
        return load_profile(run.profile)
    print(
        f"append-prefill: {run.profile} is not a shipped profile; without --profile FILE the "
        "report has no experiment titles and no policy.",
        file=sys.stderr,
    )
    return None


def _schema(args: argparse.Namespace) -> int:
    if args.out is None:
        sys.stdout.write(json_schema())
    else:
        write_whole(args.out, json_schema())
    return 0
