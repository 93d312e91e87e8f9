"""A copy of an environment in which some packages have other versions.

Its files are hard links to the environment's own, so that it takes seconds and no room; pip puts
new files in place of those that it changes and writes into none.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from append_prefill.engines.commits import tail_of
from append_prefill.engines.defaults import Defaults, packages_of
from append_prefill.engines.environments import environment_folder
from append_prefill.errors import InfrastructureError, storing

_DIGITS = 8
# Of a folder's name, before the digits that tell it apart; file systems take 255 bytes.
_NAME_CHARACTERS = 100
_CANNOT_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK)


def is_copyable(held: Defaults) -> bool:
    """Whether it is a virtual environment, which finds its packages from where it lies."""
    return held.prefix is not None and (held.prefix / "pyvenv.cfg").is_file()


def swapped_folder(held: Defaults, swaps: Mapping[str, str | None]) -> Path:
    """Where the copy of an environment with these packages swapped lies, or would: beside those of
    `append-prefill env`, named by its version and the swaps.
    """
    told = [f"{name}-{version or 'none'}" for name, version in swaps.items()]
    named = "+".join([held.packages.get("sglang", "none"), *told])
    digest = hashlib.sha256(f"{held.prefix} {named}".encode()).hexdigest()
    return environment_folder(f"{named[:_NAME_CHARACTERS]}+{digest[:_DIGITS]}")


def swapped_environment(held: Defaults, swaps: Mapping[str, str | None], log: Path) -> Path:
    """Make it, unless it is there and whole; returns its interpreter.

    `swaps` are versions by package, None where it is to be taken away. They are installed without
    their dependencies, so that nothing else moves. pip's output goes to `log`. Raises
    InfrastructureError where a package cannot be had, and leaves no environment then.
    """
    folder = swapped_folder(held, swaps)
    python = folder / "bin" / "python"
    wanted = dict(held.packages)
    for name, version in swaps.items():
        wanted.pop(name, None)
        if version is not None:
            wanted[name] = version
    # Whatever was interrupted, or made of an environment that is another by now, is made anew.
    if python.is_file() and packages_of(python) == wanted:
        return python
    if held.prefix is None:
        raise ValueError("an environment whose folder is not known cannot be copied")
    shutil.rmtree(folder, ignore_errors=True)
    with storing(folder):
        shutil.copytree(held.prefix, folder, symlinks=True, copy_function=_link)
    gone = [name for name, version in swaps.items() if version is None]
    new = [f"{name}=={version}" for name, version in swaps.items() if version is not None]
    try:
        if gone:
            _pip(python, ["uninstall", "--yes", *gone], log)
        if new:
            _pip(python, ["install", "--no-deps", *new], log)
    except BaseException:
        shutil.rmtree(folder)
        raise
    return python


def _link(source: str, target: str) -> str:
    """A hard link; a copy where the file system has none, or `source` lies on another one."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        shutil.copy2(source, target)
    return target


def _pip(python: Path, arguments: list[str], log: Path) -> None:
    """The suite's own pip, for an environment may have none."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    with log.open("ab") as output:
        status = subprocess.run(
            [*pip, *arguments], stdout=output, stderr=subprocess.STDOUT, check=False
        ).returncode
    if status != 0:
        raise InfrastructureError(
            f"`pip {' '.join(arguments)}` ended with status {status}: {tail_of(log)}"
        )
