"""The wheel, installed into an environment of its own and used in an empty folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from append_prefill.places import TESTS_PACKAGE
from tests.conftest import REPOSITORY, points_alone

pytestmark = pytest.mark.slow

# Two short launches of a server that answers at once.
QUICK = (
    "--profile=../calm.toml",
    "--sglang=simulated:floor_ms=3,new_token_us=1",
    "--starts=2",
    "--samples=3",
    "--seed=1",
)
EXPERIMENT = ("-k", "exp3")


@dataclass(frozen=True)
class Installed:
    """An environment that has the wheel; commands run in `folder`."""

    bin: Path
    folder: Path

    def __call__(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        # Neither the checkout nor what its test run is told may help.
        apart = {"PYTHONPATH", "PYTEST_ADDOPTS", "PYTEST_PLUGINS", "APPEND_PREFILL_SGLANG"}
        env = {key: value for key, value in os.environ.items() if key not in apart}
        return subprocess.run(
            [str(self.bin / command), *arguments],
            cwd=self.folder,
            env={**env, "XDG_CACHE_HOME": str(self.folder.parent / "cache")},
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def left(self) -> set[str]:
        """What is in the folder now."""
        return {path.name for path in self.folder.iterdir()}

    def record(self) -> dict:
        return json.loads((self.folder / "reports" / "latest" / "run.json").read_text())


@pytest.fixture(scope="session")
def environment(tmp_path_factory) -> Path:
    """The folder of the programs of an environment with the wheel, made by the first that asks.

    Its requirements are those of this environment, which take a minute to install anew.
    """
    base = tmp_path_factory.getbasetemp()
    top = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "wheel"
    programs = top / "env" / "bin"
    with FileLock(f"{top}.lock"):
        if not (programs / "append-prefill").exists():
            make_environment(top)
    return programs


def make_environment(top: Path) -> None:
    pip = [sys.executable, "-m", "pip"]
    build = [*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(top), str(REPOSITORY)]
    subprocess.run(build, check=True)
    (wheel,) = top.glob("*.whl")
    venv.create(top / "env", symlinks=True)
    python = str(top / "env" / "bin" / "python")
    subprocess.run([*pip, "--python", python, "install", "--quiet", "--no-deps", wheel], check=True)
    (packages,) = (top / "env").glob("lib/python*/site-packages")
    # By a path file: what is installed here editable stays out, for its own is not read from there.
    (packages / "requirements.pth").write_text(sysconfig.get_path("purelib") + "\n")


@pytest.fixture
def installed(environment, tmp_path) -> Installed:
    folder = tmp_path / "empty"
    folder.mkdir()
    # What is tested is the way to a verdict: no load on the machine may break a bound.
    calm = re.sub(r"^limit = .*$", "limit = 100", points_alone(), flags=re.MULTILINE)
    (tmp_path / "calm.toml").write_text(calm)
    return Installed(environment, folder)


def test_run_does_the_job_in_an_empty_folder(installed):
    result = installed("append-prefill", "run", *QUICK, "--baseline=none", "--", *EXPERIMENT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert (
        "append-prefill: candidate simulated, nothing to compare with; simulated" in result.stdout
    )
    assert "verdict: " in result.stdout
    assert installed.left == {"reports"}
    record = installed.record()
    (finding,) = (f for f in record["findings"] if f["id"] == "append_flatness")
    assert finding["measured"] is not None
    assert record["plan"]["starts"] == 2


def test_pytest_itself_does_the_same(installed):
    arguments = ("-p", "no:cacheprovider", "-m", "append_prefill", *QUICK, "--baseline=none")
    result = installed("python", "-m", "pytest", "--pyargs", TESTS_PACKAGE, *arguments, *EXPERIMENT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert installed.record()["plan"]["starts"] == 2
    assert installed.left == {"reports"}


def test_the_exit_status_is_the_jobs(installed):
    dead = "--sglang=simulated:fault=refuse-start"
    result = installed("append-prefill", "run", *QUICK, dead, "--baseline=none", "--", *EXPERIMENT)
    assert result.returncode == 7, result.stdout + result.stderr
    assert "verdict: INFRASTRUCTURE" in result.stdout


def test_pytest_that_selects_nothing_says_what_would(installed):
    result = installed(
        *("python", "-m", "pytest", "-p", "no:cacheprovider", "-m", "append_prefill", *QUICK)
    )
    assert result.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    last = result.stdout.rstrip().splitlines()[-1]
    assert "append-prefill run" in last
    assert TESTS_PACKAGE in last
    assert "junit.xml" not in result.stdout
    assert installed.left == set()


def test_shipped_runs_are_read_and_new_ones_are_stored_beside_the_user(installed):
    listed = installed("append-prefill", "baselines", "list", "--json")
    versions = {one["version"] for one in json.loads(listed.stdout)}
    assert {"0.5.23", "0.5.5.post3"} <= versions
    planted = "--sglang=simulated:floor_ms=3,new_token_us=1,sglang_version=0.5.5"
    saving = ("run", *QUICK, planted, "--baseline=none", "--save-baseline")
    # -k would store a part as the whole.
    result = installed("append-prefill", *saving)
    assert result.returncode == 0, result.stdout + result.stderr
    (stored,) = (installed.folder / "baselines").rglob("*.json")
    assert stored.name == "0.5.5.json"
    again = json.loads(installed("append-prefill", "baselines", "list", "--json").stdout)
    assert {one["version"] for one in again} == versions | {"0.5.5"}


def test_what_is_not_there_is_told_in_the_words_for_outside_a_checkout(installed):
    result = installed("append-prefill", "run", "--sglang=9.9.9", "--profile=cpu-nano")
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert "append-prefill env 9.9.9" in result.stderr
    assert "tox" not in result.stderr
    assert installed.left == set()
