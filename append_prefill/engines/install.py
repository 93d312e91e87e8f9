"""Put one SGLang version into the running interpreter's environment.

What tox and `append-prefill env` run there: `python -m append_prefill.engines.install VERSION`,
where VERSION may also be the name of the environment (`sglang-0.5.23`). With an NVIDIA GPU in
sight it is plain `pip install`; without one, SGLang's own requirements do not install, and the CPU
recipe of `versions` is used.

Needs the standard library, `packaging` and pip, nothing else of the suite.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from packaging.version import InvalidVersion, Version

from append_prefill.engines.versions import cpu_packages_after, cpu_packages_before, traits_of

_PREFIX = "sglang-"
_MARKER = ".append-prefill-sglang-"
_GPU_RECIPE = "with SGLang's own requirements"
_CPU_RECIPE = "with the CPU recipe"
ANOTHER_PYTHON = (
    "Install one that fits beside it, or take a version of SGLang that supports this one."
)
"""What to do about `python_problem`."""


class InstallError(Exception):
    """The version cannot be installed; the text says why and what to do."""


def requested_version(name: str) -> str:
    """The version in `0.5.23` or `sglang-0.5.23`. Raises InstallError if there is none."""
    text = name.removeprefix(_PREFIX)
    try:
        return str(Version(text))
    except InvalidVersion as error:
        raise InstallError(
            f"{name}: {text!r} is not a version of SGLang. Name one, as in `tox -e sglang-0.5.23`; "
            f"`{sys.executable} -m pip index versions sglang` lists them."
        ) from error


def python_problem(version: str, python: str) -> str | None:
    """Why SGLang `version` cannot be had for Python `python`, in a sentence; None where it can."""
    supported = traits_of(version).requires_python
    if supported.contains(python):
        return None
    return f"SGLang {version} supports Python {supported}, and this is Python {python}."


def has_nvidia_gpu() -> bool:
    """Whether the NVIDIA driver of this machine shows at least one GPU."""
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return False
    answer = subprocess.run([smi, "-L"], capture_output=True, text=True, check=False, timeout=60)
    return answer.returncode == 0 and "GPU" in answer.stdout


def installed(package: str) -> str | None:
    """The version of `package` in this environment, or None."""
    importlib.invalidate_caches()
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def install(name: str) -> str:
    """Install the version that `name` names; returns what was done, in a sentence.

    Does nothing if it is there and complete. Raises InstallError.
    """
    version = requested_version(name)
    traits = traits_of(version)
    problem = python_problem(version, platform.python_version())
    if problem is not None:
        raise InstallError(f"{problem} {ANOTHER_PYTHON}")
    if traits.warning:
        print(f"warning: {traits.warning}", file=sys.stderr)
    gpu = has_nvidia_gpu()
    recipe = _GPU_RECIPE if gpu else _CPU_RECIPE
    here = installed("sglang")
    # A nightly build's wheel has a local part that its name on the index has not.
    if (
        here is not None
        and version in (here, Version(here).public)
        and installed_recipe() == recipe
    ):
        return f"SGLang {version} is already here ({recipe})."
    for stale in Path(sys.prefix).glob(f"{_MARKER}*"):
        stale.unlink()
    if gpu:
        _pip_sglang(version, [])
    else:
        # SGLang first and alone: it is what an unknown version fails on, within a second, and
        # its metadata holds the pins of the rest.
        _pip_sglang(version, ["--no-deps"])
        requirements = importlib.metadata.requires("sglang") or []
        with_deps, without = cpu_packages_after(version, requirements)
        _pip([*cpu_packages_before(), *with_deps])
        _pip(["--no-deps", *without])
    marker = _marker()
    if marker is None:
        raise InstallError(f"pip reported success, but SGLang {version} is not in {sys.prefix}.")
    marker.write_text(recipe, encoding="utf-8")
    return f"SGLang {version} installed ({recipe})."


def installed_recipe() -> str | None:
    """How the SGLang here was installed; None if not by this module, or not to the end."""
    marker = _marker()
    return marker.read_text(encoding="utf-8") if marker and marker.is_file() else None


def _marker() -> Path | None:
    # Written last and named by version: an installation that was interrupted, or another
    # version put over this one, has no marker of its own and is done again.
    version = installed("sglang")
    if version is None:
        return None
    return Path(sys.prefix) / f"{_MARKER}{version}"


def _pip_sglang(version: str, options: Sequence[str]) -> None:
    try:
        _pip([*options, f"sglang=={version}"])
    except InstallError as error:
        raise InstallError(
            f"SGLang {version} could not be installed for Python {platform.python_version()}: "
            f"there may be no such version, or no wheel of it for this Python and system. "
            f"`{sys.executable} -m pip index versions sglang` lists the versions. ({error})"
        ) from error


def _pip(arguments: Sequence[str]) -> None:
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", *arguments]
    status = subprocess.run(command, check=False).returncode
    if status != 0:
        raise InstallError(f"`pip install {' '.join(arguments)}` ended with status {status}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; exit status 2 with the reason on stderr if the version cannot be had."""
    names = list(sys.argv[1:] if arguments is None else arguments)
    if len(names) != 1:
        print("usage: python -m append_prefill.engines.install VERSION", file=sys.stderr)
        return 2
    try:
        print(install(names[0]))
    except InstallError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
