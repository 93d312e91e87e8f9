"""`append-prefill`: measure a version (by becoming pytest), and everything about runs.

A subcommand is a module with `register(commands)`, which adds its parser and sets `run` on it: a
function of the parsed arguments that returns the exit status. To add one, write the module and
name it in `_COMMANDS`.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import append_prefill
from append_prefill.errors import EXIT_USAGE, AppendPrefillError

# Commands, each the module of that name in this folder.
_COMMANDS = (
    "run",
    "demo",
    "env",
    "compare",
    "report",
    "confirm",
    "bisect",
    "ablate",
    "cause",
    "cliffs",
    "baselines",
    "history",
    "alerts",
    "plan",
    "doctor",
    "noise",
    "trace",
)

_BECOME_PYTEST = ("run", "confirm")

# What a shell reports of a program that SIGPIPE ended: no status of ours may stand for it.
EXIT_BROKEN_PIPE = 141
# The same of SIGINT.
EXIT_INTERRUPTED = 130

_STATUS = (
    "Exit status: 0 done · 1 a regression · 4 an option cannot be honoured · 7 infrastructure "
    "failed · 8 inconclusive or not comparable."
)


class _Parser(argparse.ArgumentParser):
    """argparse leaves with status 2, which in pytest means interrupted; usage is 4 there."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status. What went wrong is one paragraph on stderr."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # What follows -- is pytest's; argparse treats it differently from one Python to the next.
    cut = (
        given.index("--")
        if given[:1] and given[0] in _BECOME_PYTEST and "--" in given
        else len(given)
    )
    # Statistics and charts take a second to import: `run` needs neither in this process, the
    # version needs no command at all.
    named = given[:1] and given[0] in (*_COMMANDS, "--version")
    names = [name for name in _COMMANDS if name == given[0]] if named else _COMMANDS
    whole = parser(names)
    args, unknown = whole.parse_known_args(
        given[:cut], argparse.Namespace(passed=given[cut + 1 :], typed=given)
    )
    if unknown:
        hint = "; pytest's own options go behind --" if given[0] in _BECOME_PYTEST else ""
        whole.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    try:
        status: int = args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (`| head`) has enough. What is still buffered has nowhere to go, and the
        # interpreter would complain of that as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt:
        print("append-prefill: interrupted. What was written is kept.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except AppendPrefillError as error:
        print(f"append-prefill: {error}", file=sys.stderr)
        return error.exit_status
    return status


def parser(names: Sequence[str] = _COMMANDS) -> argparse.ArgumentParser:
    """The command line with the subcommands of these names."""
    whole = _Parser(
        prog="append-prefill",
        description="Measure a version of SGLang (run), look at runs, compare them, keep "
        "baselines.",
        epilog=_STATUS,
    )
    whole.add_argument("--version", action="version", version=append_prefill.__version__)
    commands = whole.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in names:
        importlib.import_module(f"append_prefill.cli.{name}").register(commands)
    return whole


if __name__ == "__main__":
    sys.exit(main())
