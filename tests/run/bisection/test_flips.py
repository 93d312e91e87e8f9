"""Which defaults differ, and how each is flipped back."""

from __future__ import annotations

import subprocess

import pytest

from append_prefill.engines.defaults import Defaults
from append_prefill.errors import UsageError
from append_prefill.records.contrast import Difference
from append_prefill.run.bisection.flips import Flip, Flipped, flips_of, given_flips, without

ARGUMENTS = {"backend": False, "limit": False, "overlap": True, "sizes": False, "mode": False}


def defaults(packages=(), **variables):
    return Defaults(variables, ARGUMENTS, dict(packages))


def resolved(name, new, old):
    return Difference("resolved", name, new, old)


def names(flips):
    return [flip.name for flip in flips]


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
    ]


def test_new_switches_are_flipped_where_that_is_asked_for():
    found, suspects = flips_of([], defaults(**OLD), defaults(**NEW), switches=True)
    assert names(found) == ["BOTH=1", "ON=0"]
    assert "ON" not in [s.name for s in suspects]


def test_dependencies_are_listed():
    old = defaults({"torch": "2.9", "uvloop": "1", "sglang": "1"})
    new = defaults({"torch": "2.10", "orjson": "3", "sglang": "2"})
    _, suspects = flips_of([], old, new, switches=False)
    assert [(s.kind, s.name, s.old, s.new) for s in suspects] == [
        ("dependency", "orjson", None, "3"),
        ("dependency", "torch", "2.9", "2.10"),
        ("dependency", "uvloop", "1", None),
    ]


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
    flips = (
        Flip(server_args=("--backend=old",)),
        Flip(variables=(("A", "it's"),)),
        Flip(server_args=("--overlap",)),
        Flip(variables=(("B", "0"),)),
    )
    listed = Flipped("0.5.19", python, flips)
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
