"""A run whose suspicion is measured again: what it suspects, and whether it may be asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from append_prefill.analysis.confirming import suspect_of, suspicions_of
from append_prefill.errors import UsageError
from append_prefill.records.comparison import Comparison
from append_prefill.records.confirmation import DECIDED, Confirms, answered
from append_prefill.records.definition import definition_of
from append_prefill.records.history.entry import key_of
from append_prefill.records.identity import identity_differences
from append_prefill.records.run import Run
from append_prefill.records.store import read_run
from append_prefill.report.format import listed
from append_prefill.workload.profile import Profile


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A run that suspects, in `folder`: what exactly, and the comparisons that say so by name.

    All are with the first one's reference. `left_out`: the names of what others suspect.
    """

    folder: Path
    run: Run
    confirms: Confirms
    comparisons: Mapping[str, Comparison]
    left_out: tuple[str, ...]

    @property
    def comparison(self) -> Comparison:
        """The first of them, that of the points where they are suspected."""
        return next(iter(self.comparisons.values()))


def read_suspicion(path: Path, *, option: str) -> Suspicion:
    """What the run in `path`, a report folder or its record, suspects and nothing has decided yet.

    `option` is what the user gave the path with. Raises UsageError where there is nothing of that.
    """
    run = read_run(path, option=option)
    folder = (path if path.is_dir() else path.parent).resolve()
    if run.confirms is not None:
        raise UsageError(
            option,
            path,
            f"measures again what {run.confirms.folder} suspects.",
            "Give that run: what counts is how often its suspicion was measured.",
        )
    made = suspicions_of(run)
    if not made:
        raise UsageError(
            option,
            path,
            f"suspects nothing: its verdict is {run.verdict or 'none'}, and no comparison of it "
            "says slower.",
            "Give a run with a regression.",
        )
    known = answered(run.confirmations)
    open_ = {
        name: one
        for name, one in made.items()
        if name not in known or known[name][0] not in DECIDED
    }
    if not open_:
        said = listed([f"{name} {a} by {by.folder}" for name, (a, by) in known.items()])
        raise UsageError(
            option,
            path,
            f"is decided: {said}. Measured till it pleases, an answer says nothing.",
            "For a new question measure a new run.",
        )
    first = next(iter(open_.values()))
    of_first = {name: one for name, one in open_.items() if _held_alike(one, first)}
    return Suspicion(
        folder,
        run,
        Confirms(
            run=key_of(run),
            folder=folder.name,
            suspects=[suspect_of(name, one) for name, one in of_first.items()],
        ),
        of_first,
        tuple(name for name in open_ if name not in of_first),
    )


def _held_alike(one: Comparison, other: Comparison) -> bool:
    return (one.kind, one.role, one.reference) == (other.kind, other.role, other.reference)


def refuse_other(
    suspicion: Suspicion,
    identity: Mapping[str, Any],
    profile: Profile,
    version: str | None,
    *,
    option: str,
) -> None:
    """Raise UsageError where what would be measured is not what is suspected.

    `version` is the candidate's, None where only its server will tell it.
    """
    run = suspicion.run
    differing = identity_differences(identity, run.identity, profile.identity_not_binding)
    told = list(differing)
    if run.definition != definition_of(profile) and "definition" not in told:
        told.append("definition")
    if version is not None and run.version is not None and version != run.version:
        told.append("version")
    if told:
        raise UsageError(
            option,
            suspicion.folder,
            f"was measured on something else: {', '.join(told)} differ(s).",
            "Measure where, and with what, it was measured.",
        )
