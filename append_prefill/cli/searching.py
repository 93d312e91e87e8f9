"""Search a list of positions and tell what was found: what `bisect` and `ablate` have in common."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from append_prefill.cli.measuring import Asked, Measurer
from append_prefill.cli.output import print_json, print_table, say
from append_prefill.errors import (
    EXIT_INCONCLUSIVE,
    EXIT_INFRASTRUCTURE,
    EXIT_REGRESSION,
    InfrastructureError,
    UsageError,
)
from append_prefill.records.bisection import Bisection, read_bisection, write_bisection
from append_prefill.records.run import Run
from append_prefill.records.store import read_run
from append_prefill.report.bisection import sentence
from append_prefill.report.bisection.page import write_page
from append_prefill.run.bisection.lists import Positions
from append_prefill.run.bisection.search import Origin, Search
from append_prefill.run.bisection.where import experiment_of
from append_prefill.run.folders import LATEST
from append_prefill.run.settings import experiment_ids

_WHERE = "where"


def searched(
    args: argparse.Namespace,
    positions: Positions,
    asked: Asked,
    folder: Path,
    origin: Origin | None,
) -> int:
    """Search `positions` in `folder`, write and tell what was found; returns the exit status.

    `origin` is the run that asks for it, None where the user does.
    """
    folder = folder.absolute()
    tell = teller(quiet=args.json)
    identity = {
        "positions": ", ".join(position.name for position in positions.positions),
        "profile": asked.profile_name,
        "options": shlex.join(asked.options),
    }
    before = read_bisection(folder)
    if before is not None:
        _refuse_another(before, identity, args.experiment, folder)
    folder.mkdir(parents=True, exist_ok=True)
    measure = Measurer(asked, folder)
    experiments = args.experiment or (before.experiments if before else [])
    if not experiments:
        experiments = [_where_it_shows(positions, asked, measure, origin, tell)]
    measure.experiments = tuple(experiments)
    tell(
        f"{len(positions.positions)} {sentence.LISTED[positions.listed]}, "
        f"{positions.positions[0].name} to {positions.positions[-1].name}; measured is "
        f"{sentence.experiments_words(experiments)} of {asked.profile.name}"
    )
    found = Search(
        positions,
        asked.profile,
        experiments,
        asked.starts,
        asked.samples,
        args.budget,
        folder,
        identity,
        shlex.join(["append-prefill", *args.typed]),
        measure,
        tell,
        sentence.comparison_line,
        origin,
    ).run()
    write_bisection(found, folder)
    page = write_page(found, folder)
    if args.json:
        print_json(found.model_dump(mode="json", by_alias=True))
    else:
        _tell_all(found, page)
    return status_of(found)


def _refuse_another(
    before: Bisection, identity: dict[str, str], experiments: Sequence[str], folder: Path
) -> None:
    """Raise UsageError where a folder holds runs of another question."""
    now = identity | {"experiments": ", ".join(experiments or before.experiments)}
    then = before.asked | {"experiments": ", ".join(before.experiments)}
    for key, value in now.items():
        if then.get(key) != value:
            raise UsageError(
                "--report-dir",
                folder,
                f"holds a bisection with other {key}: {then.get(key)!r}, and not {value!r}.",
                "Name another folder, or call it as before to go on.",
            )


def status_of(found: Bisection) -> int:
    """The exit status: a slower step is a regression, and an open search with none inconclusive.

    Of defaults none is: that they are flipped back is nobody's regression.
    """
    if found.ended == "stopped":
        return EXIT_INFRASTRUCTURE
    if found.listed != "defaults" and any(step.size.ratio > 1 for step in found.steps):
        return EXIT_REGRESSION
    return 0 if found.ended == "settled" else EXIT_INCONCLUSIVE


def teller(*, quiet: bool) -> Callable[[str], None]:
    """Progress goes to stdout, but for where that is a document."""

    def tell(line: str) -> None:
        if quiet:
            print(line, file=sys.stderr, flush=True)
        else:
            say(line)
            sys.stdout.flush()

    return tell


def _where_it_shows(
    positions: Positions,
    asked: Asked,
    measure: Measurer,
    origin: Origin | None,
    tell: Callable[[str], None],
) -> str:
    """The experiment whose points moved most between the ends of the list.

    Where a run found the change, that run tells. Else the ends are compared once at all that a
    quick run measures; since it is chosen by that, it is not counted.
    """
    profile = asked.profile
    ids = experiment_ids(profile)
    if len(ids) == 1:
        return ids[0]
    if origin is not None:
        return experiment_of(origin.run, profile)
    first, last = positions.positions[0], positions.positions[-1]

    def measured() -> bool:
        tell(f"{last.name} against {first.name}, to see where it shows (not counted) …")
        made = [positions.made(at, measure.folder) for at in (0, len(positions.positions) - 1)]
        return measure(first, made[0], last, made[1], place=_WHERE)

    return experiment_of(compared_once(measure.folder / _WHERE, measured), profile)


def compared_once(place: Path, measured: Callable[[], bool]) -> Run:
    """The last run of a folder, where it compared its sides; else `measured` makes one more.

    Raises InfrastructureError where that compares nothing either, or is interrupted.
    """
    latest = place / LATEST
    run = read_run(latest, option="--report-dir") if latest.exists() else None
    if run is not None and _compared(run):
        return run
    if not measured():
        raise InfrastructureError("interrupted before both sides were compared once")
    run = read_run(latest, option="--report-dir")
    if not _compared(run):
        raise InfrastructureError(
            f"{run.label} and {run.against_label} could not be compared, which comes first: "
            f"{latest.resolve()} says why. The same call tries again."
        )
    return run


def _compared(run: Run) -> bool:
    """Whether a run compared its sides at the points, or in some other traffic."""
    if run.verdict == "infrastructure":
        return False
    return run.comparison is not None or any(one.comparison is not None for one in run.traffic)


def _tell_all(found: Bisection, page: Path) -> None:
    say()
    if found.steps:
        print_table(
            "Steps", list(sentence.STEP_COLUMNS), sentence.step_rows(found),
            left=sentence.STEP_COLUMNS[:2],
        )  # fmt: skip
    if rows := sentence.each_rows(found):
        print_table("Each", list(sentence.EACH_COLUMNS), rows, left=sentence.EACH_COLUMNS[:1])
    print_table(
        "Levels", list(sentence.LEVEL_COLUMNS), sentence.level_rows(found),
        left=(sentence.LEVEL_COLUMNS[0], sentence.LEVEL_COLUMNS[-1]),
    )  # fmt: skip
    step = sentence.next_step_of(found)
    if step is not None:
        say(f"next: {step.text}")
        say(f"    {step.command}")
    say(f"report: {page}")
    say(f"verdict: {sentence.verdict_words(found)}", style="bold")


def slug(name: str) -> str:
    """A name as part of a folder's."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-")
