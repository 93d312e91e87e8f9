"""Which defaults differ, and how each is flipped back."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from append_prefill.engines.defaults import Defaults, Reckoned
from append_prefill.errors import UsageError
from append_prefill.records.contrast import Difference
from append_prefill.run.bisection import flips
from append_prefill.run.bisection.flips import Flip, Flipped, flips_of, given_flips, without

ARGUMENTS = {"backend": False, "limit": False, "overlap": True, "sizes": False, "mode": False}


def defaults(**variables):
    return Defaults(variables, ARGUMENTS, {})


def resolved(name, new, old):
    return Difference("resolved", name, new, old)


def names(found):
    return [flip.name for flip in found]


def test_arguments_get_their_older_value():
    found, suspects = flips_of(
        [
            resolved("backend", "rust", "python"),
            resolved("limit", 8, 4),
            resolved("overlap", False, True),
            resolved("kv_capacity", 100, 90),  # follows from others, being no argument
            Difference("package", "torch", "2", "1"),
        ],
        defaults(),
        defaults(),
        switches=False,
    )
    assert names(found) == ["--backend=python", "--limit=4", "--overlap"]
    assert suspects == []


def test_what_no_option_takes_back_is_a_suspect():
    found, suspects = flips_of(
        [
            resolved("overlap", True, False),
            resolved("mode", "auto", None),
            resolved("sizes", "[1]", "[1, 2]"),
            resolved("backend", "x", f"{'y' * 40}… 1a2b3c4d"),
        ],
        defaults(),
        defaults(),
        switches=False,
    )
    assert found == []
    assert [(s.name, s.reason) for s in suspects] == [
        (name, "no-option") for name in ("--overlap", "--mode", "--sizes", "--backend")
    ]


OLD = {"BOTH": True, "SAME": 1, "WAS_UNSET": None, "GONE": True}
NEW = {"BOTH": False, "SAME": 1, "WAS_UNSET": "x", "ON": True, "OFF": False, "CORE": "rust"}


def test_variables_that_both_declare():
    found, suspects = flips_of([], defaults(**OLD), defaults(**NEW), switches=False)
    assert names(found) == ["BOTH=1"]
    assert [(s.name, s.old, s.new, s.reason) for s in suspects] == [
        ("WAS_UNSET", None, "x", "no-option"),
        ("ON", None, "True", "unknown-old-value"),
        ("CORE", None, "rust", "unknown-old-value"),
        ("GONE", "True", None, "gone"),
    ]


@pytest.mark.parametrize(
    ("was", "now"), [(False, "false"), (False, "0"), (True, "1"), (4096, "4096"), (1.0, 1)]
)
def test_the_same_written_otherwise_is_no_difference(was, now):
    """Declared by one version, and read with a default beside the name by the other."""
    assert flips_of([], defaults(A=was), defaults(A=now), switches=False) == ([], [])


def test_a_variable_that_is_called_otherwise_by_now():
    new = Defaults({"NEW": True}, ARGUMENTS, {}, formerly={"NEW": "OLD"})
    found, suspects = flips_of([], defaults(OLD=False), new, switches=False)
    assert (names(found), suspects) == (["NEW=0"], [])


def test_what_is_reckoned_is_a_suspect_where_it_is_written_otherwise():
    old, new = (defaults(A=Reckoned(a), B=Reckoned("cores()")) for a in ("one()", "two()"))
    found, suspects = flips_of([], old, new, switches=False)
    assert found == []
    assert [(s.name, s.old, s.new, s.reason) for s in suspects] == [
        ("A", "one()", "two()", "no-option")
    ]


def test_new_switches_are_flipped_where_that_is_asked_for():
    found, suspects = flips_of([], defaults(**OLD), defaults(**NEW), switches=True)
    assert names(found) == ["BOTH=1", "ON=0"]
    assert "ON" not in [s.name for s in suspects]


def test_by_hand():
    given = given_flips(["CORE=python", "--backend=old", "--switch"])
    assert names(given) == ["CORE=python", "--backend=old", "--switch"]
    _, suspects = flips_of([], defaults(), defaults(**NEW), switches=False)
    assert "CORE" not in [s.name for s in without(suspects, given)]
    for wrong in ("CORE", "a b=c"):
        with pytest.raises(UsageError, match=f"--flip {wrong}: is neither"):
            given_flips([wrong])


def test_each_position_has_the_flips_before_it_too(tmp_path):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$A-$B-$1"\n')
    python.chmod(0o755)
    four = (
        Flip(server_args=("--backend=old",)),
        Flip(variables=(("A", "it's"),)),
        Flip(server_args=("--overlap",)),
        Flip(variables=(("B", "0"),)),
    )
    listed = Flipped("0.5.19", python, four, defaults())
    assert [(p.name, p.server_args) for p in listed.positions] == [
        ("0.5.19", ()),
        ("--backend=old", ("--backend=old",)),
        ("A=it's", ("--backend=old",)),
        ("--overlap", ("--backend=old", "--overlap")),
        ("B=0", ("--backend=old", "--overlap")),
    ]
    made = [listed.made(at, tmp_path) for at in range(5)]
    assert made[:2] == [str(python), str(python)]
    said = [
        subprocess.run([one, "x"], capture_output=True, text=True, check=True).stdout.strip()
        for one in made
    ]
    assert said == ["--x", "--x", "it's--x", "it's--x", "it's-0-x"]


def test_a_swap_is_made_once_it_is_asked_for(tmp_path, monkeypatch):
    """Its interpreter then takes the variables of the flips before it."""
    made = []

    def swapped(held, swaps, log):
        made.append((held.packages, dict(swaps), log))
        return tmp_path / "swapped" / "python"

    monkeypatch.setattr(flips, "swapped_environment", swapped)
    new = Defaults({}, ARGUMENTS, {"sglang": "0.5.19"}, prefix=tmp_path)
    a, b, c = (
        Flip(variables=(("A", "1"),)),
        Flip(packages=(("orjson", "3.1"), ("ujson", None))),
        Flip(packages=(("torch", "2.9"),)),
    )
    assert [one.name for one in (a, b, c)] == ["A=1", "orjson==3.1 (no ujson)", "torch==2.9"]
    listed = Flipped("0.5.19", tmp_path / "python", (a, b, c), new)
    assert [listed.at_hand(at) for at in range(4)] == [True, True, False, False]
    script = Path(listed.made(2, tmp_path)).read_text()
    assert "export A=1" in script
    assert f"exec {tmp_path}/swapped/python" in script
    listed.made(3, tmp_path)
    assert [swaps for _, swaps, _ in made] == [
        {"orjson": "3.1", "ujson": None},
        {"orjson": "3.1", "ujson": None, "torch": "2.9"},
    ]
    assert made[1][2].parent == tmp_path / "environments"
