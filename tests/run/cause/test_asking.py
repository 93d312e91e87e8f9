"""A run's sides as options of the pass that profiles them."""

from __future__ import annotations

from pathlib import Path

import pytest

from append_prefill.errors import UsageError
from append_prefill.run.cause.asking import settings_of
from tests.run.bisection.runs import compared

OPTIONS = (
    "--sglang simulated:floor-ms=20 --against=simulated --profile cpu-nano --starts 3 --seed 5 "
    "--baseline none --quick"
)


def asked(options, tmp_path, state=None, **given):
    made = compared("b", "a", 1.1)
    made = made.model_copy(
        update={"suite": made.suite | {"options": options}, "state": state or {}, "seed": 5}
    )
    return settings_of(made, given, Path("r"), tmp_path)


def test_both_sides_are_the_runs(tmp_path):
    found = asked(OPTIONS, tmp_path)
    assert found.candidate.options == {"floor-ms": "20"}
    assert found.reference.options == {}
    assert (found.profile.name, found.options.seed) == ("cpu-nano", 5)


def test_what_is_given_goes_before_it(tmp_path):
    found = asked(OPTIONS, tmp_path, sglang="simulated:floor-ms=30", against=None)
    assert found.candidate.options == {"floor-ms": "30"}


def test_without_a_reference_it_is_the_version_that_was_confirmed(tmp_path, monkeypatch):
    monkeypatch.setenv("TOX_WORK_DIR", str(tmp_path / "none"))
    with pytest.raises(UsageError, match=r"--against 0\.5\.19: there is no environment"):
        asked("--sglang simulated --profile cpu-nano", tmp_path)


def test_a_server_that_was_running_is_refused(tmp_path):
    with pytest.raises(UsageError, match="running server"):
        asked("--sglang-url http://127.0.0.1:1", tmp_path, state={"replicated": False})
