"""The plugin's part in a run: thin hooks around one `Session`, registered by `begin`.

The controller (or the only process) makes the run's folder, follows its progress and writes the
report (`ending`); every worker measures what it can claim and judges the tests it was given. The
fixtures are in `fixtures`, what passes between controller and workers in `xdist`.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from append_prefill.errors import AppendPrefillError, UsageError
from append_prefill.places import checkout_of
from append_prefill.plugin import ending, header, resuming, selection, xdist
from append_prefill.plugin.options import options_of, seed_of
from append_prefill.plugin.signals import die_with, end_as_interrupted
from append_prefill.plugin.state import (
    CREATED,
    FOLDER,
    FOLLOWER,
    FRESH,
    HELD,
    REFERENCES,
    RESUMED,
    SEED,
    SESSION,
    SETTINGS,
    measuring,
)
from append_prefill.plugin.xdist import told, worker_pids
from append_prefill.records.baselines import refuse_overwrite
from append_prefill.run import hosts
from append_prefill.run.confirming import refuse_other
from append_prefill.run.folders import new_folder
from append_prefill.run.identity import identity_for
from append_prefill.run.progress import PROGRESS, Follower
from append_prefill.run.references import References, gather
from append_prefill.run.resolve import resolve
from append_prefill.run.resume import hold, refuse_changed
from append_prefill.run.settings import Settings


def begin(config: pytest.Config) -> None:
    """Check the options, make the run's folder and join in. Raises pytest.UsageError."""
    for part in (sys.modules[__name__], header, selection, xdist, ending):
        config.pluginmanager.register(part)
    worker = told(config, "folder") is not None
    if worker:
        die_with(told(config, "controller"))
    config.add_cleanup(end_as_interrupted(lambda: worker_pids(config)))
    try:
        resuming.begin(config)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from error
    resumed = config.stash.get(RESUMED, None)
    seed = told(config, "seed") if worker else seed_of(config)
    created = datetime.now(UTC)
    if worker:
        created = datetime.fromisoformat(told(config, "created_at"))
    report_dir = config.invocation_params.dir / config.getoption("--report-dir")
    if resumed is not None:
        created, report_dir = resumed.run.created_at, resumed.folder.parent
    config.stash[SEED], config.stash[CREATED] = seed, created
    try:
        settings = resolve(options_of(config, seed), _root(config))
        if resumed is not None and not worker:
            refuse_changed(resumed, settings)
        if settings.suspicion is not None:
            refuse_other(
                settings.suspicion,
                identity_for(settings),
                settings.profile,
                settings.candidate.version,
                option="--confirms",
            )
        config.stash[REFERENCES] = _references(settings, report_dir, created)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from error
    except AppendPrefillError as error:
        pytest.exit(str(error), returncode=error.exit_status)
    config.stash[SETTINGS] = settings
    if worker:
        config.stash[SETTINGS] = hosts.one_of(settings, told(config, "hosts"))
        config.stash[FOLDER], _ = hosts.place(Path(told(config, "folder")), told(config, "token"))
        return
    name = settings.candidate.version or settings.candidate.label
    config.stash[FRESH] = [one for one in (report_dir, *report_dir.parents) if not one.exists()]
    try:
        folder = new_folder(report_dir, created, name) if resumed is None else resumed.folder
        config.stash[HELD] = hold(folder)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from error
    except OSError as error:
        problem = f"cannot be written to: {error.strerror or error}."
        remedy = "Give a folder where files can be written."
        raise pytest.UsageError(
            str(UsageError("--report-dir", report_dir, problem, remedy))
        ) from error
    config.stash[FOLDER] = folder
    # The run's folder always holds the JUnit file; one asked for elsewhere is copied in the end.
    if config.option.xmlpath is None:
        config.option.xmlpath = str(folder / "junit.xml")


def _root(config: pytest.Config) -> Path:
    """Where `.tox/` and `baselines/` are: the checkout, or outside one the invocation's folder.

    Not pytest's rootdir, which moves when an option's value is a path (`--sglang /a/python`).
    """
    here = config.invocation_params.dir
    return checkout_of(here) or here


def _references(settings: Settings, report_dir: Path, created: datetime) -> References:
    """What to compare with. Raises UsageError for all that is wrong with it or with saving."""
    options, profile = settings.options, settings.profile
    identity = identity_for(settings)
    if options.save_baseline:
        refuse_overwrite(
            settings.baselines,
            identity,
            settings.candidate.version,
            not_binding=profile.identity_not_binding,
            points=profile.points,
        )
    return gather(
        settings.baselines,
        report_dir,
        options.baseline,
        identity=identity,
        version=settings.candidate.version,
        profile=profile,
        now=created,
        shipped=settings.shipped,
    )


def pytest_collection_finish(session: pytest.Session) -> None:
    """Plan the run once it is known which tests, and so which experiments, were selected."""
    config = session.config
    if SETTINGS not in config.stash or SESSION in config.stash:
        return
    selected = selection.selection_of(session.items)
    try:
        if RESUMED in config.stash:
            resuming.refuse_other_selection(config, selected, config.stash[FOLDER])
        config.stash[SESSION] = selection.session_of(config, selected)
        selection.keep(selected, config.stash[FOLDER])
    except UsageError as error:
        raise pytest.UsageError(str(error)) from error
    except AppendPrefillError as error:
        pytest.exit(str(error), returncode=error.exit_status)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Show the progress of all workers where the terminal is."""
    config = session.config
    if FOLDER in config.stash and not hasattr(config, "workerinput"):
        path = config.stash[FOLDER] / PROGRESS
        # Of a run that is gone on with, what was shown when it was begun is not shown again.
        shown_bytes = path.stat().st_size if RESUMED in config.stash else 0
        config.stash[FOLLOWER] = Follower(path, _line_printer(config), shown_bytes)


def _line_printer(config: pytest.Config) -> Callable[[str], None]:
    capture = config.pluginmanager.getplugin("capturemanager")
    terminal = config.pluginmanager.getplugin("terminalreporter")
    console = Console(highlight=False, soft_wrap=True)

    def show(line: str) -> None:
        with contextlib.nullcontext() if capture is None else capture.global_and_fixture_disabled():
            if terminal is not None:
                terminal.ensure_newline()  # not behind the name of the test that waits
            console.print(line, markup=False)

    return show


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Let every worker measure, also one that no test is handed to: its device is there to use."""
    config = session.config
    if not (SESSION in config.stash and hasattr(config, "workerinput")):
        return
    if measuring(session.items):
        # Kept, and raised again for the first test that asks.
        with contextlib.suppress(Exception):
            _ = config.stash[SESSION].judged
