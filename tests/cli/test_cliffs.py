"""`append-prefill cliffs`: options, and one search of a simulated server from end to end."""

from __future__ import annotations

import json

import pytest

from append_prefill.cli.cliffs import status_of
from append_prefill.cli.main import main
from append_prefill.errors import EXIT_INCONCLUSIVE, EXIT_REGRESSION, EXIT_USAGE
from append_prefill.records.cliffs import CliffSearch
from append_prefill.records.kept import read_kept
from tests.conftest import TINY

# Six times as long from m = 65 on, in more than a tenth of the plane: no machine is too busy to
# show that, and few requests come upon it.
SERVER = "simulated:floor_ms=1,new_token_us=1,fault=slow-in=0..512:65..256:6"


def test_a_simulated_server_from_end_to_end(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = [
        "cliffs", f"--profile={TINY}", f"--sglang={SERVER}", "--budget=3", "--requests=1800",
    ]  # fmt: skip
    assert main(arguments) == EXIT_REGRESSION
    told = capsys.readouterr().out
    (folder,) = (tmp_path / "reports").iterdir()
    found = CliffSearch.model_validate_json((folder / "cliffs.json").read_bytes())
    cliff = found.cliffs[0]
    assert cliff.axis == "append"
    assert (cliff.fast[1], cliff.slow[1]) == (64, 65)
    assert cliff.low > 2
    assert found.ended == "requests"
    assert found.launches == 6
    assert f"from m = 64 to 65, L = {cliff.slow[0]}" in told
    assert told.splitlines()[-1].startswith("verdict: 1 cliff confirmed at a false-alarm rate of")
    kept = read_kept(tmp_path / "cliffs", "tiny")
    assert kept == tuple(found.cliffs)
    # What a run would measure has them now.
    assert main(["plan", f"--profile={TINY}", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)["points"]
    assert [p for p in planned if p["experiment"] == ["cliffs"]]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--budget=0",), "--budget 0.0: leaves nothing to look at"),
        (("--requests=0",), "--requests 0: leaves nothing to look at"),
        (("--profile=none",), "--profile none: is neither a shipped profile nor a file"),
        (("--sglang=simulated:x",), "--sglang simulated:x: 'x' is not key=value"),
    ],
)
def test_bad_input_is_refused_before_a_server_starts(
    arguments, problem, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    given = [f"--profile={TINY}", f"--sglang={SERVER}", *arguments]
    assert main(["cliffs", *given]) == EXIT_USAGE
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(
    ("ended", "told", "status"),
    [("minutes", "no-edge", 0), ("minutes", "not-tried", 8), ("interrupted", "no-edge", 8)],
)
def test_the_exit_status_says_whether_all_was_seen(ended, told, status):
    suspect = {
        "point": (8, 8), "excess": 1.3, "edge": None, "jump": None, "context_tokens": (8, 8),
        "append_tokens": (8, 8), "told": told,
    }  # fmt: skip
    found = CliffSearch.model_validate(
        {
            "created_at": "2026-11-02T00:00:00Z", "version": None, "profile": "tiny",
            "device": "planted", "seed": 1, "bound": 0.15, "false_alarm_rate": 0.01,
            "minutes": 1.0, "requests": 10, "points": 5, "noise_sd": None, "launches": 1,
            "suspects": [suspect], "cliffs": [], "ended": ended, "command": "append-prefill cliffs",
        }
    )  # fmt: skip
    assert status_of(found) == status
    assert EXIT_INCONCLUSIVE == 8
