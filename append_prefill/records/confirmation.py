"""What a run suspects and another measured again: which run that is, and what it came to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from append_prefill.records.grounds import Record

POINTS = "points"
"""The name of what is suspected at the points; in other traffic it is the experiment's."""

Answer = Literal["confirmed", "withdrawn", "seen-again", "undecided"]
"""`seen-again`: slower once more than a stored run that both were held against, whose own session
may be what is odd. Nothing is decided by that, nor where it is `undecided`."""

DECIDED: tuple[Answer, ...] = ("confirmed", "withdrawn")


class Suspect(Record):
    """Something that was slower: `name` is `POINTS` or an experiment of other traffic.

    `points`: the (L, m) that alone are suspected; empty where parts of the plane are.
    """

    name: str
    points: list[tuple[int, int]] = []


class Confirms(Record):
    """The run whose suspicion is measured again: its key, its folder's name, and the suspects."""

    run: str
    folder: str
    suspects: list[Suspect]


class Confirmation(Record):
    """What launches of their own said of each suspect, by its name; `run` is the key of theirs."""

    run: str
    folder: str
    at: datetime
    answers: dict[str, Answer]


def answered(confirmations: Sequence[Confirmation]) -> dict[str, tuple[Answer, Confirmation]]:
    """Of each suspect the answer that counts: the first that decides, else the last there is."""
    found: dict[str, tuple[Answer, Confirmation]] = {}
    for confirmation in sorted(confirmations, key=lambda one: one.at):
        for name, answer in confirmation.answers.items():
            if name not in found or found[name][0] not in DECIDED:
                found[name] = (answer, confirmation)
    return found
