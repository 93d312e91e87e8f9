"""Every SGLang release, installed by the suite's own installer and launched on the CPU.

`tox -e matrix` takes about a minute a release; what is proven already is left alone, so it can
be interrupted. The rows go to docs/sglang-releases.json.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest

from append_prefill.engines.create import create_environment
from append_prefill.engines.devices import DeviceLock, cpu_device
from append_prefill.engines.environments import environment_folder, query_interpreter
from append_prefill.engines.versions import cpu_packages_before, cpu_stubs, traits_of
from tests.matrix import releases
from tests.matrix.proof import POINT, expected, prove

# Half a gigabyte of wheels over a slow line; a launch has its own limit.
LIMIT_S = 1800


@pytest.mark.matrix
@pytest.mark.timeout(2 * LIMIT_S)
@pytest.mark.filterwarnings("default:SGLang .* is newer:pytest.PytestWarning")
def test_a_release_launches_and_proves_a_split(release, tmp_path, pytestconfig, monkeypatch):
    on_file = releases.known().get(release)
    recipe = releases.recipe(release)
    proven = on_file is not None and on_file["split_ok"] and on_file["recipe"] == recipe
    # What is asked of a server since it was proven is not on file yet.
    proven = proven and on_file["seen"].keys() == expected(release).keys()
    if proven and not pytestconfig.getoption("--again", False):
        pytest.skip("proven already; --again proves it once more")
    if releases.is_newer(release):
        warnings.warn(pytest.PytestWarning(traits_of(release).warning), stacklevel=1)

    # Files are compiled as they are imported, which is most of them never.
    monkeypatch.setenv("PIP_NO_COMPILE", "1")
    was_there = environment_folder(release).is_dir()
    python = make_environment(release)
    interpreter = query_interpreter("--sglang", release, python)
    log_path = tmp_path / "server.log"
    with DeviceLock(cpu_device(), timeout_s=LIMIT_S):
        proof = prove(python, log_path)
    releases.keep(
        {
            "version": release,
            "launches": proof.ready_s is not None,
            "split_ok": proof.problem is None and proof.cached_tokens == POINT.context_tokens,
            "ready_s": proof.ready_s,
            "context_tokens": POINT.context_tokens,
            "append_tokens": POINT.append_tokens,
            "cached_tokens": proof.cached_tokens,
            "page_size_tokens": proof.page_size_tokens,
            "stubs": list(cpu_stubs(release)),
            "python": interpreter.versions["python"],
            "torch": interpreter.versions["torch"],
            "transformers": interpreter.versions["transformers"],
            "newer_than_known": releases.is_newer(release),
            "recipe": recipe,
            "seen": proof.seen,
            "problem": proof.problem,
        }
    )
    assert proof.problem is None, f"{proof.problem}\nthe whole log: {log_path}"
    assert proof.said == interpreter.sglang
    assert proof.cached_tokens == POINT.context_tokens
    assert proof.left_processes == 0
    assert proof.seen == expected(release), "the tables say otherwise"
    if pytestconfig.getoption("--delete-environments", False) and not was_there:
        shutil.rmtree(environment_folder(release))


def make_environment(release: str) -> Path:
    """The suite's own environment of a release, made if it is not there; its interpreter.

    A new one begins as a copy of one that holds what is the same for every release (torch, 2 GB):
    links to the same files, which pip never writes into but replaces.
    """
    folder = environment_folder(release)
    if not folder.is_dir():
        common = common_environment(folder.with_name("matrix-common"))
        partial = folder.with_name(f"partial-{release}")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(common, partial, symlinks=True, copy_function=os.link)
        partial.rename(folder)
    return create_environment(release, None)


def common_environment(folder: Path) -> Path:
    done = folder / "done"
    if not done.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([base_python(), "-m", "venv", folder], check=True, timeout=LIMIT_S)
        packages = ["packaging>=24", *cpu_packages_before()]
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *packages], check=True, timeout=LIMIT_S)
        done.touch()
    return folder


def base_python() -> str:
    """The first Python on PATH that runs and that every release supports."""
    for name in ("python3.11", "python3.12"):
        path = shutil.which(name)
        if path and subprocess.run([path, "-c", ""], check=False).returncode == 0:
            return path
    raise AssertionError("SGLang's releases need Python 3.11 or 3.12, and neither is on PATH")
