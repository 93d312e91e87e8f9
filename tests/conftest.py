"""A small copy of the suite that a test can run with pytest's own `pytester`."""

from __future__ import annotations

import gc
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from append_prefill.probe import floor
from tests.forked import FLOOR_REPEATS, run_pytest

REPOSITORY = Path(__file__).parent.parent
TINY = Path(__file__).parent / "tiny.toml"


# The slowest test starts two workers and half a dozen simulated servers.
LIMIT_S = 300

EVERY = ("",)
"""The files of a `Suite` that is run as a whole."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(LIMIT_S))


def pytest_collection_finish() -> None:
    """The tests are there until the end: no garbage collection need look through them."""
    gc.collect()
    gc.freeze()


def points_alone() -> str:
    """The tiny profile without its conversation, for runs of many launches."""
    text = TINY.read_text(encoding="utf-8")
    return text[: text.index("[[traffic]]")] + text[text.index("[bounds.") :]


class Suite:
    """The perf tests in a folder of their own, run against simulated servers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "conftest.py").write_text('pytest_plugins = ["append_prefill.plugin"]\n')
        # Ignored: that `forked` has imported modules which pytest would have rewritten.
        (path / "pyproject.toml").write_text(
            """
[tool.pytest.ini_options]
addopts = "--strict-markers --strict-config"
filterwarnings = ["error", "ignore::pytest.PytestAssertRewriteWarning"]
"""
        )
        shutil.copytree(
            REPOSITORY / "perf_tests",
            path / "perf_tests",
            ignore=shutil.ignore_patterns("__pycache__"),
            dirs_exist_ok=True,
        )

    def run(self, *arguments: str, files: tuple[str, ...] | None = ()) -> pytest.RunResult:
        """Run the suite on two short launches of a simulated server; `arguments` come last.

        Without `files` those of its tests that look at what was measured: its properties take as
        long as the rest, send requests of their own, and are run by `EVERY`. `files` None leaves
        the choice of tests to pytest's configuration.
        """
        defaults = ("-p", "no:cacheprovider", "--starts=2", "--samples=3", "--seed=1")
        planted = (
            ()
            if any("--sglang" in a for a in arguments)
            else ("--sglang=simulated:floor_ms=3,new_token_us=1",)
        )
        every = sorted(path.name for path in (self.path / "perf_tests").glob("test_*.py"))
        looking = [name for name in every if name != "test_split_properties.py"]
        chosen = [] if files is None else [f"perf_tests/{name}" for name in files or looking]
        return run_pytest(
            self.path,
            *("-m", "append_prefill", f"--profile={TINY}"),
            *defaults,
            *planted,
            *arguments,
            *chosen,
        )

    def latest(self) -> Path:
        """The folder of the last run."""
        return (self.path / "reports" / "latest").resolve()

    def record(self) -> dict:
        return json.loads((self.latest() / "run.json").read_text())


def run_once(
    tmp_path_factory: pytest.TempPathFactory, name: str, *arguments: str, **chosen: Any
) -> tuple[Suite, pytest.RunResult]:
    """`Suite.run` in a folder of that name, by whichever of xdist's workers asks first."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    kept = folder / "result.json"
    with FileLock(f"{folder}.lock"):
        if not kept.exists():
            folder.mkdir()
            result = Suite(folder).run(*arguments, **chosen)
            kept.write_text(json.dumps([int(result.ret), result.outlines, result.errlines]))
    ret, *lines = json.loads(kept.read_text())
    return Suite(folder), pytest.RunResult(ret, *lines, duration=0.0)


@pytest.fixture(autouse=True, scope="session")
def _few_repeats_of_the_client_floor() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(floor, "REPEATS", FLOOR_REPEATS)
        yield


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Suite:
    monkeypatch.chdir(tmp_path)
    return Suite(tmp_path)
