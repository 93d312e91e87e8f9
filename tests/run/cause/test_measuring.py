"""Two servers that are up together take turns, so that what a host does falls on both."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest

from append_prefill.run.cause import measuring
from append_prefill.run.cause.launch import Bench


class Told:
    """In place of a launch: what it is asked, in the order of all that are up."""

    log: ClassVar[list[tuple[str, str, int]]] = []
    plain: ClassVar[dict[str, list[int]]] = {}

    def __init__(self, bench: Bench, server: object, side: str, pair: int) -> None:
        assert server == f"server of the {side}"
        self.side, self._pair = side, pair

    def _say(self, what: str, count: int = 0) -> None:
        self.log.append((self.side, what, count))

    def warm_up(self) -> None:
        self._say("warm")

    def take(self, count: int, *, plain: int) -> None:
        self._say("take", count)
        self.plain.setdefault(self.side, []).append(plain)

    def take_kernels(self) -> None:
        self._say("kernels")

    def measured(self) -> str:
        return f"{self.side} of pair {self._pair}"

    def close(self) -> None:
        self._say("close")


@pytest.fixture
def log(monkeypatch) -> list[tuple[str, str, int]]:
    monkeypatch.setattr(measuring, "Launch", Told)
    monkeypatch.setattr(Told, "log", [])
    monkeypatch.setattr(Told, "plain", {})
    return Told.log


def profiled(requests: int, *sides: str) -> dict[str, str]:
    bench = cast(Bench, SimpleNamespace(requests=requests))
    servers: Any = {side: f"server of the {side}" for side in sides}
    return cast(dict[str, str], measuring.profiled(bench, servers, 1))


@pytest.mark.parametrize(
    ("requests", "counts"),
    [(400, [50] * 8), (12, [1, 2, 1, 2, 1, 2, 1, 2]), (10, [1, 1, 1, 2, 1, 1, 1, 2])],
)
def test_two_that_are_up_together_take_turns(log, requests, counts) -> None:
    made = profiled(requests, "reference", "candidate")
    assert made == {
        "reference": "reference of pair 1",
        "candidate": "candidate of pair 1",
    }
    taken = [(side, count) for side, what, count in log if what == "take"]
    # ABBA: a host that gets slower all the time makes neither the slower one.
    turns = [("reference", "candidate"), ("candidate", "reference")] * 4
    assert taken == [
        (side, count) for sides, count in zip(turns, counts, strict=True) for side in sides
    ]
    for side in ("reference", "candidate"):
        assert sum(count for of, count in taken if of == side) == requests
        assert Told.plain[side] == counts
    assert [what for _, what, _ in log if what != "take"] == [
        *["warm"] * 2,
        *["kernels"] * 2,
        *["close"] * 2,
    ]


def test_one_alone_takes_all_its_legs(log) -> None:
    assert profiled(16, "candidate") == {"candidate": "candidate of pair 1"}
    assert [entry for entry in log if entry[1] == "take"] == [("candidate", "take", 2)] * 8


def test_those_that_are_timed_one_by_one_are_enough_at_400(log) -> None:
    profiled(1600, "candidate")
    assert [count for _, what, count in log if what == "take"] == [200] * 8
    assert Told.plain == {"candidate": [50] * 8}


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (("0.5.23", "0.5.19"), ["0.5.23", "0.5.19"]),
        # As where a setting is what differs.
        (("0.5.17", "0.5.17"), ["0.5.17", "0.5.17 (reference)"]),
    ],
)
def test_sides_that_are_called_the_same_are_told_apart(monkeypatch, labels, told) -> None:
    said: list[str] = []
    bench = cast(
        Bench,
        SimpleNamespace(
            tell=said.append, profile=SimpleNamespace(plan=SimpleNamespace(interleave=True))
        ),
    )
    made = SimpleNamespace(
        record=SimpleNamespace(plain_ms=1.0, profiled_ms=1.0, requests=1, recorded_s=1.0)
    )
    monkeypatch.setattr(measuring, "up", lambda *_: nullcontext({}))
    monkeypatch.setattr(measuring, "profiled", lambda *_: {"candidate": made, "reference": made})
    engines = [cast(Any, SimpleNamespace(label=label)) for label in labels]
    list(measuring.measure_pairs(bench, engines[0], engines[1], 1))
    assert said[0] == f"pair 1 of 1: {told[0]} and {told[1]} …"
    assert [line.partition(": TTFT")[0] for line in said[1:]] == told
