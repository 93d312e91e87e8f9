"""By what the user called this pytest, so that the commands it proposes can be typed there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from append_prefill.engines.environments import version_environments
from append_prefill.engines.local import PlantedEngine
from append_prefill.places import TESTS_PACKAGE, make_environment
from append_prefill.plugin.state import FOLDER, SETTINGS
from append_prefill.report.names import PYTEST
from append_prefill.report.next_step import Program

TOX_ENVIRONMENT = "append_prefill"
"""The environment of the main job in tox.ini."""


def program_of(config: pytest.Config) -> Program:
    """tox's job, `append-prefill run`, or pytest itself; and the versions that are at hand."""
    settings, invocation = config.stash[SETTINGS], config.invocation_params
    folder = config.stash[FOLDER]
    if folder.is_relative_to(invocation.dir):
        folder = folder.relative_to(invocation.dir)
    run = PYTEST
    command = "append-prefill"
    if os.environ.get("TOX_ENV_NAME") == TOX_ENVIRONMENT:
        run = ("tox", "-e", TOX_ENVIRONMENT, "--")
        # What tox installs there is on nobody's PATH.
        installed = Path(sys.prefix, "bin", command)
        inside = installed.is_relative_to(invocation.dir)
        command = str(installed.relative_to(invocation.dir) if inside else installed)
    elif TESTS_PACKAGE in map(str, invocation.args):
        run = ("append-prefill", "run")
    others = [v for v in version_environments(settings.root) if v != settings.candidate.version]
    if isinstance(settings.candidate, PlantedEngine):
        others = ["simulated"]  # no SGLang has times that say anything of it
    return Program(
        run,
        command,
        str(folder),
        other=others[-1] if others else None,
        make=make_environment(settings.root, "VERSION"),
    )
