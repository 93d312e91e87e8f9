"""`append-prefill confirm`: which run it makes of a run that suspects."""

from __future__ import annotations

import pytest

from append_prefill.cli import confirm, main
from append_prefill.errors import EXIT_USAGE, UsageError
from append_prefill.plugin.options import declare_options
from append_prefill.records.confirmation import POINTS
from append_prefill.records.secrets import MASK
from append_prefill.records.store import write_run
from append_prefill.run.confirming import read_suspicion
from append_prefill.workload.points import Point
from tests.report import samples


def suspicion(folder, run=None, options="--sglang 0.5.23 --starts 5 --seed 3 --samples 7", **more):
    run = samples.sound(run or samples.suspected())
    suite = {**run.suite, "options": options}
    run = run.model_copy(update={"suite": suite, **more})
    write_run(run, folder / "run.json")
    return read_suspicion(folder, option="RUN")


@pytest.fixture
def at_hand(monkeypatch):
    """Versions that have an environment."""
    known = {"0.5.22"}

    def interpreter_of(option, value, root):
        if value not in known:
            raise UsageError(option, value, "there is no environment with that version.", "")

    monkeypatch.setattr(confirm, "interpreter_of", interpreter_of)
    return known


def options(made, folder, **given):
    return confirm.options_for(made, given, folder)


def test_both_sides_are_measured_where_the_reference_is_at_hand(tmp_path, at_hand):
    words = options(suspicion(tmp_path), tmp_path)
    assert {"--against=0.5.22", "--baseline=none", "--sglang=0.5.23", "--samples=7"} <= {*words}
    # Twice the launches, and draws of its own.
    assert "--starts=10" in words
    assert not [word for word in words if word.startswith("--seed")]
    assert f"--confirms={tmp_path}" in words
    assert f"--report-dir={tmp_path.parent}" in words


def test_what_is_given_counts_before_what_the_run_had(tmp_path, at_hand):
    words = options(suspicion(tmp_path), tmp_path, starts=4, samples=2, against="/a/python")
    assert {"--starts=4", "--samples=2", "--against=/a/python"} <= {*words}
    assert "--samples=7" not in words


def test_a_run_side_by_side_has_its_own_reference(tmp_path, at_hand):
    at_hand.clear()
    given = "--sglang 0.5.23 --against /b/python --against-server-arg=--x --control 0.5.1"
    words = options(suspicion(tmp_path, samples.regression(), given), tmp_path)
    assert {"--against=/b/python", "--against-server-arg=--x"} <= {*words}
    assert not [word for word in words if word.startswith("--control")]


def test_without_its_environment_the_same_stored_run_is_asked(
    tmp_path, at_hand, monkeypatch, capsys
):
    at_hand.clear()
    monkeypatch.setattr(confirm, "compared_with", lambda *_: samples.baseline_run())
    words = options(suspicion(tmp_path), tmp_path)
    assert "--baseline=0.5.22" in words
    assert not [word for word in words if word.startswith("--against")]
    assert "not confirm one" in capsys.readouterr().err


def test_a_stored_run_that_was_named_is_named_again(tmp_path, at_hand):
    at_hand.clear()
    made = suspicion(tmp_path, options="--sglang 0.5.23 --baseline old.json")
    assert "--baseline=old.json" in options(made, tmp_path)


def test_a_stored_run_that_is_gone_is_said_to_be(tmp_path, at_hand, monkeypatch):
    at_hand.clear()
    monkeypatch.setattr(confirm, "compared_with", lambda *_: None)
    with pytest.raises(UsageError, match=r"not there any more.*--against"):
        options(suspicion(tmp_path), tmp_path)


def test_the_candidates_own_version_clears_nothing(tmp_path, at_hand, monkeypatch):
    """Measured against itself it would take any suspicion back."""
    at_hand.add("0.5.23")
    monkeypatch.setattr(confirm, "compared_with", lambda *_: samples.baseline_run())
    run = samples.suspected()
    same = run.comparison.model_copy(update={"reference_version": run.version})
    words = options(suspicion(tmp_path, run, comparison=same), tmp_path)
    assert not [word for word in words if word.startswith("--against")]


def test_a_secret_that_no_record_has_is_asked_for(tmp_path, at_hand):
    made = suspicion(tmp_path, options=f"--sglang 0.5.23 --server-arg=--api-key={MASK}")
    with pytest.raises(UsageError, match="secret that no record keeps"):
        options(made, tmp_path)


def experiments(made):
    return confirm.experiments_of(made, confirm.load_profile(made.run.profile))


def test_measured_are_the_experiments_in_which_something_is_suspected(tmp_path):
    made = suspicion(tmp_path)
    profile = confirm.load_profile(made.run.profile)
    slower = {p.point for p in made.comparison.points if p.verdict == "regression"}
    found = experiments(made)
    assert found
    assert slower <= {p for name in found for p in profile.experiment(name).as_points} | {
        Point(1733, 61), Point(95, 1410)
    }  # fmt: skip
    assert all(slower & set(profile.experiment(name).as_points) for name in found)


def test_where_no_place_is_named_all_that_was_measured_is(tmp_path):
    run = samples.suspected()
    points = [p.model_copy(update={"verdict": "pass"}) for p in run.comparison.points]
    nowhere = run.comparison.model_copy(update={"points": points})
    made = suspicion(tmp_path, run, comparison=nowhere)
    profile = confirm.load_profile(run.profile)
    assert experiments(made) == [e.id for e in profile.experiments]


def test_the_command_says_what_is_wrong_before_anything_is_measured(tmp_path, capsys):
    write_run(samples.passing(), tmp_path / "run.json")
    assert main.main(["confirm", str(tmp_path)]) == EXIT_USAGE
    assert "suspects nothing" in capsys.readouterr().err
    assert main.main(["confirm", str(tmp_path / "none")]) == EXIT_USAGE


def test_it_becomes_the_pytest_of_that_run(tmp_path, at_hand, monkeypatch):
    suspicion(tmp_path)
    became = []
    monkeypatch.setattr(confirm, "become_pytest", became.append)
    main.main(["confirm", str(tmp_path), "--starts=4", "--", "-n", "2"])
    (arguments,) = became
    assert {"--starts=4", "--against=0.5.22", "-n", "2"} <= {*arguments}
    # Every option that is handed on is one of the run's.
    flags = []
    declare_options(lambda flag, **_: flags.append(flag))
    ours = [a.partition("=")[0] for a in arguments if a.startswith("--") and "=" in a]
    assert {*ours} <= {*flags, "--rootdir"}
    assert POINTS == "points"
