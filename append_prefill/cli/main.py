"""`append-prefill`: everything about runs but measuring a version (that is pytest's).

A subcommand is a module with `register(commands)`, which adds its parser and sets `run` on it: a
function of the parsed arguments that returns the exit status. To add one, write the module and
name it in `_MODULES`.
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

_MODULES = (
    "append_prefill.cli.compare",
    "append_prefill.cli.report",
    "append_prefill.cli.baselines",
    "append_prefill.cli.history",
    "append_prefill.cli.plan",
    "append_prefill.cli.doctor",
    "append_prefill.cli.noise",
)

# What a shell reports of a program that SIGPIPE ended: no status of ours may stand for it.
EXIT_BROKEN_PIPE = 141

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
    args = parser().parse_args(arguments)
    try:
        status: int = args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (`| head`) has enough. What is still buffered has nowhere to go, and the
        # interpreter would complain of that as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except AppendPrefillError as error:
        print(f"append-prefill: {error}", file=sys.stderr)
        return error.exit_status
    return status


def parser() -> argparse.ArgumentParser:
    """The command line, every subcommand registered."""
    whole = _Parser(
        prog="append-prefill",
        description="Look at runs of the append-prefill suite, compare them, keep baselines. "
        "Measuring a version is pytest's: pytest -m append_prefill.",
        epilog=_STATUS,
    )
    whole.add_argument("--version", action="version", version=append_prefill.__version__)
    commands = whole.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in _MODULES:
        importlib.import_module(name).register(commands)
    return whole
