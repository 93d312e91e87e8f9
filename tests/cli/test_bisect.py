"""`append-prefill bisect`: options, and one bisection of simulated servers from end to end."""

from __future__ import annotations

import json

import pytest

from append_prefill.cli.main import main
from append_prefill.errors import EXIT_REGRESSION, EXIT_USAGE
from append_prefill.records.run import Run
from append_prefill.records.store import write_run
from tests.conftest import TINY
from tests.report import samples
from tests.run.bisection.runs import compared


def server(floor_ms: int, more: str = "") -> str:
    return f"simulated:floor_ms={floor_ms},new_token_us=1{more}"


def test_simulated_servers_from_end_to_end(tmp_path, monkeypatch, capsys):
    """One that does not start between one that is fast and one twice as slow; then once more."""
    monkeypatch.chdir(tmp_path)
    arguments = [
        "bisect", "--among", server(8), server(8, ",fault=refuse-start=no kernel"), server(16),
        f"--profile={TINY}", "--experiment=append", "--starts=2", "--samples=2", "--budget=1",
    ]  # fmt: skip
    assert main(arguments) == EXIT_REGRESSION
    told = capsys.readouterr().out
    folder = tmp_path / "reports" / "bisect-simulated-1..simulated-3"
    found = json.loads((folder / "bisection.json").read_text())
    assert found["schema"] == "append-prefill/bisection/1"
    assert "no kernel" in found["positions"][1]["problem"]
    assert (folder / found["positions"][1]["log"]).is_file()
    (step,) = found["steps"]
    assert (step["before"], step["after"]) == ("simulated 1", "simulated 3")
    assert step["unknown"] == ["simulated 2"]
    assert step["size"]["low"] > 1.1
    assert "between simulated 1 and simulated 3 +" in told
    assert told.splitlines()[-1].startswith("verdict: simulated 1 to simulated 3: +")
    # Every comparison is a run as any other, with its report.
    for one in found["comparisons"]:
        record = json.loads((folder / one["folder"] / "run.json").read_text())
        assert {record["suite"]["label"], record["suite"]["against_label"]} == {
            one["earlier"],
            one["later"],
        }
        assert record["plan"]["points"] == [[256, 8], [256, 64], [256, 256]]
        assert (folder / one["folder"] / "report.html").is_file()
    page = (folder / "bisection.html").read_text()
    assert f'<a href="{found["comparisons"][0]["folder"]}/report.html">' in page
    # The same call goes on from what is there, of which nothing is left to measure.
    assert main([*arguments, "--json"]) == EXIT_REGRESSION
    again = json.loads(capsys.readouterr().out)
    assert again["comparisons"] == found["comparisons"]
    # Another question does not mix with it.
    assert main([*arguments, "--experiment=context"]) == EXIT_USAGE
    assert "holds a bisection with other experiments" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "A..B (not given): says between what to look"),
        (("0.5.21",), "A..B 0.5.21: is no range"),
        (("a..b", "--among", "simulated", "simulated"), "A..B a..b: cannot go with --among"),
        (("a..b", "--build", "make"), "--build make: needs --git"),
        (("a..b", "--git", ".", "--index-url", "u"), "--index-url u: cannot go with --git"),
        (("--among", "simulated"), "--among simulated: is one alone"),
        (("--among", "simulated", "simulated", "--starts=1"), "--starts 1: is too little"),
        (
            ("--among", "simulated", "simulated", f"--profile={TINY}", "--experiment=none"),
            "--experiment none: profile tiny has no such experiment",
        ),
        (
            (
                "--among",
                "simulated",
                "simulated",
                "--profile=cpu-nano",
                "--experiment=append",
                "--experiment=turns",
            ),
            "--experiment turns: is of other traffic, which is compared by itself",
        ),
    ],
)
def test_bad_input_is_refused_before_anything_starts(
    arguments, problem, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["bisect", *arguments]) == EXIT_USAGE
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(
    ("run", "problem"),
    [
        (compared("c", "a", 1.0), "found no change to look for"),
        (samples.suspected(), "only suspects"),
    ],
    ids=["nothing", "suspected"],
)
def test_only_a_confirmed_change_is_gone_on_from(run: Run, problem, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for start in run.starts:
        start.state = []
    write_run(run, tmp_path / "run.json")
    assert main(["bisect", "--from", "run.json"]) == EXIT_USAGE
    assert problem in capsys.readouterr().err
