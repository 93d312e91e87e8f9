"""`append-prefill ablate A..B`: which changed default of B does what, each flipped back."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from append_prefill.cli.bisect import RANGE
from append_prefill.cli.measuring import Asked, Measurer, add_measuring, asked_of
from append_prefill.cli.output import Commands, print_table, say
from append_prefill.cli.searching import compared_once, searched, slug, teller
from append_prefill.engines.defaults import defaults_of
from append_prefill.engines.resolve import interpreter_of, is_simulated
from append_prefill.engines.versions import parse_version
from append_prefill.errors import InfrastructureError, UsageError
from append_prefill.places import checkout_of
from append_prefill.records.bisection import Suspect
from append_prefill.records.comparison import PointEffect
from append_prefill.records.contrast import contrast_of
from append_prefill.records.run import Run
from append_prefill.records.store import read_run
from append_prefill.report.bisection import sentence
from append_prefill.report.format import plural
from append_prefill.run.bisection.flips import (
    Flip,
    Flipped,
    flips_of,
    given_flips,
    without,
)
from append_prefill.run.bisection.history import (
    Trouble,
    comparison_of,
    size_of,
    trouble_alone,
)
from append_prefill.run.bisection.lists import Position, Releases, interpreters, made_log
from append_prefill.run.bisection.search import Origin
from append_prefill.run.bisection.swaps import dependencies, swaps_of
from append_prefill.run.bisection.trying import suspects_of, unasked, working
from append_prefill.run.bisection.where import experiment_of, traffic_of
from append_prefill.run.folders import LATEST

_TOTAL, _TRIED = "total", "tried"
# Of what is tried in a folder's name: no two of a few dozen are alike.
_DIGITS = 12


def register(commands: Commands) -> None:
    parser = commands.add_parser(
        "ablate",
        help="find which changed default or dependency of a version does what",
        description="Compare B with A, read which server arguments and environment variables both "
        "resolve or declare otherwise, and flip them back on B, one after the other: which of them "
        "takes how much of the change. Dependencies that differ are listed, and on request swapped "
        "back the same way, in a copy of B's environment. What does not start is left out and "
        "named. The same call goes on where it stopped.",
        epilog="Exit status: 0 settled · 8 not settled · 7 a server cannot be measured · 4 an "
        "option cannot be honoured.",
    )
    parser.add_argument(
        "range", metavar="A..B", help="older and newer version, or two interpreters"
    )
    parser.add_argument(
        "--swap",
        action="append",
        default=[],
        metavar="PACKAGE[,PACKAGE]",
        help="swap these dependencies for A's, too, each with those that it has to match; "
        "repeatable",
    )
    parser.add_argument(
        "--dependencies", action="store_true", help="swap every dependency that differs, too"
    )
    parser.add_argument(
        "--flip",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="flip this, too: a variable, or --flip=--argument=value; repeatable",
    )
    parser.add_argument(
        "--switches",
        action="store_true",
        help="flip every variable that A does not have and that is on in B, too",
    )
    parser.add_argument(
        "--only", action="store_true", help="flip and swap what is named, and no changed default"
    )
    add_measuring(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    match = RANGE.fullmatch(args.range)
    if match is None:
        raise UsageError(
            "A..B", args.range, "is no range.", "Write two with dots between: 0.5.21..0.5.23."
        )
    given = (match["first"], match["last"])
    extra = given_flips(args.flip)
    if any(is_simulated(one) for one in given):
        raise UsageError(
            "A..B", args.range, "names a simulated server, which has no defaults of SGLang's.",
            "Give versions, or interpreters that have SGLang.",
        )  # fmt: skip
    named = None if args.dependencies else _listed(args.swap)
    if args.only and not (extra or args.swap or args.dependencies):
        raise UsageError(
            "--only", "(alone)", "leaves nothing to flip.", "Name it with --flip or --swap."
        )
    asked = asked_of(args, None)
    sides = interpreters(given).positions
    folder = args.report_dir / f"ablate-{slug(sides[0].name)}..{slug(sides[1].name)}"
    folder = folder.absolute()
    here = Path.cwd()
    root = checkout_of(here) or here
    made = [_made(spec, root, folder) for spec in given]
    old_python, new_python = (interpreter_of("A..B", spec, root).path for spec in made)
    old, new = defaults_of(old_python), defaults_of(new_python)
    swaps = swaps_of(named, old, new)
    folder.mkdir(parents=True, exist_ok=True)
    total = _total(args, asked, folder, sides, made)
    found, suspects = flips_of(contrast_of(total), old, new, switches=args.switches)
    if args.only:
        suspects = [*(suspect for flip in found for suspect in unasked(flip, new)), *suspects]
        found = []
    by_hand = {flip.name for flip in extra}
    flips = [*extra, *(flip for flip in found if flip.name not in by_hand), *swaps]
    suspects = without([*dependencies(old, new, swaps), *suspects], extra)
    tell = teller(quiet=args.json)
    tell(
        f"{len(flips)} changed defaults and dependencies to flip back; {len(suspects)} further "
        "differences are listed and not measured"
    )
    experiments = args.experiment or [experiment_of(total, asked.profile)]
    flipped = Flipped(sides[1].name, new_python, tuple(flips), new)
    trials = Trials(flipped, Measurer(asked, folder), experiments, tell)
    flips, left_out = working(flips, trials)
    suspects = [*suspects_of(left_out, new), *suspects]
    if not flips:
        shown, more = sentence.suspects_by_weight(suspects)
        if shown:
            print_table(
                "What differs and was not measured",
                ["kind", "difference", "why not"],
                [[s.kind, sentence.suspect_words(s), sentence.why_words(s)] for s in shown],
                left=["kind", "difference", "why not"],
            )
        if more:
            lead = "and the variables" if shown else "What differs and was not measured: variables"
            say(f"{lead} {', '.join(s.name for s in more)}")
        return 0
    origin = _origin(total, asked, experiments, suspects)
    return searched(args, replace(flipped, flips=tuple(flips)), asked, folder, origin)


def _listed(given: list[str]) -> list[str]:
    """The packages of `--swap`. Raises UsageError for an empty name."""
    names = [name.strip() for text in given for name in text.split(",")]
    if not all(names):
        raise UsageError(
            "--swap", ",".join(given), "has an empty name.", "Write package,package, as in orjson."
        )
    return names


@dataclass
class Trials:
    """Launches of the newer version with some flips; what came of each is kept on disk."""

    flipped: Flipped
    measure: Measurer
    experiments: list[str]
    tell: Callable[[str], None]

    def __call__(self, flips: Sequence[Flip]) -> Trouble | None:
        """None where it starts and proves its splits. Raises InfrastructureError where the machine
        does not let it, and for Ctrl-C.
        """
        listed = replace(self.flipped, flips=tuple(flips))
        at, folder = len(flips), self.measure.folder
        name = "\n".join(flip.name for flip in flips)
        place = f"{_TRIED}/{hashlib.sha256(name.encode()).hexdigest()[:_DIGITS]}"
        latest = folder / place / LATEST
        if latest.exists():
            with suppress(InfrastructureError):  # without an answer it is tried again
                return self._answer(latest, place)
        self.tell(f"trying {plural(at, 'flip')}, the last {listed.positions[at].name} …")
        self.measure.experiments = tuple(self.experiments)
        try:
            environment = listed.made(at, folder)
            whole = self.measure.alone(listed.positions[at], environment, place=place)
        except InfrastructureError as error:
            log = made_log(folder, f"swaps-{at}")
            return self._told(Trouble(" ".join(str(error).split()), log))
        if not whole:
            raise InfrastructureError("interrupted before all flips were tried")
        return self._answer(latest, place)

    def _answer(self, latest: Path, place: str) -> Trouble | None:
        run = read_run(latest, option="--report-dir")
        return self._told(trouble_alone(run, f"{place}/{latest.resolve().name}"))

    def _told(self, trouble: Trouble | None) -> Trouble | None:
        if trouble is not None:
            self.tell(f"does not work: {trouble.problem}")
        return trouble


def _made(spec: str, root: Path, folder: Path) -> str:
    """What `--sglang` takes; a version's environment is made where there is none."""
    if parse_version(spec) is None:
        return spec
    return Releases((Position(spec),), root).made(0, folder)


def _total(
    args: argparse.Namespace,
    asked: Asked,
    folder: Path,
    sides: tuple[Position, ...],
    made: list[str],
) -> Run:
    """The comparison of both sides, measured once. Raises InfrastructureError without one."""

    def measured() -> bool:
        teller(quiet=args.json)(f"{sides[1].name} against {sides[0].name} …")
        measure = Measurer(asked, folder)
        measure.experiments = tuple(args.experiment)
        return measure(sides[0], made[0], sides[1], made[1], place=_TOTAL)

    return compared_once(folder / _TOTAL, measured)


def _origin(
    total: Run, asked: Asked, experiments: list[str], suspects: Sequence[Suspect]
) -> Origin:
    traffic = traffic_of(experiments, asked.profile)
    compared = comparison_of(total, traffic)
    effects = [] if compared is None else compared.points
    if traffic is None:
        points = {p for name in experiments for p in asked.profile.experiment(name).as_points}
        effects = [effect for effect in effects if effect.point in points]
    first_ms, change_ms = _times(effects)
    change = None if compared is None else size_of(compared.level)
    return Origin(total, f"{_TOTAL}/{LATEST}", suspects, first_ms, change_ms, change)


def _times(effects: Sequence[PointEffect]) -> tuple[float | None, float | None]:
    """The newer side's mean over these points, and what it takes more, in ms."""
    known = [
        (e.candidate_ms, e.candidate_ms * (1 - 1 / e.ratio))
        for e in effects
        if e.candidate_ms is not None and e.ratio is not None
    ]
    if not known:
        return None, None
    return fmean(ms for ms, _ in known), fmean(more for _, more in known)
