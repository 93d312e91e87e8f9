"""Bisections for the report's tests."""

from __future__ import annotations

from typing import Any

from append_prefill.records.bisection import Bisection, FoundStep, ListedPosition, Size, Suspect
from tests.records.builders import CREATED


def size(ratio: float, half: float = 0.012) -> Size:
    return Size(ratio=ratio, low=ratio - half, high=ratio + half)


def step(before: str, after: str, ratio: float, *unknown: str) -> FoundStep:
    return FoundStep(
        before=before, after=after, unknown=list(unknown), chance=0.9995, size=size(ratio)
    )


def found(**changes: Any) -> Bisection:
    """+20 % in three steps, of which one is an improvement; one version does not start."""
    levels = {"0.5.15": 1.0, "0.5.16": 1.04, "0.5.17": None, "0.5.18": 1.01, "0.5.19": 1.2}
    fields: dict[str, Any] = {
        "created_at": CREATED,
        "listed": "releases",
        "asked": {"positions": ", ".join(levels), "profile": "cpu-nano",
                  "options": "--profile=cpu-nano --server-arg=--page-size=1"},
        "experiments": ["append"],
        "min_effect": 0.015,
        "must_catch": 0.03,
        "minutes": 31.0,
        "positions": [
            ListedPosition(name=name, level=None if ratio is None else size(ratio))
            if ratio is not None
            else ListedPosition(
                name=name, problem="the server ended: no <kernel>", log="runs/3/candidate-0.log"
            )
            for name, ratio in levels.items()
        ],
        "comparisons": [
            {"folder": "runs/1", "earlier": "0.5.15", "later": "0.5.19", "launches": 6,
             "minutes": 3.2, "size": size(1.2), "delta_ms": 1.3, "seen": "slower"},
            {"folder": "runs/3", "earlier": "0.5.15", "later": "0.5.17", "launches": 0,
             "minutes": None, "size": None, "delta_ms": None, "seen": None},
        ],
        "steps": [
            step("0.5.15", "0.5.16", 1.04),
            step("0.5.16", "0.5.18", 0.97, "0.5.17"),
            step("0.5.18", "0.5.19", 1.19),
        ],
        "total": size(1.2),
        "rest": size(1.002, 0.004),
        "open_chance": 0.004,
        "ended": "settled",
        "command": "append-prefill bisect 0.5.15..0.5.19",
    }  # fmt: skip
    return Bisection.model_validate(fields | changes)


def ablated(**changes: Any) -> Bisection:
    """Two defaults flipped back, of which one did most of it."""
    names = {"0.5.19": 1.0, "--radix-cache-backend=python": 0.9, "SGLANG_X=0": 0.9}
    own = {"--radix-cache-backend=python": size(0.9), "SGLANG_X=0": None}
    fields: dict[str, Any] = {
        "listed": "defaults",
        "positions": [
            ListedPosition(name=n, title=n, level=size(r), own=own.get(n)) for n, r in names.items()
        ],
        "steps": [step("0.5.19", "--radix-cache-backend=python", 0.9)],
        "total": size(0.9),
        "first_ms": 11.0,
        "change_ms": 1.3,
        "of": "total/latest",
        "suspects": [
            Suspect(kind="dependency", name="torch", old="2.9", new="2.10", reason="not-asked"),
            Suspect(
                kind="dependency",
                name="orjson",
                old="3",
                new="4",
                reason="left-out",
                problem="the server ended",
                log="tried/1/candidate-0.log",
            ),
            Suspect(kind="variable", name="SGLANG_OFF", old="1", new=None, reason="gone"),
        ],
    }
    return found(**(fields | changes))
