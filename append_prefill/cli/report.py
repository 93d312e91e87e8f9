"""`append-prefill report RUN…` and `schema`: records into pages and other tools' formats."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from append_prefill.cli.output import (
    Commands,
    add_baselines,
    add_json,
    print_json,
    say,
    shipped_beside,
)
from append_prefill.errors import UsageError
from append_prefill.records.run import Run
from append_prefill.records.store import json_schema, read_run, write_whole
from append_prefill.report.history.note import note_of
from append_prefill.report.names import reference_label, sglang
from append_prefill.report.write import FILES, REPORTS, rendered, write_reports
from append_prefill.run.history import follow_run
from append_prefill.run.references import compared_with
from append_prefill.run.unfinished import with_launches
from append_prefill.workload.loading import load_profile, shipped_profiles
from append_prefill.workload.profile import Profile

_STANDARD_OUTPUT = "-"


def register(commands: Commands) -> None:
    report = commands.add_parser(
        "report",
        help="render report.html and summary.md again, or export the samples",
        description="Render run.json, beside it. Nothing is judged anew: the record's verdicts are "
        "shown, and a run that was killed is shown with the launches it left, not judged.",
    )
    report.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="run.json or its folder")
    report.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write there instead (one RUN only); - prints the one --format",
    )
    report.add_argument(
        "--format",
        action="append",
        choices=tuple(FILES),
        help="what to write, repeatable (default: html and md). csv: a row a sample; bencher: "
        "Bencher Metric Format; pytest-benchmark: its JSON; status: one line of text; "
        "github-summary, pr-comment: Markdown; slack, teams: a message's JSON. Nothing is sent",
    )
    report.add_argument(
        "--profile", metavar="NAME|FILE", help="for titles and policy (default: the run's own)"
    )
    report.add_argument(
        "--baseline",
        type=Path,
        metavar="FILE",
        help="the stored run it was compared with (default: looked up in --baselines)",
    )
    add_baselines(report)
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
    printed = args.out is not None and str(args.out) == _STANDARD_OUTPUT
    if printed and (args.json or len(args.format or ()) != 1):
        raise UsageError(
            "--out",
            _STANDARD_OUTPUT,
            "prints one document and nothing else.",
            "Give one --format, and no --json.",
        )
    baseline = None if args.baseline is None else read_run(args.baseline, option="--baseline")
    written: dict[str, dict[str, str]] = {}
    for path in args.runs:
        run = read_run(path, option="RUN")
        home = path if path.is_dir() else path.parent
        profile = _profile(args.profile, run)
        if run.verdict is None and run.provenance == "suite":
            run = with_launches(run, home, profile)
        held_against = baseline or _stored(run, args)
        kept = follow_run(run, home.parent)
        note = None if kept is None else note_of(kept)
        if printed:
            text = rendered(args.format[0], run, profile, held_against, home=home, history=note)
            sys.stdout.write(text)
            continue
        paths = write_reports(
            run,
            args.out or home,
            profile=profile,
            baseline=held_against,
            formats=args.format or REPORTS,
            history=note,
            home=home,
        )
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


def _stored(run: Run, args: argparse.Namespace) -> Run | None:
    """The stored run that `run` was held against when it was judged; None without one."""
    against = [] if run.comparison is None else [run.comparison, *run.comparison.others]
    chosen = next((c for c in against if c.kind == "baseline" and c.role == "chosen"), None)
    if chosen is None:
        return None
    stored = compared_with(run, chosen, args.baselines, shipped_beside(args))
    if stored is not None:
        return stored
    name = sglang(reference_label(chosen, run))
    print(
        f"append-prefill: {name}, which the run was compared with, is not in "
        f"{args.baselines}; without --baseline FILE the charts lack its curve.",
        file=sys.stderr,
    )
    return None


def _schema(args: argparse.Namespace) -> int:
    if args.out is None:
        sys.stdout.write(json_schema())
    else:
        write_whole(args.out, json_schema())
    return 0
