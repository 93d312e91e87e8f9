"""What can go wrong before, during and around a run, and the exit status each maps to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

EXIT_REGRESSION = 1
EXIT_USAGE = 4  # pytest's own usage status
EXIT_INFRASTRUCTURE = 7
EXIT_INCONCLUSIVE = 8


class AppendPrefillError(Exception):
    """Base of every error the suite raises on purpose; its text is meant for the user."""

    exit_status: int = EXIT_INFRASTRUCTURE


class UsageError(AppendPrefillError):
    """An option cannot be honoured. Raised before any server starts.

    The message is one paragraph that names the option, the value and what would be right.
    """

    exit_status = EXIT_USAGE

    def __init__(self, option: str, value: object, problem: str, remedy: str) -> None:
        self.option, self.value, self.problem, self.remedy = option, value, problem, remedy
        super().__init__(" ".join((f"{option} {_shown(value)}:", _shown(problem), _shown(remedy))))


# What a file or a server said may stand in a message; a terminal must not obey it, nor a user
# scroll through a megabyte of it.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SHOWN_CHARACTERS = 1000


def _shown(part: object) -> str:
    text = str(part)
    text = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
    return _CONTROL.sub(lambda found: f"\\x{ord(found.group()):02x}", text)


class InfrastructureError(AppendPrefillError):
    """The run cannot say anything: no server, no device, or nothing valid was measured."""


class JudgingError(InfrastructureError):
    """What was measured could not be judged: a fault of this suite's, the samples being sound."""


class StorageError(InfrastructureError):
    """A file could not be written: the disk is full, or may not be written to."""

    def __init__(self, path: object, error: OSError) -> None:
        problem = error.strerror or str(error) or type(error).__name__
        super().__init__(f"{path} cannot be written: {problem}. What was written before is kept.")


@contextmanager
def storing(path: object) -> Iterator[None]:
    """Make a StorageError of an OSError within, where `path` is written."""
    try:
        yield
    except OSError as error:
        raise StorageError(path, error) from error


class ConnectionLostError(InfrastructureError):
    """A request's connection broke, which may be the first sign that its server died."""


class ServerDiedError(InfrastructureError):
    """The server process ended, or never got ready; carries the last lines of its log.

    What is said of it is a line: the problem, the log's path, and of the log the line that tells
    most. The others are `log_tail`, and `account` has all.
    """

    def __init__(self, problem: str, log_tail: str, log_path: str) -> None:
        self.log_tail, self.log_path = log_tail, log_path
        telling = telling_line(log_tail)
        super().__init__(f"{problem} (log: {log_path})" + (f": {telling}" if telling else ""))

    @property
    def account(self) -> str:
        """The line, and the last lines of the log under it."""
        tail = f"\nLast lines of {self.log_path}:\n{self.log_tail}" if self.log_tail else ""
        return f"{self}{tail}"


# The last line of a traceback, and what ends a process without one.
_RAISED = re.compile(
    r"^(?:\[[^\]]*\] *)?(?:\w+\.)*[A-Z]\w*(?:Error|Exception|Interrupt)\b(?:: .*)?$"
)
_FATAL = re.compile(
    r"out of memory|no space left|fatal|segmentation fault|core dumped", re.IGNORECASE
)


def telling_line(log: str) -> str:
    """The line of a log that says what went wrong: the first error raised, since later ones follow
    from it; else one of what no Python error is raised for; else the last. "" for an empty log.
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for pattern in (_RAISED, _FATAL):
        if found := next((line for line in lines if pattern.search(line)), None):
            return _shown(found)
    return _shown(lines[-1]) if lines else ""


def first_problem(error: ValidationError, whole: str, data: Any = None) -> str:
    """What does not validate first: where, and why. `whole` names the document itself.

    With the document's `data` an entry of a list is called by its id where it has one:
    `experiments.append.points`.
    """
    first = error.errors(include_url=False)[0]
    words = []
    for part in first["loc"]:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            data = None  # the field is missing, or is of another type
        named = isinstance(part, int) and isinstance(data, dict) and "id" in data
        words.append(str(data["id"] if named else part))
    return f"{'.'.join(words) or whole}: {first['msg']}"
