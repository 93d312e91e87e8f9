"""`append-prefill noise`: A/A nights on real servers, and the noise they show, stored."""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from append_prefill.analysis.noise import noise_of
from append_prefill.cli_output import add_baselines, add_json, print_json
from append_prefill.errors import UsageError
from append_prefill.probe.plan import make_plan
from append_prefill.records.baselines import baseline_path, refuse_overwrite, save_baseline
from append_prefill.records.identity import identity_of, version_of
from append_prefill.records.run import NoiseRecord, Run
from append_prefill.records.store import read_run
from append_prefill.references import References
from append_prefill.report import format as fmt
from append_prefill.runs import close_run, new_folder
from append_prefill.session import Session, Worker
from append_prefill.session import identity_of as session_identity
from append_prefill.settings import Options, Settings, resolve


def register(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "noise",
        help="measure one version against itself, and store how much it scatters",
        description="Runs A/A nights: the same version on both sides, ABBA, no look but one. "
        "Stores start-to-start, within-start and between-nights spread, autocorrelation and "
        "effective n in the version's baseline, where verdicts and `plan` take them from. "
        "Nights of one day cannot show how nights differ: that part is then left to the profile.",
    )
    parser.add_argument("--sglang", required=True, metavar="ENV", help="as in pytest")
    parser.add_argument("--nights", type=int, default=2, metavar="K", help="A/A runs (default 2)")
    parser.add_argument("--profile", metavar="NAME|FILE", help="as in pytest")
    parser.add_argument("--starts", type=int, metavar="N", help="server starts a side and night")
    parser.add_argument("--samples", type=int, metavar="N", help="samples a point and start")
    parser.add_argument("--seed", type=int, metavar="N", help="of the first night")
    parser.add_argument("--report-dir", type=Path, default=Path("reports"), metavar="DIR")
    add_baselines(parser)
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    if args.nights < 1:
        raise UsageError("--nights", args.nights, "measures nothing.", "Give 1 or more.")
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
        session_identity(settings),
        settings.candidate.version,
        not_binding=settings.profile.identity_not_binding,
    )
    nights = [_night(settings, args.report_dir, seed + night) for night in range(args.nights)]
    stored, path = _store(nights, args.baselines)
    if args.json:
        print_json(
            {
                "noise": stored.model_dump(mode="json"),
                "verdicts": [_verdict(run) for run in nights],
                "baseline": str(path),
            }
        )
    else:
        _print(stored, nights, path)
    return 0


def _one_look(settings: Settings) -> Settings:
    """Settings under which a night ends after its planned starts: noise wants equal nights."""
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
    _ = session.judged  # raises if the night says nothing
    run, _ = session.finish()
    close_run(session, run)
    return run


def _store(nights: Sequence[Run], baselines: Path) -> tuple[NoiseRecord, Path]:
    """Put the noise of these nights into the version's baseline, or make one of the last night."""
    last = nights[-1]
    path = baseline_path(baselines, identity_of(last), version_of(last))
    noise = noise_of([run.starts for run in nights])
    if len({run.created_at.date() for run in nights}) == 1:
        # Runs of one day cannot show how nights differ; taken for nights they would promise far
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


def _print(noise: NoiseRecord, nights: Sequence[Run], path: Path) -> None:
    def percent(value: float | None) -> str:
        return "unknown" if value is None else f"{100 * value:.1f} %"

    print(f"A/A verdicts: {', '.join(map(_night_words, nights))}")
    print(
        f"start-to-start {percent(noise.start_sd)}, within a start {percent(noise.within_sd)}, "
        f"between nights {percent(noise.night_sd)}, ratio within an interleaved pair "
        f"{percent(noise.pair_sd)}, from {noise.starts} starts in {noise.nights} nights"
    )
    print(f"stored in {path}")
