"""Which defaults of a version differ from an older one's, and how each is flipped back."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from append_prefill.engines.defaults import Defaults, Literal
from append_prefill.errors import UsageError
from append_prefill.records.bisection import Listed, Suspect
from append_prefill.records.contrast import Difference
from append_prefill.report.format import shorten
from append_prefill.report.names import NAME_CHARACTERS
from append_prefill.run.bisection.lists import ENVIRONMENTS, Position

_CUT = "… "
"""In a recorded value that was too long to be kept whole (`engines.describe`)."""


@dataclass(frozen=True, slots=True)
class Flip:
    """One default as it was: `server_args` or `variables` of the newer version's launch."""

    server_args: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """What it is called: as one would type it."""
        return " ".join([*self.server_args, *(f"{k}={v}" for k, v in self.variables)])


def flips_of(
    resolved: Iterable[Difference], old: Defaults, new: Defaults, *, switches: bool
) -> tuple[list[Flip], list[Suspect]]:
    """What can be flipped back, and what differs and cannot.

    `resolved` are the values that the servers resolved otherwise, of which only those count that
    are arguments of the newer one: the others follow. Of variables those that both declare, with
    another default; with `switches` also those that the older one does not have and that are on.
    """
    flips, suspects = [], []
    for one in resolved:
        if one.kind != "resolved" or one.name not in new.arguments:
            continue
        arguments = _argument(one, switch=new.arguments[one.name])
        if arguments is None:
            was, now = _text(one.reference), _text(one.candidate)
            suspects.append(_suspect("argument", _option(one.name), was, now, "no-option"))
        else:
            flips.append(Flip(server_args=arguments))
    for name, now_value in new.variables.items():
        known, was_value = name in old.variables, old.variables.get(name)
        if known and was_value == now_value:
            continue
        if known and was_value is not None:
            flips.append(Flip(variables=((name, _variable(was_value)),)))
        elif known:
            suspects.append(_suspect("variable", name, None, _text(now_value), "no-option"))
        elif now_value is True and switches:
            flips.append(Flip(variables=((name, _variable(False)),)))
        elif now_value not in (None, False, "", 0):
            suspects.append(_suspect("variable", name, None, _text(now_value), "unknown-old-value"))
    for name in sorted(old.packages.keys() | new.packages.keys()):
        was, now = old.packages.get(name), new.packages.get(name)
        if was != now and name != "sglang":
            suspects.append(_suspect("dependency", name, was, now, "not-asked"))
    return flips, suspects


def given_flips(given: Sequence[str]) -> list[Flip]:
    """Those of `--flip`: `--argument=value`, `--switch` or `NAME=value`. Raises UsageError."""
    flips = []
    for text in given:
        name, equals, value = text.partition("=")
        if text.startswith("--"):
            flips.append(Flip(server_args=(text,)))
        elif equals and name.isidentifier():
            flips.append(Flip(variables=((name, value),)))
        else:
            raise UsageError(
                "--flip",
                text,
                "is neither an argument nor a variable.",
                "Write --flip=--argument=value, or --flip NAME=value.",
            )
    return flips


def without(suspects: Sequence[Suspect], flips: Collection[Flip]) -> list[Suspect]:
    """The suspects that are not flipped by hand."""
    flipped = {name for flip in flips for name, _ in flip.variables}
    flipped |= {arg.partition("=")[0] for flip in flips for arg in flip.server_args}
    return [suspect for suspect in suspects if suspect.name not in flipped]


@dataclass(frozen=True)
class Flipped:
    """The newer version as it is, then with one default after the other flipped back, all those
    before it as well.
    """

    version: str
    python: Path
    flips: tuple[Flip, ...]
    listed: Listed = "defaults"

    @property
    def positions(self) -> Sequence[Position]:
        arguments: tuple[str, ...] = ()
        listed = [Position(self.version)]
        for number, flip in enumerate(self.flips, 1):
            arguments += flip.server_args
            # With its number two long ones that begin and end alike are told apart.
            told = f"{number}: {flip.name}"
            name = (
                flip.name if len(flip.name) <= NAME_CHARACTERS else shorten(told, NAME_CHARACTERS)
            )
            listed.append(Position(name, flip.name, arguments))
        return listed

    def at_hand(self, at: int) -> bool:  # noqa: ARG002
        return True

    def made(self, at: int, folder: Path) -> str:
        """The interpreter, behind a script that sets the variables where there are any."""
        variables = [pair for flip in self.flips[:at] for pair in flip.variables]
        if not variables:
            return str(self.python)
        script = folder / ENVIRONMENTS / f"flips-{at}" / "python"
        script.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"export {name}={shlex.quote(value)}" for name, value in variables]
        run = f'exec {shlex.quote(str(self.python))} "$@"'
        script.write_text("\n".join(["#!/bin/sh", *lines, run]) + "\n", encoding="utf-8")
        script.chmod(0o755)
        return str(script)


def _argument(one: Difference, *, switch: bool) -> tuple[str, ...] | None:
    """What gives an argument its older value; None where no option does."""
    option, value = _option(one.name), one.reference
    if switch:
        return (option,) if value is True else None
    if value is None or isinstance(value, bool):
        return None
    text = str(value)
    if _CUT in text or text.startswith(("[", "{")):
        return None
    return (f"{option}={text}",)


def _option(field: str) -> str:
    return f"--{field.replace('_', '-')}"


def _variable(value: Literal) -> str:
    """As SGLang reads it."""
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value)


def _text(value: Literal) -> str | None:
    return None if value is None else str(value)


def _suspect(kind: str, name: str, old: str | None, new: str | None, reason: str) -> Suspect:
    return Suspect.model_validate(
        {"kind": kind, "name": name, "old": old, "new": new, "reason": reason}
    )
