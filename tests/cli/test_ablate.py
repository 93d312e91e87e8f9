"""`append-prefill ablate`: a default that slows the newer version, found by flipping it back."""

from __future__ import annotations

import json

import pytest

from append_prefill.cli.main import main
from append_prefill.errors import EXIT_USAGE
from tests.conftest import TINY
from tests.engines.installed import installed_python

# What `python -m sglang.launch_server` is: slower while the variable is on, or not set and on.
LAUNCH = """
import os, sys
from append_prefill.planted.__main__ import main
port = sys.argv[sys.argv.index("--port") + 1]
floor = "60" if os.environ.get("SGLANG_SLOW_TREE", "{default}") == "1" else "20"
sys.exit(main(["--port", port, "--sglang-version", "{version}", "--floor-ms", floor,
               "--new-token-us", "1"]))
"""


def sglang(folder, version, *, slow):
    python = installed_python(folder, version)
    (package,) = folder.glob("lib/python*/site-packages/sglang")
    launch = LAUNCH.format(default=int(slow), version=version)
    (package / "launch_server.py").write_text(launch)
    (package / "srt").mkdir()
    (package / "srt" / "environ.py").write_text(
        f"class Envs:\n    SGLANG_SLOW_TREE = EnvBool({slow})\n    SGLANG_CORE = "
        f"EnvStr({'rust' if slow else None!r})\n"
    )
    return str(python)


def test_the_default_behind_it_is_found(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # Servers of an interpreter take the machine's lock, and this one is nobody else's.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    old = sglang(tmp_path / "old", "0.5.18", slow=False)
    new = sglang(tmp_path / "new", "0.5.19", slow=True)
    arguments = [
        f"--profile={TINY}", "--experiment=append", "--starts=2", "--samples=2", "--budget=1",
    ]  # fmt: skip
    assert main(["ablate", f"{old}..{new}", *arguments]) == 0
    told = capsys.readouterr().out
    found = json.loads((tmp_path / "reports/ablate-0.5.18..0.5.19/bisection.json").read_text())
    assert found["listed"] == "defaults"
    assert [p["name"] for p in found["positions"]] == ["0.5.19", "SGLANG_SLOW_TREE=0"]
    (step,) = found["steps"]
    assert step["after"] == "SGLANG_SLOW_TREE=0"
    assert step["size"]["high"] < 0.9
    assert found["first_ms"] > found["change_ms"] > 0
    assert "All defaults of 0.5.19 flipped back: \N{MINUS SIGN}" in told
    assert " ms of the +" in told
    # What it was before is not known, so it is listed and not measured.
    (suspect,) = (s for s in found["suspects"] if s["kind"] == "variable")
    assert (suspect["name"], suspect["new"], suspect["reason"]) == (
        "SGLANG_CORE",
        "rust",
        "no-option",
    )
    # The reference's record tells what was set for it.
    record = json.loads(
        (
            tmp_path
            / "reports/ablate-0.5.18..0.5.19"
            / found["comparisons"][0]["folder"]
            / "run.json"
        ).read_text()
    )
    environments = {start["side"]: start["subject"]["environment"] for start in record["starts"]}
    assert {"SGLANG_SLOW_TREE": "0"} in environments.values()


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
