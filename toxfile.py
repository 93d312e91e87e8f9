"""tox plugin: an environment `sglang-VERSION` for every version of SGLang.

tox checks environment names by their factors and knows `0.5.23`, but not `0.5.5.post3`; and its
list shows the environments that a configuration file names, not those that exist. So the names
asked for on the command line and those of the environments there are count as declared. And it
takes the first Python it finds, which SGLang VERSION need not support.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from tox.plugin import impl
from tox.report import HandledError
from tox.tox_env.api import ToxEnv
from tox.tox_env.python.api import Python

_NAME = re.compile(r"sglang-\d[\w.+]*")


@impl
def tox_extend_envs() -> Iterable[str]:
    """Environments `sglang-VERSION` that are asked for, by -e or TOX_ENV, or there already."""
    asked = ",".join([*sys.argv[1:], os.environ.get("TOX_ENV", "")])
    there = [path.name for path in (Path(__file__).parent / ".tox").glob("sglang-*")]
    return sorted({*_NAME.findall(asked), *filter(_NAME.fullmatch, there)})


@impl
def tox_on_install(tox_env: ToxEnv) -> None:
    """Refuse a Python that the version does not support before anything is installed for it."""
    if not _NAME.fullmatch(tox_env.name) or not isinstance(tox_env, Python):
        return
    sys.path.insert(0, str(Path(__file__).parent))  # the suite need not be installed beside tox
    from append_prefill.engines.install import (  # noqa: PLC0415 (as above)
        ANOTHER_PYTHON,
        python_problem,
        requested_version,
    )

    python = ".".join(map(str, tox_env.base_python.version_info[:3]))
    problem = python_problem(requested_version(tox_env.name), python)
    if problem is not None:
        raise HandledError(f"{problem} {ANOTHER_PYTHON}")
