"""What of a list of flips a server can be started with: all of it, or all but those that fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from append_prefill.engines.defaults import Defaults
from append_prefill.records.bisection import Suspect, Why
from append_prefill.run.bisection.flips import Flip
from append_prefill.run.bisection.history import Trouble

Tried = Callable[[Sequence[Flip]], Trouble | None]
"""Start the newer version with these flips: None where it starts and proves its splits."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A flip that does not work, and how that shows."""

    flip: Flip
    trouble: Trouble


def working(flips: Sequence[Flip], tried: Tried) -> tuple[list[Flip], list[LeftOut]]:
    """The flips that work together, in their order, and those that do not, with those before them.

    All at once is tried first. Only where that fails halves are: some log2(n) launches for
    each flip that does not work, in place of one for each that does.
    """
    out: list[LeftOut] = []

    def kept(good: list[Flip], rest: Sequence[Flip]) -> list[Flip]:
        if not rest:
            return good
        trouble = tried([*good, *rest])
        if trouble is None:
            return [*good, *rest]
        if len(rest) == 1:
            out.append(LeftOut(rest[0], trouble))
            return good
        half = len(rest) // 2
        return kept(kept(good, rest[:half]), rest[half:])

    return kept([], flips), out


def suspects_of(left: Sequence[LeftOut], new: Defaults) -> list[Suspect]:
    """A line for each argument, variable and package that could not be flipped back."""
    return [
        line.model_copy(update={"problem": one.trouble.problem, "log": one.trouble.log})
        for one in left
        for line in _lines(one.flip, new, "left-out")
    ]


def unasked(flip: Flip, new: Defaults) -> list[Suspect]:
    """The same lines of a flip that nobody asked for."""
    return _lines(flip, new, "not-asked")


def _lines(flip: Flip, new: Defaults, reason: Why) -> list[Suspect]:
    arguments = [text.partition("=") for text in flip.server_args]
    return [
        *(
            Suspect(kind="argument", name=option, old=value or None, new=None, reason=reason)
            for option, _, value in arguments
        ),
        *(
            Suspect(kind="variable", name=name, old=value, new=_now(new, name), reason=reason)
            for name, value in flip.variables
        ),
        *(
            Suspect(
                kind="dependency", name=name, old=was, new=new.packages.get(name), reason=reason
            )
            for name, was in flip.packages
        ),
    ]


def _now(new: Defaults, name: str) -> str | None:
    value = new.variables.get(name)
    return None if value is None else str(value)
