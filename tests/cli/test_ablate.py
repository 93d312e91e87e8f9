"""`append-prefill ablate`: a default that slows the newer version, found by flipping it back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import pytest

from append_prefill.cli import ablate, searching
from append_prefill.cli.main import main
from append_prefill.engines.defaults import packages_of
from append_prefill.errors import EXIT_USAGE
from append_prefill.records.store import RUN_FILE, write_run
from append_prefill.run.bisection.history import RUNS
from tests.engines.installed import installed_python, unpack, wheel
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
    tried: ClassVar[list[tuple[str, ...]]] = []
    # What the launches of an environment fail of, by a part of its path.
    broken: ClassVar[dict[str, str]] = {}

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
        return self.left(run, place)

    def alone(self, position, environment, *, place):
        self.tried.append((position.name, environment, *position.server_args))
        run = compared(position.name, "none", None, verdict="pass")
        run.starts = [start for start in run.starts if start.side == "candidate"][:1]
        # Behind a script where variables are set.
        what = Path(environment).read_bytes()[:1000].decode(errors="replace") + environment
        if problem := next((said for name, said in self.broken.items() if name in what), ""):
            run.starts = [run.starts[0].model_copy(update={"failure": problem, "measured_s": None})]
        return self.left(run, place)

    def left(self, run, place):
        folder = self.folder / place
        number = len(list(folder.glob("run-*")))
        write_run(run, folder / f"run-{number}" / RUN_FILE)
        (folder / "latest").unlink(missing_ok=True)
        (folder / "latest").symlink_to(f"run-{number}")
        return True


@pytest.fixture
def measured(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, empty in (("asked", []), ("tried", []), ("broken", {})):
        monkeypatch.setattr(Measured, name, empty)
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
    assert "2 changed defaults and dependencies to flip back" in told
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


@pytest.fixture
def two(tmp_path, monkeypatch):
    """Two versions with different packages, of which pip has the older ones; the older `torch` does
    not start in the newer version, and there is no `orjson` any more.
    """
    monkeypatch.setenv("APPEND_PREFILL_ENVIRONMENTS", str(tmp_path / "environments"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    environ = "SGLANG_X = EnvBool({})"
    pythons = []
    for version, on, packages in (
        ("0.5.18", True, {"uvloop": "1", "torch": "1", "orjson": "1"}),
        ("0.5.19", False, {"uvloop": "2", "torch": "2", "orjson": "2", "xgrammar": "2"}),
    ):
        pythons.append(sglang(tmp_path / version, version, environ.format(on)))
        (site,) = (tmp_path / version).glob("lib/python*/site-packages")
        for name, number in packages.items():
            wheel(tmp_path / "wheels", name, number)
            unpack(tmp_path / "wheels", name, number, site)
    (tmp_path / "wheels" / "orjson-1-py3-none-any.whl").unlink()
    Measured.broken["torch"] = "the server ended\nLast lines of /x/candidate-0.log:\nOSError: ABI"
    return f"{pythons[0]}..{pythons[1]}"


def test_dependencies_are_swapped_and_what_does_not_work_is_named(measured, two, tmp_path, capsys):
    arguments = ["ablate", two, "--profile=cpu-nano", "--experiment=append", "--dependencies"]
    assert main(arguments) == 0
    folder = tmp_path / "reports" / "ablate-0.5.18..0.5.19"
    found = json.loads((folder / "bisection.json").read_text())
    names = [position["name"] for position in found["positions"]]
    assert names == ["0.5.19", "--tree=old", "SGLANG_X=1", "uvloop==1"]
    suspects = {one["name"]: one for one in found["suspects"]}
    assert suspects["orjson"]["reason"] == suspects["torch"]["reason"] == "left-out"
    assert "No matching distribution found for orjson==1" in suspects["orjson"]["problem"]
    assert suspects["torch"]["problem"] == "the server ended: OSError: ABI"
    assert suspects["torch"]["log"].endswith("/run-0/candidate-0.log")
    assert (suspects["torch"]["old"], suspects["torch"]["new"]) == ("1", "2")
    assert (suspects["xgrammar"]["old"], suspects["xgrammar"]["reason"]) == (
        None, "unknown-old-value",
    )  # fmt: skip
    page = (folder / "bisection.html").read_text()
    assert "does not work: the server ended: OSError: ABI" in page
    assert "the older side has none" in page
    # The environment measured is the newer one with the older uvloop, and nothing else.
    script = (folder / "environments" / "flips-3" / "python").read_text()
    (copy,) = (tmp_path / "environments").glob("sglang-0.5.19+uvloop-1+*")
    assert f"exec {copy}/bin/python" in script
    held = packages_of(copy / "bin" / "python")
    assert (held["uvloop"], held["torch"], held["orjson"]) == ("1", "2", "2")
    # The same call goes on: nothing is tried again.
    tried = list(Measured.tried)
    capsys.readouterr()
    assert main(arguments) == 0
    assert Measured.tried == tried


def test_one_package_alone(measured, two, tmp_path, capsys):
    arguments = ["ablate", two, "--profile=cpu-nano", "--experiment=append"]
    assert main([*arguments, "--swap", "uvloop", "--only"]) == 0
    found = json.loads(
        (tmp_path / "reports" / "ablate-0.5.18..0.5.19" / "bisection.json").read_text()
    )
    assert [position["name"] for position in found["positions"]] == ["0.5.19", "uvloop==1"]
    # Beside the total, that one against the newer version as it is, and nothing else.
    new = two.partition("..")[2]
    assert {one[:2] for one in measured[1:]} == {("0.5.19", new)}
    assert {s["name"] for s in found["suspects"] if s["reason"] == "not-asked"} == {
        "orjson", "torch", "--tree", "SGLANG_X",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--swap", "ujson"), "--swap ujson: is in neither environment. Those that can be: orjson"),
        (("--swap", "uvloop,xgrammar"), "--swap xgrammar: is not in the older one (2 in the newer"),
        (("--swap", "sglang"), "--swap sglang: is what is compared."),
        (("--swap", "uvloop,"), "--swap uvloop,: has an empty name."),
        (("--only",), "--only (alone): leaves nothing to flip."),
    ],
)
def test_a_swap_that_cannot_be_is_refused_before_anything_starts(
    options, problem, two, measured, capsys
):
    arguments = ["ablate", two, "--profile=cpu-nano", "--experiment=append"]
    assert main([*arguments, *options]) == EXIT_USAGE
    assert problem in capsys.readouterr().err
    assert measured == []
    assert not Path("reports").exists()


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
