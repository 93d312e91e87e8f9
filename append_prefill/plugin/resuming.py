"""`--resume`: the options of the run that was cut off take the place of those not given again."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from append_prefill.errors import UsageError
from append_prefill.plugin.options import declare_options
from append_prefill.plugin.state import RESUMED, SELECTION_FILE
from append_prefill.plugin.xdist import told
from append_prefill.records.identity import without_secrets
from append_prefill.records.secrets import MASK
from append_prefill.records.store import read_run
from append_prefill.run.queue import Resumption
from append_prefill.run.resume import OPTION, Resumed, read_cut

_FREE = ("save_baseline", "strict_verdicts", "new_only", "report_dir", "resume")
"""Options of what becomes of the result: they are not the run's, and may be given anew."""


def begin(config: pytest.Config) -> None:
    """Read the run that `--resume` names, and take over its options. Raises UsageError."""
    given = config.getoption(OPTION)
    if given is None:
        return
    resumption = told(config, "resumption")
    if resumption is None:
        resumed = read_cut(config.invocation_params.dir / given)
    else:
        folder = Path(told(config, "folder"))
        run = read_run(folder, option=OPTION)
        resumed = Resumed(folder, run, Resumption.model_validate_json(resumption))
    take_over(config.option, resumed.run.suite.get("options", ""))
    config.stash[RESUMED] = resumed


def take_over(option: argparse.Namespace, recorded: str) -> None:
    """Set the options as `recorded`, a command line, where they were not given again.

    Raises UsageError for an option that contradicts it, and for a secret that the record masks.
    """
    before, defaults, flags = recorded_options(recorded)
    for name, flag in flags.items():
        if name in _FREE:
            continue
        was, default, given = before.get(name), defaults[name], getattr(option, name)
        if given == default:
            if isinstance(was, list) and any(MASK in argument for argument in was):
                raise UsageError(
                    flag,
                    shlex.join(was),
                    "is a secret that no record keeps.",
                    f"Give every {flag} of the run again, beside {OPTION}.",
                )
            setattr(option, name, default if was is None else was)
        elif (without_secrets(given) if isinstance(given, list) else given) != was:
            shown = shlex.join(without_secrets(given)) if isinstance(given, list) else given
            begun = f"without {flag}" if was is None else f"with {_shown(flag, was)}"
            raise UsageError(
                flag,
                shown,
                f"contradicts {OPTION}: that run was begun {begun}.",
                f"Drop {flag}, or measure a run of its own.",
            )


def _shown(flag: str, value: Any) -> str:
    if value is True:
        return flag
    return f"{flag} {shlex.join(value) if isinstance(value, list) else value}"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(
            OPTION, "RUN", f"has options in its record that are none ({message}).", "Measure again."
        )


def recorded_options(recorded: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """The options in a command line, and of all there are defaults and flags, by pytest's name."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    defaults: dict[str, Any] = {}
    flags: dict[str, str] = {}

    def add(flag: str, **settings: Any) -> None:
        action = parser.add_argument(flag, **settings | {"default": argparse.SUPPRESS})
        flags[action.dest] = flag
        absent = False if settings.get("action") == "store_true" else None
        defaults[action.dest] = settings.get("default", absent)

    declare_options(add)
    try:
        words = shlex.split(recorded)
    except ValueError as error:
        parser.error(str(error))
    return vars(parser.parse_args(words)), defaults, flags


def refuse_other_selection(config: pytest.Config, selected: Any, folder: Path) -> None:
    """Raise UsageError where other tests were selected than those the run was begun for."""
    path = folder / SELECTION_FILE
    kept = type(selected).model_validate_json(path.read_bytes()) if path.exists() else None
    if kept != selected:
        raise UsageError(
            OPTION,
            config.getoption(OPTION),
            "was begun for other tests"
            + (f" ({_measured(kept.experiments)})." if kept is not None else "."),
            "Select the same with paths, -k and -m.",
        )


def _measured(experiments: Sequence[str] | None) -> str:
    return "all experiments" if experiments is None else f"of {', '.join(experiments)}"
