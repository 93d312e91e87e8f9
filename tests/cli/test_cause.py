"""`append-prefill cause`: both sides launched again, profiled, and told apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from append_prefill.cli.main import main
from append_prefill.engines.profiler import PROGRAM
from append_prefill.errors import (
    EXIT_INCONCLUSIVE,
    EXIT_INFRASTRUCTURE,
    EXIT_USAGE,
    InfrastructureError,
)
from append_prefill.records.bisection import write_bisection
from append_prefill.records.cause import read_cause
from append_prefill.records.store import RUN_FILE, read_run, write_run
from append_prefill.run.cause import measuring
from tests.engines.spies import spy
from tests.report.bisection.findings import found
from tests.run.bisection.runs import compared
from tests.run.cause.profiled import cause
from tests.run.cause.test_where import effect, told

STACKS = "loop (/e/site-packages/sglang/s.py);batch (/e/site-packages/sglang/s.py) 40\n"
OPTIONS = (
    "--sglang simulated:floor-ms={candidate} --against simulated:floor-ms={reference} "
    "--profile cpu-nano --seed 3"
)
FEW = ("--starts=2", "--requests=12", "--rate=50")


@pytest.fixture
def run_folder(tmp_path, monkeypatch):
    """A confirmed change between two simulated servers; py-spy is a program that says it saw."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("append_prefill.run.cause.launch.IDLE_S", 0.05)
    (tmp_path / "bin").mkdir()
    program = spy(tmp_path / "bin", STACKS)
    monkeypatch.setattr("append_prefill.cli.cause.find_program", lambda: program)
    comparison = told("regression", effect(64, 32, 1.2)).model_copy(update={"reference": "0.5.19"})
    made = compared("0.5.23", "0.5.19", 1.2, comparison=comparison)
    suite = made.suite | {"options": OPTIONS.format(candidate=12, reference=4)}
    made = made.model_copy(update={"verdict": "regression", "suite": suite})
    write_run(made, tmp_path / "run" / RUN_FILE)
    return tmp_path / "run"


def test_both_sides_are_profiled_at_what_moved_most(run_folder, capsys):
    folder = Path("reports")
    write_bisection(found(), folder / "bisect-0.5.19..0.5.23")
    assert main(["cause", str(run_folder), *FEW]) == 0
    out = capsys.readouterr().out
    assert "pair 2 of 2: simulated (reference) and simulated …" in out
    assert "sglang.s:batch" not in out  # an idle server shows it, too: no cost
    made = read_cause(folder / "cause-0.5.19..0.5.23")
    assert (made.context_tokens, made.append_tokens, made.experiment) == (64, 32, None)
    assert [(one.side, one.pair) for one in made.launches] == [
        ("candidate", 0),
        ("reference", 0),
        ("candidate", 1),
        ("reference", 1),
    ]
    for one in made.launches:
        assert (one.requests, one.invalid) == (12, 0)
        assert one.plain_ms > 0
        assert one.profiled_ms > 0
    assert made.kernels is None
    page = (folder / "cause-0.5.19..0.5.23" / "cause.html").read_text(encoding="utf-8")
    assert "Steps between the versions" in page
    assert "Defaults that differ" not in page


def test_a_change_that_the_requests_do_not_show_is_asked_for_with_primes_and_not_explained(
    run_folder, capsys
):
    made = read_run(run_folder)
    made.suite["options"] = OPTIONS.format(candidate=4, reference=12)
    write_run(made, run_folder / RUN_FILE)
    few = ("--starts=1", "--requests=12", "--rate=50")
    assert main(["cause", str(run_folder), *few]) == EXIT_INCONCLUSIVE
    out = " ".join(capsys.readouterr().out.split())
    assert "once more, each with its prime" in out
    assert out.count("pair 1 of 1: simulated and simulated") == 2
    assert "These requests do not show the change" in out
    folder = Path("reports/cause-0.5.19..0.5.23")
    assert not read_cause(folder).shown
    assert "do not show the change" in (folder / "cause.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("alone", "primed", "chosen"), [(0.9, 1.05, True), (1.05, 0.9, False)])
def test_of_two_passes_that_do_not_show_it_the_nearer_one_is_told(
    run_folder, monkeypatch, alone, primed, chosen
):
    """The run found +20 %: the candidate's requests took so much of the reference's."""

    def made(*_, with_primes: bool, **__):
        record = cause(with_primes=with_primes)
        moved = {"candidate": 10.0 * (primed if with_primes else alone), "reference": 10.0}
        launches = [one.model_copy(update={"plain_ms": moved[one.side]}) for one in record.launches]
        return record.model_copy(update={"launches": launches})

    monkeypatch.setattr("append_prefill.cli.cause._pairs", lambda *_: ([], None))
    monkeypatch.setattr("append_prefill.cli.cause.cause_of", made)
    monkeypatch.setattr("append_prefill.cli.cause._version", lambda _: "py-spy")
    assert main(["cause", str(run_folder), *FEW]) == EXIT_INCONCLUSIVE
    assert read_cause(Path("reports/cause-0.5.19..0.5.23")).with_primes is chosen


def cut_in(monkeypatch, number, error):
    """The number-th pair that is launched does not come to its end."""
    begun, up = [], measuring.up

    def begin(*given):
        begun.append(given)
        if len(begun) == number:
            raise error
        return up(*given)

    monkeypatch.setattr(measuring, "up", begin)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt(), EXIT_INCONCLUSIVE),
        (InfrastructureError("the server is gone"), EXIT_INFRASTRUCTURE),
    ],
    ids=["interrupted", "server-gone"],
)
def test_a_pair_that_is_whole_is_told_whatever_ends_the_next(
    run_folder, monkeypatch, capsys, error, status
):
    cut_in(monkeypatch, 2, error)
    assert main(["cause", str(run_folder), *FEW]) == status
    out = capsys.readouterr().out
    assert "cut off: 1 of 2 pairs are whole" in out
    made = read_cause(Path("reports/cause-0.5.19..0.5.23"))
    assert [one.pair for one in made.launches] == [0, 0]
    assert made.own_total.low_ms is None
    assert Path("reports/cause-0.5.19..0.5.23/cause.html").exists()


def test_nothing_is_written_where_no_pair_is_whole(run_folder, monkeypatch):
    cut_in(monkeypatch, 1, InfrastructureError("the server is gone"))
    assert main(["cause", str(run_folder), *FEW]) == EXIT_INFRASTRUCTURE
    assert not Path("reports/cause-0.5.19..0.5.23/cause.json").exists()


def test_a_second_pass_that_is_cut_off_leaves_what_the_first_found(run_folder, monkeypatch):
    made = read_run(run_folder)
    made.suite["options"] = OPTIONS.format(candidate=4, reference=12)
    write_run(made, run_folder / RUN_FILE)
    cut_in(monkeypatch, 2, KeyboardInterrupt())
    few = ("--starts=1", "--requests=12", "--rate=50")
    assert main(["cause", str(run_folder), *few]) == EXIT_INCONCLUSIVE
    assert not read_cause(Path("reports/cause-0.5.19..0.5.23")).with_primes
    assert Path("reports/cause-0.5.19..0.5.23/cause.html").exists()


def test_json_is_the_record(run_folder, capsys):
    assert main(["cause", str(run_folder), "--json", *FEW]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["schema"] == "append-prefill/cause/1"
    assert len(printed["launches"]) == 4


def test_a_server_that_cannot_be_profiled_ends_it(run_folder, tmp_path, monkeypatch, capsys):
    program = spy(tmp_path / "bin", "", refuses="Permission denied")
    monkeypatch.setattr("append_prefill.cli.cause.find_program", lambda: program)
    assert main(["cause", str(run_folder), *FEW]) == EXIT_INFRASTRUCTURE
    assert "Permission denied" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--starts=0", "--requests=9", "--rate=1"])
def test_too_little_is_refused(run_folder, option, capsys):
    assert main(["cause", str(run_folder), option]) == EXIT_USAGE
    assert f"{option.partition('=')[0]} {option.partition('=')[2]}" in capsys.readouterr().err


def test_a_run_without_a_change_is_refused(run_folder, capsys):
    made = compared("b", "a", 1.0, verdict="pass")
    write_run(made, run_folder / RUN_FILE)
    assert main(["cause", str(run_folder)]) == EXIT_USAGE
    assert "found no change to explain" in capsys.readouterr().err


def test_without_py_spy_nothing_is_launched(run_folder, monkeypatch, capsys):
    monkeypatch.undo()
    monkeypatch.chdir(run_folder.parent)
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    assert main(["cause", str(run_folder)]) == EXIT_USAGE
    assert f"{PROGRAM} (not found)" in capsys.readouterr().err
    assert not Path("reports").exists()
