"""Options of the matrix, which runs only where it is asked for: `tox -e matrix`."""

from __future__ import annotations

import pytest

from tests.matrix import releases

MARKER = "matrix"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("matrix")
    group.addoption("--release", action="append", metavar="VERSION", help="these only; repeatable")
    group.addoption("--again", action="store_true", help="also what is on file as proven")
    group.addoption(
        "--delete-environments",
        action="store_true",
        help="remove each environment that was made here once its release is proven",
    )


def _asked_for(config: pytest.Config) -> bool:
    return config.option.markexpr == MARKER


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "release" not in metafunc.fixturenames:
        return
    config = metafunc.config
    versions: list[str] = []
    if _asked_for(config) and not config.option.collectonly:
        # Looked up only where it is run: collecting the project's tests asks no index.
        versions = config.getoption("--release", None) or releases.published()
    metafunc.parametrize("release", versions)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if _asked_for(config):
        return
    ours = [item for item in items if item.get_closest_marker(MARKER)]
    config.hook.pytest_deselected(items=ours)
    items[:] = [item for item in items if item not in ours]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if _asked_for(config):
        terminalreporter.section("SGLang releases on the CPU")
        for line in releases.table():
            terminalreporter.write_line(line)
