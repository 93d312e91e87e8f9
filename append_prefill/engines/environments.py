"""Interpreters that hold an SGLang: the version environments, and any other one by its path."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.version import Version

from append_prefill.engines.checkout import Origin, origin_in
from append_prefill.engines.versions import KERNEL_PACKAGES, parse_version
from append_prefill.errors import UsageError
from append_prefill.places import environments_folder

_PREFIX = "sglang-"
_LIMIT_S = 60.0
# What a shell and Python itself set, each time anew: nothing that was given on purpose.
_PASSING = frozenset({"_", "LC_CTYPE", "OLDPWD", "PWD", "SHLVL", "__PYVENV_LAUNCHER__"})
# Metadata only: importing SGLang or torch takes seconds. torch's CUDA is read off a file of its
# own.
_QUERY = """
import importlib.metadata as metadata, importlib.util as util, json, os, pathlib, platform, re
def version(*names):
    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
def direct_url():
    try:
        return metadata.distribution("sglang").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return None
cuda = None
spec = util.find_spec("torch")
if spec and spec.origin:
    file = pathlib.Path(spec.origin).parent / "version.py"
    found = re.search(r"^cuda.*=\\s*'([^']+)'", file.read_text(), re.M) if file.is_file() else None
    cuda = found.group(1) if found else None
print(json.dumps({
    "sglang": version("sglang"),
    "torch": version("torch"),
    "kernels": version(*KERNEL_PACKAGES),
    "flashinfer": version("flashinfer-python"),
    "transformers": version("transformers"),
    "cuda": cuda,
    "python": platform.python_version(),
    "direct_url": direct_url(),
    "environment": dict(os.environ),
}))
""".replace("KERNEL_PACKAGES", repr(KERNEL_PACKAGES))


@dataclass(frozen=True)
class Interpreter:
    """A Python interpreter and the versions of what matters in it (None: not there).

    `origin` is where its SGLang was installed from. `environment` are the variables that it has and
    was not given: what a script around it sets, or takes away (None).
    """

    path: Path
    versions: dict[str, str | None]
    origin: Origin = field(default_factory=Origin)
    environment: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def sglang(self) -> str | None:
        return self.versions["sglang"]


def query_interpreter(option: str, value: str, path: Path) -> Interpreter:
    """Ask an interpreter which versions it holds, without importing any of them (0.1 s).

    Raises UsageError, in the name of `option` and `value`, if it is not there, does not run, or
    has no SGLang.
    """
    if path.is_dir():
        raise UsageError(
            option, value, "is a directory.", f"Did you mean {path / 'bin' / 'python'}?"
        )
    if not path.is_file():
        raise UsageError(
            option, value, "no such interpreter.", "Give the path of a Python that has SGLang."
        )
    versions = _ask(path)
    if isinstance(versions, str):
        raise UsageError(
            option,
            value,
            f"does not run as a Python interpreter ({versions}).",
            "Give the path of a Python that has SGLang.",
        )
    origin = origin_in(versions.pop("direct_url", None))
    environment = _given(versions.pop("environment", os.environ))
    found = Interpreter(path, versions, origin, environment)
    if found.sglang is None:
        raise UsageError(
            option,
            value,
            f"this interpreter (Python {versions['python']}) has no SGLang.",
            f"Install it there (`{path} -m pip install sglang`), or name a version, as in "
            f"{option} 0.5.23.",
        )
    return found


def _ask(path: Path) -> dict[str, Any] | str:
    """What the interpreter says of itself; in a word what is wrong, where it is none."""
    try:
        answer = subprocess.run(
            [str(path), "-c", _QUERY],
            capture_output=True,
            text=True,
            check=True,
            timeout=_LIMIT_S,
            cwd=tempfile.gettempdir(),  # not where a folder `torch` or `sglang` may lie
            env=os.environ,  # and not what C libraries (readline) have set beside it
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or repr(error)).strip()
        return str(said.splitlines()[-1])
    try:
        versions: dict[str, Any] = json.loads(answer.stdout)
    except ValueError:
        said = repr(answer.stdout.strip()[:40]) if answer.stdout.strip() else "nothing"
        return f"asked for its versions it said {said}"
    return versions


def _given(environment: Mapping[str, str]) -> dict[str, str | None]:
    """Where the variables of a process differ from those that it was started with."""
    names = sorted({*environment, *os.environ} - _PASSING)
    return {
        name: environment.get(name)
        for name in names
        if environment.get(name) != os.environ.get(name)
    }


def version_environments(root: Path) -> dict[str, Path]:
    """Interpreters of the environments that hold a version, oldest version first.

    They are tox's under `root`, then those of `append-prefill env`. One whose installation did not
    finish is in it too: its interpreter tells.
    """
    tox = Path(os.environ.get("TOX_WORK_DIR") or root / ".tox")
    found: dict[str, Path] = {}
    for folder in (*tox.glob(f"{_PREFIX}*"), *environments_folder().glob(f"{_PREFIX}*")):
        python = folder / "bin" / "python"
        version = folder.name.removeprefix(_PREFIX)
        if python.is_file() and parse_version(version) is not None:
            found.setdefault(version, python)
    return dict(sorted(found.items(), key=lambda item: Version(item[0])))


def environment_folder(version: str) -> Path:
    """Where the environment of `append-prefill env VERSION` lies, or would."""
    return environments_folder() / f"{_PREFIX}{version}"


def same_version(installed: str, asked: str) -> bool:
    """Whether what is installed is what was asked for.

    A local part (`+g1234567` of a nightly build) counts only where it was asked for.
    """
    one, other = Version(installed), Version(asked)
    return one == other if other.local else one.public == other.public
