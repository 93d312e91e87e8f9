"""What a bisection measures and how: the options, and one comparison as a run of its own."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from append_prefill.cli.output import add_json
from append_prefill.cli.run import job
from append_prefill.engines.commits import tail_of
from append_prefill.errors import InfrastructureError, UsageError
from append_prefill.records.run import Run
from append_prefill.report.names import option_words
from append_prefill.run.bisection.history import LOG, RUNS
from append_prefill.run.bisection.lists import Position
from append_prefill.run.bisection.where import traffic_of
from append_prefill.run.resolve import default_profile, refuse_experiments
from append_prefill.workload.loading import load_profile
from append_prefill.workload.profile import Profile

PAIRS = 3
"""Of a comparison: three show how pairs scatter by two degrees of freedom, and from the third
comparison on all of them know it together. More of them are asked for where three cannot tell."""

BUDGET_MINUTES = 60.0
"""An hour: ten releases with three steps among them take 41 minutes on an H100 (`python -m
benchmarks.bisect`)."""

# All that a comparison is for; the findings are about one side.
_TEST = "test_surface_has_not_regressed"
# pytest's own statuses of a run that was measured to its end, or cut short with a reason recorded.
_MEASURED, _INTERRUPTED = (0, 1, 7, 8), 2


def add_server(parser: argparse.ArgumentParser, whose: str = "") -> None:
    """The options of what is served; `whose` says which servers take `--server-arg`."""
    parser.add_argument("--profile", metavar="NAME|FILE", help="as of append-prefill run")
    parser.add_argument("--model", metavar="PATH|NAME", help="the model to load")
    parser.add_argument("--dummy-weights", action="store_true", help="with random weights")
    parser.add_argument(
        "--server-arg",
        action="append",
        default=[],
        metavar="ARG",
        help=f"passed on to sglang.launch_server{whose}; repeatable",
    )


def add_measuring(parser: argparse.ArgumentParser) -> None:
    """The options of what is measured, and how."""
    parser.add_argument(
        "--experiment",
        action="append",
        default=[],
        metavar="ID",
        help="measure the points of this experiment (default: of the one that moved most); "
        "repeatable",
    )
    add_server(parser, " of every version")
    parser.add_argument(
        "--starts",
        type=int,
        default=PAIRS,
        metavar="N",
        help="pairs of launches of a comparison (default: %(default)s)",
    )
    parser.add_argument(
        "--samples", type=int, metavar="N", help="samples per point and launch (default: profile's)"
    )
    parser.add_argument(
        "--budget",
        type=float,
        default=BUDGET_MINUTES,
        metavar="MINUTES",
        help="begin no comparison that would end later (default: %(default)g)",
    )
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="devices to measure on at once"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the first comparison")
    parser.add_argument(
        "--report-dir",
        type=Path,
        default=Path("reports"),
        metavar="DIR",
        help="where the bisection's folder is, or will be (default: %(default)s)",
    )
    add_json(parser)


@dataclass(frozen=True)
class Asked:
    """What every comparison has in common. `options` are those of the suite's job."""

    profile_name: str
    profile: Profile
    options: tuple[str, ...]
    starts: int
    samples: int
    workers: int
    seed: int


def asked_of(args: argparse.Namespace, run: Run | None) -> Asked:
    """The options, with what `run` was measured with where they do not say. Raises UsageError."""
    for option, value, least in (
        ("--starts", args.starts, 2),
        ("--samples", args.samples, 1),
        ("--workers", args.workers, 1),
        ("--budget", args.budget, 0),
        ("--seed", args.seed, 0),
    ):
        if value is not None and value < least:
            raise UsageError(option, value, "is too little.", f"Give {least} or more.")
    words = [] if run is None else option_words(run)
    name = args.profile or _last(words, "--profile") or (run.profile if run else default_profile())
    profile = load_profile(name)
    refuse_experiments(args.experiment, profile)
    traffic_of(args.experiment, profile)
    options = [f"--profile={name}"]
    if model := args.model or _last(words, "--model"):
        options.append(f"--model={model}")
    if args.dummy_weights or "--dummy-weights" in words:
        options.append("--dummy-weights")
    given = args.server_arg or _all(words, "--server-arg")
    options += [f"--server-arg={argument}" for argument in given]
    return Asked(
        name,
        profile,
        tuple(options),
        args.starts,
        args.samples or profile.plan.samples,
        args.workers,
        args.seed,
    )


def _last(words: Sequence[str], option: str) -> str | None:
    return next(iter(reversed(_all(words, option))), None)


def _all(words: Sequence[str], option: str) -> list[str]:
    """The values of an option, however they were written."""
    values = [word.partition("=")[2] for word in words if word.startswith(f"{option}=")]
    return values + [b for a, b in pairwise(words) if a == option]


class Measurer:
    """One comparison: the suite's own job in a pytest of its own, which leaves a run on disk."""

    def __init__(self, asked: Asked, folder: Path) -> None:
        self._asked, self.folder = asked, folder
        self.experiments: tuple[str, ...] = ()

    def __call__(
        self, earlier: Position, earlier_env: str, later: Position, later_env: str,
        *, place: str = RUNS,
    ) -> bool:  # fmt: skip
        """False if the user interrupted it. Raises InfrastructureError where it measured nothing
        and left no run that says why.
        """
        candidate, reference = (later, later_env), (earlier, earlier_env)
        # The reference gets the candidate's arguments and its own behind them.
        if (
            later.server_args[: len(earlier.server_args)]
            == earlier.server_args
            != later.server_args
        ):
            candidate, reference = reference, candidate
        own, more = candidate[0].server_args, reference[0].server_args
        options = [
            f"--sglang={candidate[1]}",
            f"--against={reference[1]}",
            f"--label={candidate[0].name}",
            f"--against-label={reference[0].name}",
            *(f"--server-arg={argument}" for argument in own),
            *(f"--against-server-arg={argument}" for argument in more[len(own) :]),
            f"--starts={self._asked.starts}",
            f"--samples={self._asked.samples}",
            *((f"-n{self._asked.workers}",) if self._asked.workers > 1 else ()),
        ]
        return self._measured(options, place, f"the comparison of {later.name} with {earlier.name}")

    def alone(self, position: Position, environment: str, *, place: str) -> bool:
        """Launch one position once and take the fewest samples: whether it can be measured.

        False if the user interrupted it. Raises InfrastructureError as a comparison does.
        """
        options = [
            f"--sglang={environment}",
            f"--label={position.name}",
            *(f"--server-arg={argument}" for argument in position.server_args),
            "--starts=1",
            "--samples=1",
        ]
        return self._measured(options, place, f"the launch of {position.name}")

    def _measured(self, options: Sequence[str], place: str, what: str) -> bool:
        runs = self.folder / place
        number = sum(1 for one in runs.glob("*") if not one.is_symlink()) if runs.is_dir() else 0
        whole = [
            "--quick",
            *self._asked.options,
            *(f"--experiment={name}" for name in self.experiments),
            *options,
            "--baseline=none",
            f"--seed={self._asked.seed + number}",
            f"--report-dir={runs}",
            f"-k={_TEST}",
        ]
        log = self.folder / LOG
        status = _pytest(job(whole, Path.cwd()), log)
        if status == _INTERRUPTED:
            return False
        if status not in _MEASURED:
            raise InfrastructureError(
                f"{what} ended with status {status}: {tail_of(log)} (all of it: {log})"
            )
        return True


def _pytest(arguments: Sequence[str], log: Path) -> int:
    """The exit status of pytest, which handles Ctrl-C by itself: its servers have to be stopped."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pytest", "-p", "no:cacheprovider", *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return process.wait()
        finally:
            signal.signal(signal.SIGINT, before)
