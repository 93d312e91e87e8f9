"""`append-prefill history` and `alerts`: what they print, write, refuse and keep."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from append_prefill.cli.main import main
from append_prefill.records.history import rows, schema
from append_prefill.records.store import write_run
from append_prefill.run.history import add_run, follow
from tests.records import builders
from tests.records.history import entries

Captured = pytest.CaptureFixture[str]


def three_runs(report_dir: Path) -> None:
    for day in range(3):
        run = builders.run(created_at=builders.CREATED + timedelta(days=day))
        folder = report_dir / f"run-{day}"
        write_run(run, folder / "run.json")
        add_run(run, folder)


def regression(report_dir: Path) -> str:
    """A history in which one stands; returns its id."""
    log = np.random.default_rng(0).normal(0, 0.004, 30) + 0.05 * (np.arange(30) >= 20)
    with schema.opened(report_dir) as connection:
        for entry in entries.history(list(log)):
            rows.put(connection, entry)
    ((alert,),) = (followed.alerts for followed in follow(report_dir))
    return alert.id


def test_history(tmp_path: Path, capsys: Captured) -> None:
    where = ["--report-dir", str(tmp_path)]
    assert main(["history", *where]) == 0
    assert "No runs" in capsys.readouterr().out
    three_runs(tmp_path)
    assert main(["history", *where]) == 0
    text = capsys.readouterr().out
    assert all(f"run-{day}" in text for day in range(3))
    assert "NVIDIA H200" in text
    assert "session 3, 0.0 % since the one before" in text
    assert "✓ pass" in text
    assert main(["history", *where, "--last", "2", "--json"]) == 0
    (history,) = json.loads(capsys.readouterr().out)
    assert [run["path"] for run in history["runs"]] == ["run-1", "run-2"]
    assert history["achieved"]["sessions"] == 3
    assert main(["history", "--last", "0"]) == 4
    assert "--last" in capsys.readouterr().err


def test_history_writes_its_page(tmp_path: Path, capsys: Captured) -> None:
    three_runs(tmp_path)
    assert main(["history", "--report-dir", str(tmp_path), "--html"]) == 0
    page = tmp_path / "history.html"
    assert capsys.readouterr().out.split() == [str(page)]
    assert "NVIDIA H200" in page.read_text(encoding="utf-8")
    other = tmp_path / "other.html"
    assert main(["history", "--report-dir", str(tmp_path), "--html", str(other)]) == 0
    assert other.is_file()


def test_history_is_rebuilt(tmp_path: Path, capsys: Captured) -> None:
    three_runs(tmp_path)
    (tmp_path / schema.HISTORY_FILE).unlink()
    where = ["--report-dir", str(tmp_path)]
    assert main(["history", *where, "--rebuild"]) == 0
    assert "3 runs read" in capsys.readouterr().out
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    assert main(["history", *where, "--rebuild", str(bad)]) == 4
    out, error = capsys.readouterr()
    assert "--rebuild" in error
    assert "run-2" in out  # what there was is still there


def test_an_alert_is_listed_accepted_and_reopened(tmp_path: Path, capsys: Captured) -> None:
    alert = regression(tmp_path)
    where = ["--report-dir", str(tmp_path)]

    def listed(*options: str) -> list[tuple[str, str]]:
        assert main(["alerts", "list", *where, "--json", *options]) == 0
        return [(one["id"], one["state"]) for one in json.loads(capsys.readouterr().out)]

    assert listed() == [(alert, "standing")]
    assert main(["alerts", "list", *where]) == 0
    shown = capsys.readouterr().out.replace("│", " ").split()
    assert {"everywhere,", "against", "0.5.17"} <= set(shown)  # in cells as narrow as the terminal
    because = ["--reason", "the price of #123", "--who", "kim"]
    assert main(["alerts", "accept", alert, *because, *where]) == 0
    assert f"{alert} is accepted" in capsys.readouterr().out
    assert listed() == []
    assert listed("--all") == [(alert, "accepted")]
    assert main(["alerts", "list", *where]) == 0
    assert "No alert is open" in capsys.readouterr().out
    assert main(["alerts", "reopen", alert, "--reason", "it grew", *where]) == 0
    capsys.readouterr()
    assert listed() == [(alert, "standing")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["accept", "{id}", "--reason", " "], "--reason"),
        (["accept", "nothing", "--reason", "x"], "There are: {id}"),
        (["reopen", "{id}", "--reason", "x"], "Only an accepted one reopens"),
    ],
)
def test_alerts_refuse(tmp_path: Path, capsys: Captured, arguments: list[str], said: str) -> None:
    alert = regression(tmp_path)
    typed = [word.replace("{id}", alert) for word in arguments]
    assert main(["alerts", *typed, "--report-dir", str(tmp_path)]) == 4
    assert said.replace("{id}", alert) in capsys.readouterr().err


def test_what_is_accepted_already_is_refused(tmp_path: Path, capsys: Captured) -> None:
    typed = [regression(tmp_path), "--reason", "known", "--report-dir", str(tmp_path)]
    assert main(["alerts", "accept", *typed]) == 0
    assert main(["alerts", "accept", *typed]) == 4
    assert "is accepted" in capsys.readouterr().err
