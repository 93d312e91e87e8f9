"""`append-prefill noise`: A/A sessions, measured now or before, and the noise they show, stored."""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from append_prefill.analysis.noise import noise_of, traffic_noise
from append_prefill.analysis.summary import usable
from append_prefill.cli.output import add_baselines, add_json, print_json, print_table, say
from append_prefill.errors import UsageError
from append_prefill.probe.planning import make_plan
from append_prefill.records.baselines import baseline_path, refuse_overwrite, save_baseline
from append_prefill.records.identity import (
    arguments,
    differences,
    identity_differences,
    identity_of,
)
from append_prefill.records.noise import NoiseRecord
from append_prefill.records.run import Run
from append_prefill.records.store import read_run
from append_prefill.report import format as fmt
from append_prefill.report.components import noise_columns, noise_rows, pair_words, rests_on
from append_prefill.run.folders import close_run, new_folder
from append_prefill.run.identity import identity_for
from append_prefill.run.options import Options
from append_prefill.run.references import References
from append_prefill.run.resolve import resolve
from append_prefill.run.session import Session, Worker
from append_prefill.run.settings import Settings
from append_prefill.workload.loading import load_profile
from append_prefill.workload.profile import Profile

_AA_RUN = "pytest -m append_prefill --sglang X --against X"


def register(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "noise",
        help="measure one version against itself, and store how much it scatters",
        description="Runs A/A sessions: the same version on both sides, ABBA, judged once, at "
        "the end. Or "
        f"takes, with --runs, those that were measured already ({_AA_RUN}). "
        "Stores what a request, a block, a launch, a round of both sides, a pair and a session "
        "scatter by, over all points and over each stratum, and each experiment in other "
        "traffic, in the version's baseline, where verdicts and `plan` take them from. "
        "Sessions of one day cannot show how sessions differ: that part is then left to the "
        "profile.",
    )
    parser.add_argument("--sglang", metavar="ENV", help="as in pytest; or --runs")
    parser.add_argument(
        "--runs",
        type=Path,
        nargs="+",
        metavar="FILE|FOLDER",
        help="A/A runs that were measured already (run.json or its folder), instead of --sglang",
    )
    parser.add_argument("--nights", type=int, metavar="K", help="A/A sessions (default 2)")
    parser.add_argument("--profile", metavar="NAME|FILE", help="as in pytest")
    parser.add_argument(
        "--starts", type=int, metavar="N", help="server launches per side and session"
    )
    parser.add_argument("--samples", type=int, metavar="N", help="samples per point and launch")
    parser.add_argument("--seed", type=int, metavar="N", help="of the first session")
    parser.add_argument("--report-dir", type=Path, metavar="DIR", help="as in pytest")
    add_baselines(parser)
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    refuse_contradictions(args)
    nights, profile = _measure(args) if args.runs is None else _read(args)
    stored, path = _store(nights, args.baselines, profile)
    if args.json:
        print_json(
            {
                "noise": stored.model_dump(mode="json"),
                "verdicts": [_verdict(run) for run in nights],
                "baseline": str(path),
            }
        )
    else:
        _print(stored, nights, path, profile)
    return 0


def refuse_contradictions(args: argparse.Namespace) -> None:
    if args.runs is None:
        if args.sglang is None:
            raise UsageError(
                "--sglang",
                "(not given)",
                "leaves nothing to measure, and no --runs were given either.",
                "Give one of the two.",
            )
        return
    for name in ("sglang", "nights", "starts", "samples", "seed", "report_dir"):
        value = getattr(args, name)
        if value is not None:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                option,
                value,
                "cannot go with --runs, whose sessions are measured already.",
                f"Drop {option} or --runs.",
            )


def _measure(args: argparse.Namespace) -> tuple[list[Run], Profile]:
    """Sessions measured now, and the profile they are of."""
    count = 2 if args.nights is None else args.nights
    if count < 1:
        raise UsageError("--nights", count, "measures nothing.", "Give 1 or more.")
    seed = secrets.randbelow(2**31) if args.seed is None else args.seed
    settings = _one_look(
        resolve(
            Options(
                sglang=args.sglang,
                against=args.sglang,
                profile=args.profile,
                starts=args.starts,
                samples=args.samples,
                seed=seed,
                baseline="none",
            ),
            Path.cwd(),
        )
    )
    # Before the first server starts: hours of measuring must have somewhere to go.
    refuse_overwrite(
        args.baselines,
        identity_for(settings),
        settings.candidate.version,
        not_binding=settings.profile.identity_not_binding,
    )
    report_dir = args.report_dir or Path("reports")
    nights = [_night(settings, report_dir, seed + night) for night in range(count)]
    return nights, settings.profile


def _read(args: argparse.Namespace) -> tuple[list[Run], Profile]:
    """The sessions of `--runs`, and the profile they are of.

    Raises UsageError for one that is no A/A run, is given twice or is not of the first one's
    identity and version, and for a baseline that its noise may not be written to.
    """
    nights = [_aa_run(path) for path in args.runs]
    first = nights[0]
    profile = load_profile(args.profile or first.profile)
    not_binding = profile.identity_not_binding
    seen: dict[datetime, Path] = {}
    for path, night in zip(args.runs, nights, strict=True):
        differing = [*differences(night, first, not_binding)]
        if night.version != first.version:
            differing.append("sglang")
        if differing:
            raise UsageError(
                "--runs",
                path,
                f"differs from {args.runs[0]} in {', '.join(differing)}.",
                "Give runs of one identity and version.",
            )
        # `reports/*` has the newest session a second time, as `latest`.
        twin = seen.setdefault(night.created_at, path)
        if twin is not path:
            raise UsageError(
                "--runs", path, f"is the run of {twin} once more.", "Give every session once."
            )
    refuse_overwrite(args.baselines, identity_of(first), first.version, not_binding=not_binding)
    return nights, profile


def _aa_run(path: Path) -> Run:
    """The run in `path`. Raises UsageError if it failed, or is not one version against itself."""
    run = read_run(path, option="--runs")
    if run.verdict == "infrastructure":
        raise UsageError("--runs", path, "is of a run that failed.", "Leave it out.")
    sides = [usable(run.starts, side) for side in ("candidate", "reference")]
    if not all(sides):
        raise UsageError(
            "--runs",
            path,
            "has no valid launches of both sides, so no version was held against itself.",
            f"Give runs of {_AA_RUN}.",
        )
    # More than the version: an environment can be of the same one and differ all the same. The
    # capacity is what memory was left over for.
    candidate, reference = (
        {**starts[0].subject, "server_args": arguments(starts[0].server_args)} for starts in sides
    )
    differing = identity_differences(candidate, reference, ["kv_capacity_tokens"])
    if differing:
        fields = "; ".join(f"{k} {one} and {other}" for k, (one, other) in differing.items())
        raise UsageError(
            "--runs",
            path,
            f"has sides that differ ({fields}), and their difference is no noise.",
            f"Give runs of {_AA_RUN}.",
        )
    return run


def _one_look(settings: Settings) -> Settings:
    """Settings under which a session ends after its planned launches: noise wants equal
    sessions.
    """
    policy = settings.profile.policy.model_copy(update={"looks": 1})
    return replace(settings, profile=settings.profile.model_copy(update={"policy": policy}))


def _night(settings: Settings, report_dir: Path, seed: int) -> Run:
    created = datetime.now(UTC)
    options = replace(settings.options, seed=seed)
    settings = replace(settings, options=options)
    plan = make_plan(
        settings.profile,
        seed=seed,
        sides=("candidate", "reference"),
        starts=options.starts,
        samples=options.samples,
    )
    settings.check_fits(plan)
    session = Session(
        settings,
        plan,
        new_folder(report_dir, created, f"noise-{settings.candidate.label}"),
        created,
        references=References(),
        worker=Worker(),
        tell=lambda text: print(f"{datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True),
    )
    _ = session.judged  # raises if the session says nothing
    run, _ = session.finish()
    close_run(session, run)
    return run


def _store(nights: Sequence[Run], baselines: Path, profile: Profile) -> tuple[NoiseRecord, Path]:
    """Put the noise of these sessions into the version's baseline, or make one of the last
    session.
    """
    last = max(nights, key=lambda run: run.created_at)
    path = baseline_path(baselines, identity_of(last), last.version)
    starts = [run.starts for run in nights]
    noise = noise_of(starts, profile.plane)
    noise = noise.model_copy(update={"traffic": traffic_noise(starts, profile.traffic)})
    if len({run.created_at.date() for run in nights}) == 1:
        # Runs of one day cannot show how sessions differ; taken for sessions they would promise far
        # too much. Verdicts then take the profile's assumption.
        noise = noise.model_copy(update={"night_sd": None})
    base = read_run(path, option="--baselines") if path.is_file() else last
    written = save_baseline(base.model_copy(update={"noise": noise}), baselines)
    return noise, written


def _verdict(run: Run) -> str:
    return "none" if run.comparison is None else run.comparison.verdict


def _night_words(run: Run) -> str:
    """The verdict with the level's ratio, as in `inconclusive (+1.6 %)`."""
    ratio = run.comparison.surface[0].ratio if run.comparison and run.comparison.surface else None
    return _verdict(run) if ratio is None else f"{_verdict(run)} ({fmt.change(ratio)})"


def _print(noise: NoiseRecord, nights: Sequence[Run], path: Path, profile: Profile) -> None:
    say(f"A/A verdicts: {', '.join(map(_night_words, nights))}")
    columns = noise_columns(noise)
    say()
    print_table(
        "What scatters by how much (relative standard deviations)",
        ["component", *(_COLUMNS[over] for over in columns), "of"],
        [
            [row.name, *(fmt.share(row.values[over]) for over in columns), row.meaning]
            for row in noise_rows(noise)
        ],
        left=["component", "of"],
    )
    say(f"From {rests_on(noise)}.")
    if noise.traffic:
        print_table(
            "What other traffic scatters by (relative standard deviations)",
            ["experiment", "traffic", "pair", "round", "pairs", "rounds"],
            [
                [
                    one.experiment,
                    one.traffic,
                    fmt.share(one.components.pair_sd),
                    fmt.share(one.components.round_sd),
                    fmt.count(one.pairs),
                    fmt.number(one.rounds, 2),
                ]
                for one in noise.traffic
            ],
            left=["experiment", "traffic"],
        )
    if (words := pair_words(noise)) is not None:
        say(words)
        plan = f"append-prefill plan --profile {profile.name} --against"
        say(f"{plan} --minutes {fmt.exact(profile.plan.budget_minutes)} spends the time best.")
    say(f"stored in {path}")


_COLUMNS = {"all": "all points", "floor": "floor", "compute": "compute"}
