"""The commits of a git checkout, each built by a command of the user's into an environment."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from append_prefill.errors import InfrastructureError, UsageError

ENVIRONMENT_VARIABLE = "ENVIRONMENT"
"""What tells the build command where to put the environment."""

# As many digits as tell SGLang's commits apart.
_DIGITS = 12
# Written last: a build that was interrupted is done again.
_BUILT = ".built"
_TAIL_LINES = 5


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit and the first line of its message."""

    sha: str
    subject: str

    @property
    def name(self) -> str:
        return self.sha[:_DIGITS]


def commits_between(checkout: Path, first: str, last: str) -> list[Commit]:
    """The commits from `first` to `last`, both included, oldest first, along first parents.

    Raises UsageError for what is no checkout, no commit, or no ancestor of the other.
    """
    if _git(checkout, "rev-parse", "--git-dir") is None:
        raise UsageError("--git", checkout, "is no git checkout.", "Give the folder of one.")
    shas = []
    for name in (first, last):
        sha = _git(checkout, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        if sha is None:
            raise UsageError(
                "A..B",
                f"{first}..{last}",
                f"{name!r} is no commit of {checkout}.",
                "Give two that it has, or fetch them.",
            )
        shas.append(sha.strip())
    listed = _git(
        checkout, "log", "--first-parent", "--reverse", "--format=%H %s", f"{shas[0]}..{shas[1]}"
    )
    ancestor = _git(checkout, "merge-base", "--is-ancestor", *shas) is not None
    if not ancestor or not listed:
        raise UsageError(
            "A..B",
            f"{first}..{last}",
            "the first is no ancestor of the second.",
            "Give the older commit first, of one line of history.",
        )
    before = _git(checkout, "log", "-1", "--format=%H %s", shas[0]) or shas[0]
    return [Commit(*_split(line)) for line in [*before.splitlines(), *listed.splitlines()]]


def build_commit(checkout: Path, sha: str, command: str, folder: Path, log: Path) -> Path:
    """Build a commit, unless it was built to the end before; returns its interpreter.

    In `folder` lie the commit's own work tree, in which the shell runs `command`, and the
    environment that the command makes at `$ENVIRONMENT`. What is printed goes to `log`. Raises
    InfrastructureError where the build fails or leaves no interpreter.
    """
    tree, environment = folder / "tree", folder / "environment"
    python = environment / "bin" / "python"
    if (folder / _BUILT).is_file() and python.is_file():
        return python
    folder.mkdir(parents=True, exist_ok=True)
    if not tree.is_dir():
        added = ("worktree", "add", "--force", "--detach", str(tree.resolve()), sha)
        if _git(checkout, *added) is None:
            raise InfrastructureError(f"git made no work tree of {sha[:_DIGITS]} in {tree}")
    with log.open("ab") as output:
        status = subprocess.run(  # noqa: S602 (the user's own command)
            command,
            shell=True,
            cwd=tree,
            env={**os.environ, ENVIRONMENT_VARIABLE: str(environment.resolve())},
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    if status != 0:
        raise InfrastructureError(f"the build ended with status {status}: {tail_of(log)}")
    if not python.is_file():
        raise InfrastructureError(f"the build left no $ENVIRONMENT/bin/python ({python})")
    (folder / _BUILT).touch()
    return python


def tail_of(log: Path, lines_kept: int = _TAIL_LINES) -> str:
    """The last lines of a log, in one; empty where there is none."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []
    return " / ".join([line.strip() for line in lines if line.strip()][-lines_kept:])


def _split(line: str) -> tuple[str, str]:
    sha, _, subject = line.partition(" ")
    return sha, subject


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints; None where it refuses. A work tree of SGLang takes it seconds."""
    # Within a hook of another repository git's own variables name that one.
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-c", "safe.directory=*", "-C", str(folder), *arguments]
    try:
        answer = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout
