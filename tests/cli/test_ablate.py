"""`append-prefill ablate`: a default that slows the newer version, found by flipping it back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import pytest

from append_prefill.cli import ablate, searching
from append_prefill.cli.main import main
from append_prefill.errors import EXIT_USAGE
from append_prefill.records.store import RUN_FILE, write_run
from append_prefill.run.bisection.history import RUNS
from tests.engines.installed import installed_python
from tests.run.bisection.runs import compared


def sglang(folder: Path, version: str, environ: str) -> str:
    """An interpreter with an SGLang that declares these variables, and one argument."""
    python = installed_python(folder, version)
    (package,) = folder.glob("lib/python*/site-packages/sglang")
    (package / "srt").mkdir()
    (package / "srt" / "environ.py").write_text(f"class Envs:\n    {environ}\n")
    (package / "srt" / "server_args.py").write_text("class ServerArgs:\n    tree: A[str] = 'x'\n")
    return str(python)


class Measured:
    """In place of the suite's job: leaves a run of what it was asked for. Nothing is launched."""

    asked: ClassVar[list[tuple[str, ...]]] = []

    def __init__(self, _asked, folder):
        self.folder, self.experiments = folder, ()

    def __call__(self, earlier, earlier_env, later, later_env, *, place=RUNS):
        self.asked.append((earlier.name, earlier_env, later.name, later_env, *later.server_args))
        # The newer version takes a fifth more, and its tree is all of that.
        slow = {name: name == "0.5.19" for name in (earlier.name, later.name)}
        ratio = 1.2 ** (slow[later.name] - slow[earlier.name])
        run = compared(later.name, earlier.name, ratio)
        if place != RUNS:
            for start in run.starts:
                start.resolved = {"tree": "new" if start.side == "candidate" else "old"}
        folder = self.folder / place
        number = len(list(folder.glob("run-*")))
        write_run(run, folder / f"run-{number}" / RUN_FILE)
        (folder / "latest").unlink(missing_ok=True)
        (folder / "latest").symlink_to(f"run-{number}")
        return True


@pytest.fixture
def measured(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Measured, "asked", [])
    for module in (ablate, searching):
        monkeypatch.setattr(module, "Measurer", Measured)
    return Measured.asked


def test_the_default_behind_it_is_found(measured, tmp_path, capsys):
    old = sglang(tmp_path / "old", "0.5.18", "SGLANG_X = EnvBool(True)")
    new = sglang(
        tmp_path / "new", "0.5.19", "SGLANG_X = EnvBool(False)\n    SGLANG_CORE = EnvStr('rust')"
    )
    arguments = ["ablate", f"{old}..{new}", "--profile=cpu-nano", "--experiment=append"]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert "2 changed defaults to flip back" in told
    folder = tmp_path / "reports" / "ablate-0.5.18..0.5.19"
    found = json.loads((folder / "bisection.json").read_text())
    assert [p["name"] for p in found["positions"]] == ["0.5.19", "--tree=old", "SGLANG_X=1"]
    (suspect,) = (s for s in found["suspects"] if s["kind"] == "variable")
    assert (suspect["name"], suspect["reason"]) == ("SGLANG_CORE", "unknown-old-value")
    (step,) = found["steps"]
    assert (step["before"], step["after"]) == ("0.5.19", "--tree=old")
    assert step["size"]["ratio"] == pytest.approx(1 / 1.2, rel=0.01)
    # Both sides first; then the flips, the later ones with those before them.
    assert measured[0] == ("0.5.18", old, "0.5.19", new)
    flipped = str(folder / "environments" / "flips-2" / "python")
    assert {one[2:] for one in measured[1:]} <= {
        ("--tree=old", new, "--tree=old"),
        ("SGLANG_X=1", flipped, "--tree=old"),
    }
    assert main(arguments) == 0
    assert "0.5.19 against 0.5.18" not in capsys.readouterr().out


def test_where_nothing_can_be_flipped_what_differs_is_listed(measured, tmp_path, capsys):
    old = sglang(tmp_path / "old", "0.5.18", "SGLANG_X = EnvBool(True)")
    new = sglang(tmp_path / "new", "0.5.19", "SGLANG_CORE = EnvStr('rust')")
    (package,) = (tmp_path / "new").glob("lib/python*/site-packages/sglang")
    (package / "srt" / "server_args.py").unlink()
    assert main(["ablate", f"{old}..{new}", "--profile=cpu-nano", "--experiment=append"]) == 0
    assert "SGLANG_CORE" in capsys.readouterr().out
    assert len(measured) == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("0.5.21",), "A..B 0.5.21: is no range"),
        (("simulated..simulated", "--flip", "what"), "--flip what: is neither an argument"),
        (("simulated..simulated:floor_ms=3",), "names a simulated server"),
    ],
)
def test_bad_input_is_refused(arguments, problem, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["ablate", *arguments]) == EXIT_USAGE
    assert problem in capsys.readouterr().err
