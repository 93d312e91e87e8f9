"""`append-prefill cliffs`: one search from options to what is kept, and what is refused."""

from __future__ import annotations

import json

import pytest

from append_prefill.cli.cliffs import status_of
from append_prefill.cli.main import main
from append_prefill.errors import EXIT_INCONCLUSIVE, EXIT_REGRESSION, EXIT_USAGE
from append_prefill.records.cliffs import CliffSearch
from append_prefill.records.kept import read_kept
from append_prefill.report.cliffs import verdict_words
from append_prefill.run.cliffs import whole
from benchmarks import cliffs
from tests.conftest import TINY

SERVER = "simulated:floor_ms=1,new_token_us=1"
PLANTED = "slow-in=0..512:65..96:1.5"


class Servers(cliffs.Simulated):
    """The cost model in place of servers: nothing waits, and no machine is too busy."""

    launch_s = 0.1
    version = "0.5.23"

    def __init__(self, settings, device, folder, experiment=None):
        assert folder.is_dir()
        self.experiment = experiment
        super().__init__(cliffs.PLANES["quiet"], cliffs.parse_faults([PLANTED]), seed=1)


def test_a_search_from_options_to_what_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(whole, "LocalServers", Servers)
    arguments = [
        "cliffs", f"--profile={TINY}", f"--sglang={SERVER}", "--budget=3", "--requests=2000",
    ]  # fmt: skip
    assert main(arguments) == EXIT_REGRESSION
    told = capsys.readouterr().out
    (folder,) = (tmp_path / "reports").iterdir()
    found = CliffSearch.model_validate_json((folder / "cliffs.json").read_bytes())
    (cliff,) = found.cliffs
    assert cliff.axis == "append"
    assert (cliff.fast[1], cliff.slow[1]) in ((64, 65), (97, 96))
    assert cliff.low < 1.5 < cliff.high
    assert cliff.append_tokens == (65, 96)
    assert cliff.context_tokens == (2, 512)
    assert (found.ended, found.requests, found.launches) == ("requests", 2000, 6)
    assert f"from m = {cliff.fast[1]} to {cliff.slow[1]}, L = {cliff.slow[0]}" in told
    assert told.splitlines()[-1].startswith("verdict: 1 cliff confirmed at a false-alarm rate of")
    assert read_kept(tmp_path / "cliffs", "tiny") == (cliff,)
    # What a run would measure has it now, and the next search keeps no other of it.
    assert main(["plan", f"--profile={TINY}", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)["points"]
    assert len([p for p in planned if p["experiment"] == ["cliffs"]]) == 2
    assert main([*arguments, "--seed=2", "--json"]) == EXIT_REGRESSION
    assert json.loads(capsys.readouterr().out)["seed"] == 2
    assert read_kept(tmp_path / "cliffs", "tiny") == (cliff,)


def test_other_traffic_is_searched_where_it_is_asked_for(tmp_path, monkeypatch, capsys):
    asked = []

    class Recorded(Servers):
        def explore(self, design, then):
            asked.append(self.experiment and self.experiment.id)
            super().explore(design, then)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(whole, "LocalServers", Recorded)
    arguments = [
        "cliffs", "--profile=cpu-nano", f"--sglang={SERVER}", "--budget=3", "--requests=8000",
    ]  # fmt: skip
    assert main([*arguments, "--experiment=together_8"]) == EXIT_REGRESSION
    told = capsys.readouterr().out
    assert "for cliffs in the traffic of together_8, 3 min" in told
    assert asked == ["together_8"]
    (folder,) = (tmp_path / "reports").iterdir()
    found = CliffSearch.model_validate_json((folder / "cliffs.json").read_bytes())
    (cliff,) = found.cliffs
    assert (found.experiment, cliff.experiment) == ("together_8", "together_8")
    # Eight primes and eight append-prefills a sample: the search stops at the next whole one.
    assert found.requests == 8000
    assert ", in together_8; slow from" in told
    assert found.suspects[0].edge.experiment == "together_8"
    assert read_kept(tmp_path / "cliffs", "cpu-nano") == (cliff,)
    # One in other traffic is none of a lone request's, which may be at the same place.
    assert main([*arguments, "--requests=2000"]) == EXIT_REGRESSION
    assert [one.experiment for one in read_kept(tmp_path / "cliffs", "cpu-nano")] == [
        "together_8",
        None,
    ]


def test_ctrl_c_leaves_a_record(tmp_path, monkeypatch, capsys):
    class Interrupted(Servers):
        def explore(self, design, then):
            raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(whole, "LocalServers", Interrupted)
    status = main(["cliffs", f"--profile={TINY}", f"--sglang={SERVER}", "--no-keep"])
    assert status == EXIT_INCONCLUSIVE
    assert "it was interrupted" in capsys.readouterr().out
    (record,) = (tmp_path / "reports").glob("*/cliffs.json")
    assert json.loads(record.read_text())["ended"] == "interrupted"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--budget=0",), "--budget 0.0: leaves nothing to look at"),
        (("--requests=0",), "--requests 0: leaves nothing to look at"),
        (("--experiment=append",), "--experiment append: is no traffic of profile tiny"),
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
@pytest.mark.parametrize("points", [5, 0])
def test_the_exit_status_says_whether_all_was_seen(ended, told, status, points):
    suspect = {
        "point": (8, 8), "excess": 1.3, "edge": None, "jump": None, "context_tokens": (8, 8),
        "append_tokens": (8, 8), "told": told,
    }  # fmt: skip
    found = CliffSearch.model_validate(
        {
            "created_at": "2026-11-02T00:00:00Z", "version": None, "profile": "tiny",
            "device": "planted", "seed": 1, "bound": 0.15, "false_alarm_rate": 0.01,
            "minutes": 1.0, "requests": 10, "points": points, "noise_sd": None, "launches": 1,
            "suspects": [suspect], "cliffs": [], "ended": ended, "command": "append-prefill cliffs",
        }
    )  # fmt: skip
    assert status_of(found) == (status if points else EXIT_INCONCLUSIVE)
    assert verdict_words(found).startswith("nothing was looked at") is (points == 0)
