"""Which defaults of a version differ from an older one's, and how each is flipped back."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from append_prefill.engines.defaults import Default, Defaults, Literal, Reckoned
from append_prefill.engines.swapped import swapped_environment, swapped_folder
from append_prefill.errors import UsageError
from append_prefill.records.bisection import Listed, Suspect, Why
from append_prefill.records.contrast import Difference
from append_prefill.report.format import shorten
from append_prefill.report.names import NAME_CHARACTERS
from append_prefill.run.bisection.lists import ENVIRONMENTS, Position, log_of

_CUT = "… "
"""In a recorded value that was too long to be kept whole (`engines.describe`)."""


@dataclass(frozen=True, slots=True)
class Flip:
    """One default as it was: `server_args` or `variables` of the newer version's launch, or
    `packages` of its environment (None: the older one has it not).
    """

    server_args: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    packages: tuple[tuple[str, str | None], ...] = ()

    @property
    def name(self) -> str:
        """What it is called: as one would type it."""
        words = [*self.server_args, *(f"{k}={v}" for k, v in self.variables)]
        words += [f"{k}=={v}" if v is not None else f"(no {k})" for k, v in self.packages]
        return " ".join(words)


def flips_of(
    resolved: Iterable[Difference], old: Defaults, new: Defaults, *, switches: bool
) -> tuple[list[Flip], list[Suspect]]:
    """What can be flipped back, and what differs and cannot; dependencies apart (`swaps`).

    `resolved` are the values that the servers resolved otherwise, of which only those count that
    are arguments of the newer one: the others follow. Of variables those that both have, with
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
        before = name if name in old.variables else new.formerly.get(name, name)
        was_value = old.variables.get(before)
        if before in old.variables:
            if _alike(was_value, now_value):
                continue
            if was_value is not None and not isinstance(was_value, Reckoned):
                flips.append(Flip(variables=((name, _variable(was_value)),)))
            else:
                reason: Why = "no-option"
                suspects.append(
                    _suspect("variable", name, _text(was_value), _text(now_value), reason)
                )
        elif now_value is True and switches:
            flips.append(Flip(variables=((name, _variable(False)),)))
        elif not _off(now_value):
            suspects.append(_suspect("variable", name, None, _text(now_value), "unknown-old-value"))
    gone = old.variables.keys() - new.variables.keys() - set(new.formerly.values())
    suspects += [
        _suspect("variable", name, _text(old.variables[name]), None, "gone")
        for name in sorted(gone)
    ]
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
    flipped = {name for flip in flips for name, _ in (*flip.variables, *flip.packages)}
    flipped |= {arg.partition("=")[0] for flip in flips for arg in flip.server_args}
    return [suspect for suspect in suspects if suspect.name not in flipped]


@dataclass(frozen=True)
class Flipped:
    """The newer version as it is, then with one default after the other flipped back, all those
    before it as well. `newer` is what its interpreter holds.
    """

    version: str
    python: Path
    flips: tuple[Flip, ...]
    newer: Defaults
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

    def at_hand(self, at: int) -> bool:
        swaps = self._swaps(at)
        return not swaps or swapped_folder(self.newer, swaps).is_dir()

    def made(self, at: int, folder: Path) -> str:
        """The interpreter, its packages swapped, behind a script that sets the variables.

        Without swaps it is the version's own, and without variables there is no script. Raises
        InfrastructureError where a package cannot be had.
        """
        python, swaps = self.python, self._swaps(at)
        if swaps:
            python = swapped_environment(self.newer, swaps, log_of(folder, f"swaps-{at}"))
        variables = [pair for flip in self.flips[:at] for pair in flip.variables]
        if not variables:
            return str(python)
        script = folder / ENVIRONMENTS / f"flips-{at}" / "python"
        script.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"export {name}={shlex.quote(value)}" for name, value in variables]
        run = f'exec {shlex.quote(str(python))} "$@"'
        script.write_text("\n".join(["#!/bin/sh", *lines, run]) + "\n", encoding="utf-8")
        script.chmod(0o755)
        return str(script)

    def _swaps(self, at: int) -> dict[str, str | None]:
        return {name: was for flip in self.flips[:at] for name, was in flip.packages}


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


def _text(value: Default) -> str | None:
    return None if value is None else str(value)


def _off(value: Default) -> bool:
    return value in (None, False, "", 0)


def _alike(one: Default, other: Default) -> bool:
    """Whether they say the same, however a file has it: `False`, "0" and "false" do."""
    return _canonical(one) == _canonical(other)


def _canonical(value: Default) -> Default:
    if value is None or isinstance(value, Reckoned):
        return value
    text = _variable(value).strip().lower()
    text = {"true": "1", "false": "0"}.get(text, text)
    try:
        return float(text)
    except ValueError:
        return text


def _suspect(kind: str, name: str, old: str | None, new: str | None, reason: Why) -> Suspect:
    return Suspect.model_validate(
        {"kind": kind, "name": name, "old": old, "new": new, "reason": reason}
    )
