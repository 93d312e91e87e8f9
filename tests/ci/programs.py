"""Programs that the tests' own packages bring (`pip install -e '.[tests]'`)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path


def run(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program that lies beside this interpreter, or on the PATH; it has to be there."""
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    program = shutil.which(name, path=beside)
    assert program, f"{name} is not installed: pip install -e '.[tests]'"
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, check=False, timeout=120
    )
