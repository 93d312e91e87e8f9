"""tox plugin: an environment `sglang-VERSION` for every version of SGLang.

tox checks environment names by their factors and knows `0.5.23`, but not `0.5.5.post3`; and its
list shows the environments that a configuration file names, not those that exist. So the names
asked for on the command line and those of the environments there are count as declared.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from tox.plugin import impl

_NAME = re.compile(r"sglang-\d[\w.+]*")


@impl
def tox_extend_envs() -> Iterable[str]:
    """Environments `sglang-VERSION` that are asked for, by -e or TOX_ENV, or there already."""
    asked = ",".join([*sys.argv[1:], os.environ.get("TOX_ENV", "")])
    there = [path.name for path in (Path(__file__).parent / ".tox").glob("sglang-*")]
    return sorted({*_NAME.findall(asked), *filter(_NAME.fullmatch, there)})
