"""The pytest plugin: what every pytest on a machine with the suite loads, and nothing else.

Its imports are the standard library's and pytest's, so that other people's runs do not pay for the
measuring; `hooks` has the rest and joins in when a run is asked for (`-m append_prefill`).
`benchmarks/plugin_import.py` measures what loading this costs.
"""

from __future__ import annotations

import pytest

from append_prefill.plugin import fixtures
from append_prefill.plugin.options import LOAD_MARKER, MARKER, add_options, is_run


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{MARKER}(*experiments): measures a real server; runs only with `-m {MARKER}`. Names the "
        "experiments whose points it needs, none meaning all",
    )
    config.addinivalue_line(
        "markers",
        f'{LOAD_MARKER}: takes minutes of heavy traffic; runs only with `-m "{MARKER} and '
        f'{LOAD_MARKER}"`',
    )
    config.pluginmanager.register(fixtures)
    if not is_run(config) or config.option.collectonly or config.option.help:
        return
    from append_prefill.plugin import hooks  # noqa: PLC0415 (half a second and more)

    hooks.begin(config)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if is_run(config):
        return
    ours = [item for item in items if item.get_closest_marker(MARKER)]
    if ours:
        config.hook.pytest_deselected(items=ours)
        items[:] = [item for item in items if item not in ours]
