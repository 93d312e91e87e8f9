"""What is bisected: an ordered list of positions, and how each comes to be one to measure."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from append_prefill.engines.commits import build_commit, commits_between, tail_of
from append_prefill.engines.create import create_environment
from append_prefill.engines.environments import (
    environment_folder,
    query_interpreter,
    version_environments,
)
from append_prefill.engines.releases import indexed_versions, versions_between
from append_prefill.engines.resolve import is_simulated
from append_prefill.engines.versions import parse_version
from append_prefill.errors import InfrastructureError, UsageError
from append_prefill.records.bisection import Listed
from append_prefill.report.names import NAME_CHARACTERS

ENVIRONMENTS = "environments"
"""What is made for a bisection, within its folder: builds, and the logs of making."""


@dataclass(frozen=True, slots=True)
class Position:
    """One of the list. `name` is what its runs call it; `server_args` are its own.

    `title` says more than the name, None where nothing is known.
    """

    name: str
    title: str | None = None
    server_args: tuple[str, ...] = ()


class Positions(Protocol):
    """The list, oldest first."""

    @property
    def listed(self) -> Listed: ...

    @property
    def positions(self) -> Sequence[Position]: ...

    def at_hand(self, at: int) -> bool:
        """Whether nothing needs to be made before it can be measured."""
        ...

    def made(self, at: int, folder: Path) -> str:
        """What `--sglang` takes for it, made first if need be; kept, with its log, in `folder`.

        Raises AppendPrefillError where that cannot be.
        """
        ...


@dataclass(frozen=True)
class Releases:
    """Released versions, or builds of another index; environments are made and kept."""

    positions: tuple[Position, ...]
    root: Path
    index_url: str | None = None
    listed: Listed = "releases"
    _whole: set[str] = field(default_factory=set)

    def at_hand(self, at: int) -> bool:
        return self.positions[at].name in version_environments(self.root)

    def made(self, at: int, folder: Path) -> str:
        version = self.positions[at].name
        # One whose installation did not finish is completed, where it is of our making; to ask pip
        # whether it did takes seconds, so that is done once.
        ours = not self.at_hand(at) or environment_folder(version).is_dir()
        if ours and version not in self._whole:
            log = log_of(folder, version)
            # What SGLang needs comes from the usual index.
            variables = {"PIP_EXTRA_INDEX_URL": self.index_url} if self.index_url else None
            try:
                with log.open("ab") as output:
                    create_environment(version, None, output=output, variables=variables)
            except InfrastructureError as error:
                raise InfrastructureError(f"{error} {tail_of(log)}") from error
            self._whole.add(version)
        return version


@dataclass(frozen=True)
class Commits:
    """Commits of a checkout, each built by the user's command."""

    positions: tuple[Position, ...]
    shas: tuple[str, ...]
    checkout: Path
    build: str
    listed: Listed = "commits"

    def at_hand(self, at: int) -> bool:  # noqa: ARG002
        """A build takes its time, done before or not: that is not looked at beforehand."""
        return False

    def made(self, at: int, folder: Path) -> str:
        name = self.positions[at].name
        return str(
            build_commit(
                self.checkout,
                self.shas[at],
                self.build,
                folder / ENVIRONMENTS / name,
                log_of(folder, name),
            )
        )


@dataclass(frozen=True)
class Interpreters:
    """Any interpreters, versions with an environment, or simulated servers, as they were given."""

    positions: tuple[Position, ...]
    given: tuple[str, ...]
    listed: Listed = "interpreters"

    def at_hand(self, at: int) -> bool:  # noqa: ARG002
        return True

    def made(self, at: int, folder: Path) -> str:  # noqa: ARG002
        return self.given[at]


def releases(first: str, last: str, root: Path, index_url: str | None) -> Releases:
    """The versions of the index (None: pip's own) from `first` to `last`.

    Without an index to ask, those that have an environment. Raises UsageError, and
    InfrastructureError where neither index nor environments know both ends.
    """
    versions = [parse_version(name) for name in (first, last)]
    pre = index_url is not None or any(v is not None and v.is_prerelease for v in versions)
    try:
        known, where = indexed_versions(index_url, pre=pre), "the package index"
    except InfrastructureError:
        known, where = list(version_environments(root)), "this machine, which reaches no index,"
        if first not in known or last not in known:
            raise
    names = versions_between(known, first, last, where=where)
    return Releases(tuple(Position(name) for name in names), root, index_url)


def commits(first: str, last: str, checkout: Path, build: str | None) -> Commits:
    """The commits of `checkout` from `first` to `last`. Raises UsageError."""
    if not build:
        raise UsageError(
            "--git",
            checkout,
            "needs --build, the command that makes a commit's environment.",
            "As in --build 'python -m venv $ENVIRONMENT && $ENVIRONMENT/bin/pip install ./python'.",
        )
    found = commits_between(checkout, first, last)
    return Commits(
        tuple(Position(one.name, one.subject) for one in found),
        tuple(one.sha for one in found),
        checkout,
        build,
    )


def interpreters(given: Sequence[str]) -> Interpreters:
    """These, in this order, called by the version that each holds. Raises UsageError."""
    if len(given) < 2:
        raise UsageError("--among", " ".join(given), "is one alone.", "Give two or more, in order.")
    names = [_called(one, number) for number, one in enumerate(given, 1)]
    seen: Counter[str] = Counter()
    positions = []
    for name in names:
        seen[name] += 1
        repeated = names.count(name) > 1
        positions.append(Position(f"{name} ({seen[name]})" if repeated else name))
    return Interpreters(tuple(positions), tuple(given))


def _called(given: str, number: int) -> str:
    if is_simulated(given):
        return f"simulated {number}"
    if parse_version(given) is not None and os.sep not in given:
        return given
    found = query_interpreter("--among", given, Path(given).expanduser())
    return str(found.sglang)[: NAME_CHARACTERS - len(" (999)")]


def made_log(folder: Path, name: str) -> str | None:
    """That log as seen from `folder`; None where nothing was printed."""
    log = log_of(folder, name)
    return str(log.relative_to(folder)) if log.is_file() else None


def log_of(folder: Path, name: str) -> Path:
    """Where what is printed while a position is made goes."""
    path = folder / ENVIRONMENTS / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
