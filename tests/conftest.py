"""A small copy of the suite that a test can run with pytest's own `pytester`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
TINY = Path(__file__).parent / "tiny.toml"


# The slowest test starts two workers and half a dozen simulated servers.
LIMIT_S = 300


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(LIMIT_S))


class Suite:
    """The perf tests in a folder of their own, run against simulated servers."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        pytester.makeconftest('pytest_plugins = ["append_prefill.plugin"]')
        pytester.makepyprojecttoml(
            """
            [tool.pytest.ini_options]
            addopts = "--strict-markers --strict-config"
            filterwarnings = ["error"]
            """
        )
        shutil.copytree(
            REPOSITORY / "perf_tests",
            pytester.path / "perf_tests",
            ignore=shutil.ignore_patterns("__pycache__"),
        )

    def run(self, *arguments: str, files: tuple[str, ...] | None = ()) -> pytest.RunResult:
        """Run the suite on two short launches of a simulated server; `arguments` come last.

        `files` None leaves the choice of tests to pytest's configuration.
        """
        defaults = ("-p", "no:cacheprovider", "--starts=2", "--samples=3", "--seed=1")
        planted = (
            ()
            if any("--sglang" in a for a in arguments)
            else ("--sglang=simulated:floor_ms=3,new_token_us=1",)
        )
        chosen = [f"perf_tests/{name}" for name in files or ()] or ["perf_tests"]
        if files is None:
            chosen = []
        return self.pytester.runpytest_subprocess(
            "-m", "append_prefill", f"--profile={TINY}", *defaults, *planted, *arguments, *chosen
        )

    def latest(self) -> Path:
        """The folder of the last run."""
        return (self.pytester.path / "reports" / "latest").resolve()

    def record(self) -> dict:
        return json.loads((self.latest() / "run.json").read_text())


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Suite:
    return Suite(pytester)
