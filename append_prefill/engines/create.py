"""Make an environment that holds one SGLang, where tox and its configuration are not at hand."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import append_prefill
from append_prefill.engines.environments import environment_folder
from append_prefill.engines.install import ANOTHER_PYTHON, python_problem
from append_prefill.engines.versions import parse_version, traits_of
from append_prefill.errors import InfrastructureError, UsageError

# The installer's own requirement beside pip, as in tox.ini.
_INSTALLER_NEEDS = "packaging>=24"
# Minor versions of Python 3 that are looked for on the PATH, in this order: those SGLang has
# supported longest first. What it has not supported yet comes last, for versions to come.
_MINORS = (11, 12, 13, 10, 14, 15)


def create_environment(
    version: str,
    python: Path | None,
    *,
    output: BinaryIO | None = None,
    variables: Mapping[str, str] | None = None,
) -> Path:
    """Make or complete the environment of SGLang `version`; returns its interpreter.

    `python` is the interpreter to make it with; None means the running one, or the first on the
    PATH that the version supports. pip's output goes to `output`, or where ours goes; `variables`
    are set for pip beside our own. Raises UsageError for what
    is no version and a Python that SGLang does not support, before anything is installed, and
    InfrastructureError where making it fails.
    """
    if parse_version(version) is None:
        raise UsageError(
            "VERSION", version, "is not a version of SGLang.", "Name one, as in 0.5.23."
        )
    folder = environment_folder(version)
    own = folder / "bin" / "python"
    if not own.is_file():
        base = _fitting_python(version) if python is None else _checked(version, python)
        folder.parent.mkdir(parents=True, exist_ok=True)
        making = [str(base), "-m", "venv", str(folder)]
        _run(making, f"Python's venv made no {folder}", output, variables)
    pip = [str(own), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, _INSTALLER_NEEDS], f"pip could not be used in {folder}", output, variables)
    # Not the folder that the package lies in: an installed suite has all its requirements beside
    # it, and pip would take them for the environment's.
    with tempfile.TemporaryDirectory(prefix="append-prefill-") as alone:
        (Path(alone) / "append_prefill").symlink_to(Path(append_prefill.__file__).parent)
        _run(
            [str(own), "-m", "append_prefill.engines.install", version],
            f"SGLang {version} could not be installed in {folder}",
            output,
            {**(variables or {}), "PYTHONPATH": alone},
        )
    return own


def _fitting_python(version: str) -> Path:
    """The running interpreter, or the first on the PATH, that SGLang `version` supports."""
    supported = traits_of(version).requires_python
    if supported.contains(platform.python_version()):
        return Path(sys.executable)
    for minor in _MINORS:
        found = shutil.which(f"python3.{minor}")
        if found is not None and supported.contains(f"3.{minor}"):
            return Path(found)
    problem = str(python_problem(version, platform.python_version()))
    raise UsageError("VERSION", version, problem, ANOTHER_PYTHON)


def _checked(version: str, python: Path) -> Path:
    """`python`, if it runs and SGLang `version` supports it."""
    try:
        answer = subprocess.run(
            [str(python), "-c", "import platform; print(platform.python_version())"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise UsageError(
            "--python", python, "does not run as a Python interpreter.", "Give the path of one."
        ) from error
    problem = python_problem(version, answer.stdout.strip())
    if problem is not None:
        raise UsageError("--python", python, problem, ANOTHER_PYTHON)
    return python


def _run(
    command: list[str],
    failure: str,
    output: BinaryIO | None,
    variables: Mapping[str, str] | None,
) -> None:
    stderr = None if output is None else subprocess.STDOUT
    env = {**os.environ, **variables} if variables else None
    status = subprocess.run(command, check=False, env=env, stdout=output, stderr=stderr).returncode
    if status != 0:
        raise InfrastructureError(
            f"{failure} (status {status}; what it said is above). The same command goes on from "
            "there."
        )
