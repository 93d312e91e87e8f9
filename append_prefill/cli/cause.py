"""`append-prefill cause RUN`: which functions a confirmed change is in."""

from __future__ import annotations

import argparse
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

from append_prefill.cli.output import Commands, add_json, print_json, print_table, say
from append_prefill.cli.searching import slug, teller
from append_prefill.engines.devices import DeviceLock
from append_prefill.engines.profiler import RATE_HZ, find_program
from append_prefill.errors import EXIT_INCONCLUSIVE, InfrastructureError, UsageError
from append_prefill.places import checkout_of
from append_prefill.records.bisection import Bisection, read_bisection
from append_prefill.records.cause import Cause, write_cause
from append_prefill.records.run import Run
from append_prefill.records.store import read_run
from append_prefill.report.cause import sentence
from append_prefill.report.cause.kernels import family_rows
from append_prefill.report.cause.page import write_page
from append_prefill.report.names import candidate_name
from append_prefill.run.cause.asking import settings_of
from append_prefill.run.cause.launch import Bench, Measured
from append_prefill.run.cause.measuring import measure_pairs, told_apart
from append_prefill.run.cause.record import cause_of
from append_prefill.run.cause.where import Moved, moved_most
from append_prefill.run.settings import Settings
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile
from append_prefill.workload.traffic_experiment import Unit

PAIRS = 3
"""Three show how launches scatter by two degrees of freedom, as in a bisection's comparison."""

REQUESTS = 1600
"""A launch's; see `RATE_HZ`. Functions scatter as counts do (`analysis.sampled`), so samples buy
certainty, and they are cheap: at 10 ms each some twenty seconds, beside half a minute to be ready.
Three pairs of so many find 0.2 ms more in a function of 0.1 ms in 99 of 100 simulated passes, of
400 in 23 (`python -m benchmarks.chance`)."""

# Another run on the device takes minutes; who asks for a cause has just waited for one.
_DEVICE_LIMIT_S = 1800.0


def register(commands: Commands) -> None:
    parser = commands.add_parser(
        "cause",
        help="find the functions that a confirmed change is in",
        description="Launch both sides of a run again and profile them at the condition that moved "
        "most: py-spy on every process that works, on a GPU torch's kernels as well. Writes one "
        "page: the verdict, what was bisected, the difference function by function. Nothing of it "
        "is part of a verdict.",
        epilog="Exit status: 0 done · 8 cut off, so that only the pairs before are told, or what "
        "was profiled does not show the change · 7 a server cannot be measured, or not be "
        "profiled · 4 an option cannot be honoured.",
    )
    parser.add_argument("run_folder", metavar="RUN", type=Path, help="run.json or its folder")
    parser.add_argument("--sglang", metavar="ENV", help="the candidate (default: the run's)")
    parser.add_argument("--against", metavar="ENV", help="the reference (default: the run's)")
    parser.add_argument("--profile", metavar="NAME|FILE", help="(default: the run's)")
    parser.add_argument("--model", metavar="PATH|NAME", help="(default: the run's)")
    parser.add_argument(
        "--starts",
        type=int,
        default=PAIRS,
        metavar="N",
        help="pairs of launches (default: %(default)s)",
    )
    parser.add_argument(
        "--requests",
        type=int,
        default=REQUESTS,
        metavar="N",
        help="profiled requests of a launch (default: %(default)s)",
    )
    parser.add_argument(
        "--rate",
        type=int,
        default=RATE_HZ,
        metavar="HZ",
        help="samples a second of each process (default: %(default)s)",
    )
    parser.add_argument(
        "--report-dir",
        type=Path,
        default=Path("reports"),
        metavar="DIR",
        help="where the folder of the cause will be, and bisections are (default: %(default)s)",
    )
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    for option, value, least in (
        ("--starts", args.starts, 1),
        ("--requests", args.requests, 10),
        ("--rate", args.rate, 10),
    ):
        if value < least:
            raise UsageError(option, value, "is too little.", f"Give {least} or more.")
    run = read_run(args.run_folder, option="RUN")
    moved = moved_most(run, args.run_folder)
    here = Path.cwd()
    given = {name: getattr(args, name) for name in ("sglang", "against", "profile", "model")}
    settings = settings_of(run, given, args.run_folder, checkout_of(here) or here)
    work = _work(moved, settings.profile)
    program = find_program()
    names = _names(run)
    folder = (args.report_dir / f"cause-{slug(names[1])}..{slug(names[0])}").absolute()
    bench = Bench(
        settings.profile,
        settings.devices[0],
        folder,
        settings.vocab_size,
        settings.options.seed,
        work,
        args.requests,
        program,
        args.rate,
        teller(quiet=args.json),
    )

    def measured(bench: Bench) -> tuple[Cause, Cut | None]:
        pairs, cut = _pairs(bench, settings, args.starts)
        cause = cause_of(
            moved,
            pairs,
            run=str(args.run_folder),
            command=shlex.join(["append-prefill", *args.typed]),
            profile=settings.profile.name,
            names=names,
            rate_hz=args.rate,
            profiler=_version(program),
            with_primes=bench.with_primes,
        )
        return cause, cut

    cause, cut = measured(bench)
    write_cause(cause, folder)  # at once: the next pass may not come to its end
    if cut is None and isinstance(work, Point) and not cause.shown:
        bench.tell("behind one context the change does not show: once more, each with its prime")
        try:
            primed, cut = measured(replace(bench, with_primes=True, folder=folder / "with-primes"))
        except (KeyboardInterrupt, InfrastructureError) as before_a_pair:
            cut = before_a_pair
        else:
            cause = max(cause, primed, key=lambda one: one.along)
            write_cause(cause, folder)
    ends = ("" if run.compared is None else run.compared.reference_version, run.version)
    page = write_page(
        cause,
        run,
        folder,
        steps=_found(args.report_dir, "bisect", ends),
        defaults=_found(args.report_dir, "ablate", ends),
    )
    if args.json:
        print_json(cause.model_dump(mode="json", by_alias=True))
    else:
        _tell(cause, page)
    if isinstance(cut, InfrastructureError):
        raise cut
    return 0 if cause.shown and cut is None else EXIT_INCONCLUSIVE


def _work(moved: Moved, profile: Profile) -> Point | tuple[Unit, ...]:
    """What is sent. Raises UsageError for other traffic that the profile does not have."""
    if moved.experiment is None:
        return moved.effect.point
    for one in profile.traffic:
        if one.id == moved.experiment:
            return one.units
    raise UsageError(
        "--profile",
        profile.name,
        f"has no traffic {moved.experiment}, which moved most.",
        "Name the profile that the run was measured with.",
    )


def _names(run: Run) -> tuple[str, str]:
    """What candidate and reference are called, told apart where both are called the same."""
    compared = run.compared
    old = "reference" if compared is None else compared.reference
    return told_apart(candidate_name(run), old)


Cut = KeyboardInterrupt | InfrastructureError
"""What ends a pass before its last pair."""


def _pairs(
    bench: Bench, settings: Settings, count: int
) -> tuple[list[tuple[Measured, Measured]], Cut | None]:
    """The pairs that are whole, and what cut the rest off; raised where none is whole."""
    if settings.reference is None:  # not reachable: `settings_of` names one
        raise UsageError("--against", "(not given)", "is needed.", "Name the reference.")
    pairs: list[tuple[Measured, Measured]] = []
    with DeviceLock(bench.device, timeout_s=_DEVICE_LIMIT_S):
        try:
            for pair in measure_pairs(bench, settings.candidate, settings.reference, count):
                pairs.append(pair)  # noqa: PERF402 (those before a cut are kept)
        except (KeyboardInterrupt, InfrastructureError) as cut:
            if not pairs:
                raise
            bench.tell(f"cut off: {len(pairs)} of {count} pairs are whole, which is what is told")
            return pairs, cut
    return pairs, None


def _version(program: str) -> str:
    """As in `py-spy 0.4.1`."""
    asked = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return asked.stdout.strip()


def _found(report_dir: Path, command: str, ends: tuple[str | None, str | None]) -> Bisection | None:
    """What `command` found between these versions, where its folder lies beside."""
    first, last = ends
    if not first or not last:
        return None
    return read_bisection(report_dir / f"{command}-{slug(first)}..{slug(last)}")


def _tell(cause: Cause, page: Path) -> None:
    say()
    for title, what, rows in (
        ("Functions", "function", sentence.own_rows(cause)),
        ("Kernels of the GPU", "kernel", family_rows(cause)),
    ):
        if rows:
            print_table(
                f"{title}, ms per request",
                [what, "process", "difference", "95 % interval", cause.reference, cause.candidate,
                 "note"],
                [
                    [row.name, row.process, row.delta, row.interval, row.reference, row.candidate,
                     row.note]
                    for row in rows
                ],
                left=[what, "process", "note"],
            )  # fmt: skip
    print_table(
        "What profiling costs, TTFT in ms",
        ["side", "without", "profiled"],
        [[c.name, f"{c.plain_ms:.2f}", f"{c.profiled_ms:.2f}"] for c in sentence.costs(cause)],
        left=["side"],
    )
    say(f"report: {page}")
    if unshown := sentence.unshown_words(cause):
        say(unshown, style="bold")
    say(sentence.cause_words(cause), style="bold")
