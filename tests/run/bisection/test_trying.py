"""What is left of a list of flips where some do not work."""

from __future__ import annotations

import pytest

from append_prefill.engines.defaults import Defaults
from append_prefill.run.bisection.flips import Flip
from append_prefill.run.bisection.history import Trouble
from append_prefill.run.bisection.trying import suspects_of, unasked, working

FLIPS = [Flip(variables=((name, "1"),)) for name in "ABCDEFGH"]


@pytest.mark.parametrize(
    ("bad", "launches"), [("", 1), ("A", 7), ("H", 7), ("CF", 11), ("ABCDEFGH", 15)]
)
def test_those_that_do_not_work_are_found_by_halves(bad, launches):
    tried = []

    def launch(flips):
        tried.append([flip.name[0] for flip in flips])
        failed = [name for name in tried[-1] if name in bad]
        return Trouble(f"{failed[0]} does not start") if failed else None

    good, out = working(FLIPS, launch)
    assert [flip.name[0] for flip in good] == [name for name in "ABCDEFGH" if name not in bad]
    assert [(one.flip.name[0], one.trouble.problem) for one in out] == [
        (name, f"{name} does not start") for name in bad
    ]
    assert len(tried) <= launches


def test_two_that_do_not_go_together_lose_one():
    def launch(flips):
        names = {flip.name[0] for flip in flips}
        return Trouble("they do not match") if {"B", "G"} <= names else None

    good, out = working(FLIPS, launch)
    assert [flip.name[0] for flip in good] == list("ABCDEFH")
    assert [one.flip.name for one in out] == ["G=1"]


def test_nothing_is_launched_for_nothing():
    assert working([], lambda _: Trouble("never asked")) == ([], [])


def test_they_are_told_one_by_one():
    new = Defaults({"A": 2}, {}, {"torch": "2.10"})
    flip = Flip(("--tree=old", "--off"), (("A", "1"),), (("torch", "2.9"), ("kernel", None)))
    rows = [(s.kind, s.name, s.old, s.new, s.reason) for s in unasked(flip, new)]
    assert rows == [
        ("argument", "--tree", "old", None, "not-asked"),
        ("argument", "--off", None, None, "not-asked"),
        ("variable", "A", "1", "2", "not-asked"),
        ("dependency", "torch", "2.9", "2.10", "not-asked"),
        ("dependency", "kernel", None, None, "not-asked"),
    ]
    _, out = working([flip], lambda _: Trouble("boom", "tried/x/candidate-0.log"))
    assert {(s.reason, s.problem, s.log) for s in suspects_of(out, new)} == {
        ("left-out", "boom", "tried/x/candidate-0.log")
    }
