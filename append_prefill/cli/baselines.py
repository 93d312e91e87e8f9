"""`append-prefill baselines list|show|store|promote`: the stored runs, and the pinned one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from append_prefill.cli.compare import compare_runs, print_comparison
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
from append_prefill.records.baselines import (
    Stored,
    baseline_folder,
    save_baseline,
    stored_baselines,
)
from append_prefill.records.comparison import Comparison
from append_prefill.records.definition import definition_of, protocol_of
from append_prefill.records.identity import identity_of
from append_prefill.records.pinned import Pinned, pin, read_pinned
from append_prefill.records.run import Run
from append_prefill.records.selecting import find_stored, is_file_selector
from append_prefill.records.store import read_run
from append_prefill.report import format as fmt
from append_prefill.report.names import baseline_name, sglang
from append_prefill.report.tables import experiment_words
from append_prefill.report.warnings import warning_words
from append_prefill.run.reference_side import reference_record
from append_prefill.workload.loading import load_profile
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile


def register(commands: Commands) -> None:
    baselines = commands.add_parser(
        "baselines", help="list, show, store and pin runs", description="Stored runs."
    )
    actions = baselines.add_subparsers(title="actions", metavar="ACTION", required=True)

    listing = actions.add_parser("list", help="every stored run", description="Every stored run.")
    add_baselines(listing)
    add_json(listing)
    listing.set_defaults(run=_list)

    show = actions.add_parser("show", help="one stored run", description="One stored run.")
    _add_which(show)
    add_json(show)
    show.set_defaults(run=_show)

    store = actions.add_parser(
        "store",
        help="store a measured run as its version's baseline",
        description="Store the run in FILE as the baseline of its device, model and version, as "
        "--save-baseline would have done. Of a side-by-side run the reference can be stored too: "
        "its launches are then judged alone.",
    )
    store.add_argument("file", metavar="FILE", type=Path, help="run.json or its folder")
    store.add_argument(
        "--side",
        choices=("candidate", "reference"),
        default="candidate",
        help="whose launches to store (default: %(default)s)",
    )
    store.add_argument(
        "--profile", metavar="NAME|FILE", help="to judge by (default: the run's own)"
    )
    add_baselines(store)
    add_json(store)
    store.set_defaults(run=_store)

    promote = actions.add_parser(
        "promote",
        help="make a stored run the pinned reference",
        description="Compare VERSION, which is stored, or the run in FILE with the pinned "
        "reference of its device and model. With --reason then move the reference there: the run "
        "of a FILE is stored, and pinned.json written. Commit it, so that the move is reviewed.",
    )
    _add_which(promote)
    promote.add_argument("--reason", help="move it, and why; kept in pinned.json")
    promote.add_argument(
        "--profile",
        metavar="NAME|FILE",
        help="whose policy and noise to compare by (default: the one the run was measured with)",
    )
    add_json(promote)
    promote.set_defaults(run=_promote)


def _add_which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("which", metavar="VERSION|FILE", help="a stored version, or a record")
    parser.add_argument(
        "--folder",
        metavar="DEVICE/MODEL",
        help="where VERSION lies, if several devices or models have it",
    )
    add_baselines(parser)


def _list(args: argparse.Namespace) -> int:
    stored = stored_baselines(args.baselines, shipped=shipped_beside(args))
    if args.json:
        print_json([_facts(s) for s in stored])
    elif not stored:
        say(f"No baselines in {args.baselines}: pytest -m append_prefill --save-baseline.")
    else:
        columns = [
            "device",
            "model",
            "version",
            "created",
            "launches",
            "points",
            "floor",
            "",
            "from",
        ]
        rows = [
            [
                fmt.scalar(s.device),
                s.model,
                s.version,
                f"{s.run.created_at:%Y-%m-%d}",
                fmt.count(len(s.run.starts)) if s.run.starts else fmt.MISSING,
                fmt.count(len(s.run.points)),
                _floor(s.run),
                "pinned" if s.pinned else "",
                s.run.provenance,
            ]
            for s in stored
        ]
        print_table("Baselines", columns, rows, left=["device", "model", "version", "", "from"])
    return 0


def _show(args: argparse.Namespace) -> int:
    run = _run_of(args, shipped_beside(args))
    if args.json:
        print_json(run.model_dump(mode="json", by_alias=True))
        return 0
    name = sglang(baseline_name(run)) if run.version else "SGLang (unknown)"
    say(f"{name}, {fmt.moment(run.created_at)}, {run.provenance}")
    print_table(
        "Identity and subject",
        ["field", "value"],
        [
            [f"{group}.{key}", fmt.shorten(fmt.scalar(value), 90)]
            for group, mapping in (("identity", run.identity), ("subject", run.subject))
            for key, value in fmt.flatten(mapping).items()
        ],
        left=["field", "value"],
    )
    print_table(
        "TTFT",
        ["L", "m", "median ms", "95 % interval", "launches", "samples", "invalid", "experiments"],
        [
            [
                fmt.count(point.context_tokens),
                fmt.count(point.append_tokens),
                fmt.number(point.median_ms),
                fmt.interval(point.low_ms, point.high_ms),
                fmt.count(point.starts),
                fmt.count(point.samples),
                fmt.count(point.void),
                experiment_words(run, point),
            ]
            for point in run.points
        ],
        left=["experiments"],
    )
    for warning in run.warnings:
        say(f"warning: {warning_words(warning)}")
    return 0


def _store(args: argparse.Namespace) -> int:
    run = read_run(args.file, option="FILE")
    _refuse_study(run, "FILE", args.file)
    profile = load_profile(args.profile or run.profile)
    if args.side == "reference":
        if not _measured_by(run, profile):
            raise UsageError(
                "--profile",
                profile.name,
                f"measures something else than {args.file} did, so it cannot judge that.",
                "Give the profile it was measured with, as a file.",
            )
        reference = reference_record(run, profile)
        if reference is None:
            raise UsageError(
                "--side",
                args.side,
                f"asks for the reference of {args.file}, which has no valid launch of one.",
                "Give a run that was measured with --against, or store its candidate.",
            )
        run = reference
    path = save_baseline(run, args.baselines, not_binding=profile.identity_not_binding)
    if args.json:
        print_json({"path": str(path), "version": run.version})
    else:
        say(f"Stored {run.version} in {path}: commit it.")
    return 0


def _measured_by(run: Run, profile: Profile) -> bool:
    """Whether the run is one of the profile, before it got experiments that it has now or not."""
    if run.definition == definition_of(profile):
        return True
    planned = {Point(*point) for point in run.plan.points}
    same_protocol = identity_of(run).get("protocol") == protocol_of(profile)
    return same_protocol and planned <= set(profile.points)


def _refuse_study(run: Run, option: str, value: object) -> None:
    if run.provenance == "study":
        raise UsageError(
            option,
            value,
            "is the study's table, which has no samples to hold a run against.",
            "Give a version that was measured.",
        )


def _promote(args: argparse.Namespace) -> int:
    run = _run_of(args)
    _refuse_study(run, "VERSION", args.which)
    folder = baseline_folder(args.baselines, identity_of(run))
    before = read_pinned(folder)
    comparison = None
    if before is not None and (folder / before.file).is_file():
        there = read_run(folder / before.file, option="pinned baseline")
        comparison = compare_runs(run, there, load_profile(args.profile or run.profile))
    if not args.json:
        _print_move(before, comparison, run)
    pinned = None
    if args.reason is not None:
        path = _stored_path(args)
        pinned = pin(path, version=run.version or path.stem, reason=args.reason)
    if args.json:
        print_json(
            {
                "comparison": None if comparison is None else comparison.model_dump(mode="json"),
                "pinned": None if pinned is None else pinned.model_dump(mode="json"),
            }
        )
    elif pinned is None:
        say("Nothing was moved: that takes --reason TEXT.")
    else:
        was = f" (was {before.version})" if before is not None else ""
        say(f"Pinned {pinned.version}{was} for {folder}: commit pinned.json.")
    return 0


def _print_move(before: Pinned | None, comparison: Comparison | None, run: Run) -> None:
    if before is None:
        say("Nothing is pinned for this device and model yet.")
    elif comparison is None:
        say(f"The pinned {before.file} is gone, so nothing can be compared with it.")
    else:
        print_comparison(comparison, run)


def _stored_path(args: argparse.Namespace) -> Path:
    """Where the run to pin lies; a record from elsewhere is stored first."""
    if not is_file_selector(args.which):
        return find_stored(args.baselines, args.which, args.folder).path
    given = Path(args.which).resolve()
    if any(given == s.path.resolve() for s in stored_baselines(args.baselines)):
        return given
    # The pinned version itself, measured anew, may take its own place: this is the way to do it.
    return save_baseline(read_run(given, option="FILE"), args.baselines, onto_pinned=True)


def _run_of(args: argparse.Namespace, shipped: Path | None = None) -> Run:
    if is_file_selector(args.which):
        return read_run(Path(args.which), option="FILE")
    return find_stored(args.baselines, args.which, args.folder, shipped=shipped).run


def _facts(stored: Stored) -> dict[str, Any]:
    run = stored.run
    return {
        "path": str(stored.path),
        "device": stored.device,
        "model": stored.model,
        "version": stored.version,
        "created_at": run.created_at.isoformat(),
        "starts": len(run.starts),
        "points": len(run.points),
        "floor_ms": None if run.surface is None else run.surface.floor_ms.value,
        "verdict": run.verdict,
        "pinned": stored.pinned,
        "provenance": run.provenance,
        "definition": run.definition,
    }


def _floor(run: Run) -> str:
    value = None if run.surface is None else run.surface.floor_ms.value
    return fmt.MISSING if value is None else f"{fmt.number(value)} ms"
