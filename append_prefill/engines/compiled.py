"""Which servers have compiled their kernels on this host already.

A mark a kind of launch, kept where their caches are by default (see `launch.launch_env`), so that
both go with the same reboot or the same job.
"""

from __future__ import annotations

import getpass
import tempfile
from pathlib import Path


def _mark(key: str) -> Path:
    return Path(tempfile.gettempdir()) / f"append-prefill-compiled-{getpass.getuser()}" / key


def has_compiled(key: str) -> bool:
    """Whether a launch of that key (`Engine.compile_key`) has been noted here."""
    return _mark(key).exists()


def note_compiled(key: str) -> None:
    """Note that a launch of that key came up and answered every shape."""
    _mark(key).parent.mkdir(mode=0o700, exist_ok=True)
    _mark(key).touch()
