"""`append-prefill run`: the suite's pytest job, from any folder.

The same job as `pytest --pyargs append_prefill.perf_tests -m append_prefill`: this process becomes
that pytest, so what is printed, Ctrl-C and the exit status are pytest's. Outside a checkout the
project whose folder it is called in does not configure it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from append_prefill.cli.output import Commands
from append_prefill.places import TESTS_PACKAGE, checkout_of
from append_prefill.plugin.options import MARKER, declare_options

_PLUGIN = "append_prefill.plugin"
# What the checkout's pyproject.toml sets for its tests, less what is about developing them.
_CONFIGURATION = Path(__file__).parent.parent / "plugin" / "run.ini"


def register(commands: Commands) -> None:
    parser = commands.add_parser(
        "run",
        help="measure a version (the pytest job, from any folder)",
        usage="append-prefill run [options] [-- pytest's own options]",
        description="Measure a server, judge it and write a report: what pytest does with "
        f"-m {MARKER}, with the same options, output and exit status. What follows -- goes to "
        "pytest as it is: -k EXPRESSION selects tests, -n K measures on K devices.",
    )
    names: dict[str, str] = {}

    def add(flag: str, **settings: Any) -> None:
        # Only what was given is handed on: the defaults are pytest's to fill in.
        action = parser.add_argument(flag, **settings | {"default": argparse.SUPPRESS})
        names[action.dest] = flag

    declare_options(add)
    parser.set_defaults(run=lambda args: _run(args, names))


def pytest_arguments(args: argparse.Namespace, names: dict[str, str], folder: Path) -> list[str]:
    """The arguments of the pytest that a command line asks for, called in `folder`.

    `names` are the options by what `args` calls them.
    """
    given: list[str] = []
    for name, flag in names.items():
        value = getattr(args, name, None)
        if value is True:
            given.append(flag)
        elif value is not None:
            given += [f"{flag}={one}" for one in (value if isinstance(value, list) else [value])]
    return job([*given, *args.passed], folder)


def job(options: Sequence[str], folder: Path) -> list[str]:
    """The arguments of the pytest that measures with these options, called in `folder`."""
    own = [] if checkout_of(folder) else ["-c", str(_CONFIGURATION), f"--rootdir={folder}"]
    # The installed plugin's name too, so that it is loaded once, installed or not.
    own += ["-p", _PLUGIN, "-m", MARKER, "--pyargs"]
    return [*own, *options, TESTS_PACKAGE]


def _run(args: argparse.Namespace, names: dict[str, str]) -> NoReturn:
    become_pytest(pytest_arguments(args, names, Path.cwd()))


def become_pytest(arguments: Sequence[str]) -> NoReturn:
    """Replace this process by pytest's, so that signals and exit status need no forwarding."""
    sys.stdout.flush()
    sys.stderr.flush()
    # -P: a module in the current folder is not to be taken for one of pytest's.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "pytest", *arguments])  # noqa: S606
