"""What the commands share: options that several have, and how numbers leave the program."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console
from rich.table import Table
from rich.text import Text

from append_prefill.places import BASELINES, checkout_of, shipped_baselines

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

# Wide enough for the widest table. Rich takes 80 columns where there is no terminal to ask, and
# would cut numbers off in a CI log.
_LOG_WIDTH = 140


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to `main`: rich would end with status 1, which is a regression."""
        raise BrokenPipeError


def add_json(parser: argparse.ArgumentParser) -> None:
    """`--json`: the numbers as one JSON document on stdout instead of tables."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def add_baselines(parser: argparse.ArgumentParser) -> None:
    """`--baselines DIR`: where stored runs lie."""
    parser.add_argument(
        "--baselines",
        type=Path,
        default=Path(BASELINES),
        metavar="DIR",
        help="folder of stored runs (default: %(default)s)",
    )


def shipped_beside(args: argparse.Namespace) -> Path | None:
    """The stored runs that came with the suite, where they are to be read beside `--baselines`.

    Not where a folder was named, nor in a checkout, whose own they are.
    """
    here = Path.cwd()
    named = args.baselines != Path(BASELINES)
    return None if named or checkout_of(here) is not None else shipped_baselines()


def print_json(data: Any) -> None:
    """`data` on stdout; a missing value is null."""
    json.dump(data, sys.stdout, indent=1, ensure_ascii=False, allow_nan=False)
    print()


def say(text: str = "", *, style: str = "") -> None:
    """A paragraph on stdout. The text is taken as it is: brackets are no markup."""
    _console().print(Text(text, style=style), soft_wrap=True)


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[str] = ()
) -> None:
    """A table on stdout; columns are right-aligned (numbers) unless named in `left`."""
    table = Table(show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(
            Text(column), justify="left" if column in left else "right", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    say(title, style="bold")  # not the table's own title, which breaks at the table's width
    _console().print(table)
    say()


def _console() -> Console:
    # Made for each call: it must write to the stdout of now, which tests and pipes replace.
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return _Console(file=sys.stdout, highlight=False, width=None if known else _LOG_WIDTH)
