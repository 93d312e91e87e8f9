"""Where things lie: what is shipped with the suite, and what belongs to where it was called.

A checkout has the tests and the stored runs in folders of its own at the top (`perf_tests/`,
`baselines/`); the wheel has copies of them inside the package. Imports nothing but the standard
library: pytest loads it in everybody's run.
"""

from __future__ import annotations

import os
from pathlib import Path

TESTS_PACKAGE = "append_prefill.perf_tests"
"""What `pytest --pyargs` takes for the suite's tests, in a checkout as in an installed wheel."""

BASELINES = "baselines"

CLIFFS = "cliffs"
"""Beside it: the cliffs that every run of a profile measures."""

_PACKAGE = Path(__file__).parent
_SIGN = Path("perf_tests", "test_regression.py")


def checkout_of(folder: Path) -> Path | None:
    """The checkout that `folder` is in, or a copy of it that has the tests; None outside one."""
    return next((one for one in (folder, *folder.parents) if is_checkout(one)), None)


def is_checkout(folder: Path) -> bool:
    """Whether `folder` is the top of a checkout. Any project may have a folder `perf_tests`."""
    return (folder / _SIGN).is_file()


def shipped_baselines() -> Path:
    """The stored runs that came with the suite; not to be written to."""
    packed = _PACKAGE / BASELINES
    return packed if packed.is_dir() else _PACKAGE.parent / BASELINES


def environments_folder() -> Path:
    """Where `append-prefill env` keeps SGLang's environments; they need not be there yet."""
    named = os.environ.get("APPEND_PREFILL_ENVIRONMENTS")
    return Path(named).expanduser() if named else cache_folder()


def cache_folder() -> Path:
    """The suite's folder of things worth keeping between runs, by the XDG convention."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "append-prefill"


def make_environment(root: Path, version: str) -> str:
    """The command that makes an environment with SGLang `version`, for who stands in `root`."""
    tool = "tox -e sglang-" if is_checkout(root) else "append-prefill env "
    return f"{tool}{version}"
