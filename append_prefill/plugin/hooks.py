"""The plugin's part in a run: thin hooks around one `Session`, registered by `begin`.

The controller (or the only process) makes the run's folder, follows its progress and writes the
report; every worker measures what it can claim and judges the tests it was given. The fixtures are
in `fixtures`, what passes between controller and workers in `xdist`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from _pytest.junitxml import xml_key
from rich.console import Console

from append_prefill.errors import (
    EXIT_INCONCLUSIVE,
    EXIT_INFRASTRUCTURE,
    EXIT_REGRESSION,
    AppendPrefillError,
    UsageError,
)
from append_prefill.places import TESTS_PACKAGE, checkout_of
from append_prefill.plugin import header, xdist
from append_prefill.plugin.options import MARKER, options_of, seed_of
from append_prefill.plugin.state import (
    CREATED,
    DELIVERED,
    FINISHED,
    FOLDER,
    FOLLOWER,
    FRESH,
    INFRASTRUCTURE,
    LIVE,
    NOTHING,
    REFERENCES,
    SEED,
    SELECTION_FILE,
    SESSION,
    SETTINGS,
    measuring,
)
from append_prefill.plugin.xdist import told
from append_prefill.records.baselines import refuse_overwrite
from append_prefill.records.run import Run
from append_prefill.report.terminal import summary_lines
from append_prefill.run import hosts
from append_prefill.run.folders import close_run, new_folder
from append_prefill.run.progress import Follower, ProgressLog
from append_prefill.run.references import References, gather
from append_prefill.run.session import Session, Worker, identity_for
from append_prefill.run.settings import Settings, resolve


def begin(config: pytest.Config) -> None:
    """Check the options, make the run's folder and join in. Raises pytest.UsageError."""
    for part in (sys.modules[__name__], header, xdist):
        config.pluginmanager.register(part)
    worker = told(config, "folder") is not None
    seed = told(config, "seed") if worker else seed_of(config)
    created = datetime.now(UTC)
    if worker:
        created = datetime.fromisoformat(told(config, "created_at"))
    report_dir = config.invocation_params.dir / config.getoption("--report-dir")
    config.stash[SEED], config.stash[CREATED] = seed, created
    try:
        settings = resolve(options_of(config, seed), _root(config))
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
    config.stash[FOLDER] = folder = new_folder(report_dir, created, name)
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
    experiments = _experiments(session.items)
    try:
        config.stash[SESSION] = _session(config, config.stash[SETTINGS], experiments)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from error
    # xdist's controller collects nothing: it reads here what its workers selected.
    (config.stash[FOLDER] / SELECTION_FILE).write_text(json.dumps(experiments), encoding="utf-8")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Show the progress of all workers where the terminal is."""
    config = session.config
    if FOLDER in config.stash and not hasattr(config, "workerinput"):
        config.stash[FOLLOWER] = Follower(
            config.stash[FOLDER] / "progress.log", _line_printer(config)
        )


def _session(config: pytest.Config, settings: Settings, experiments: list[str] | None) -> Session:
    options, profile = settings.options, settings.profile
    known = [e.id for e in profile.experiments]
    unknown = [name for name in experiments or [] if name not in known]
    if unknown:
        raise UsageError(
            "--profile",
            profile.name,
            f"has no experiment {', '.join(unknown)}, which a selected test needs.",
            f"It has {', '.join(known)}; add the experiment to it, or use another profile.",
        )
    if options.save_baseline and experiments is not None and set(experiments) < set(known):
        raise UsageError(
            "--save-baseline",
            "",
            f"with only {', '.join(experiments)} selected would store a part as the whole.",
            "Select all tests, or drop --save-baseline.",
        )
    received = getattr(config, "workerinput", {})
    worker = Worker(
        int(received["workerid"].removeprefix("gw")) if received else 0,
        int(received.get("workercount", 0) or getattr(config.option, "numprocesses", 0) or 1),
    )
    plan = settings.plan(experiments)
    settings.check_fits(plan)
    return Session(
        settings,
        plan,
        config.stash[FOLDER],
        config.stash[CREATED],
        references=config.stash[REFERENCES],
        worker=worker,
        tell=ProgressLog(
            config.stash[FOLDER] / "progress.log", received["workerid"] if received else ""
        ),
    )


def _experiments(items: list[pytest.Item]) -> list[str] | None:
    """Ids the selected tests name; None (all) as soon as one test names none."""
    named: dict[str, None] = {}
    for item in items:
        for mark in item.iter_markers(MARKER):
            if not mark.args:
                return None
            named.update(dict.fromkeys(mark.args))
    return list(named) or None


def _line_printer(config: pytest.Config) -> Callable[[str], None]:
    capture = config.pluginmanager.getplugin("capturemanager")
    console = Console(highlight=False, soft_wrap=True)

    def show(line: str) -> None:
        if capture is None:
            console.print(line, markup=False)
            return
        with capture.global_and_fixture_disabled():
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


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write record and report, and set the exit status the verdict calls for."""
    config = session.config
    if FOLLOWER in config.stash:
        config.stash[FOLLOWER].stop()
    if SETTINGS not in config.stash:
        return
    if hasattr(config, "workeroutput"):
        xdist.deliver(config)
        return
    if session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        config.stash[NOTHING] = True
        _forget_junit(config)
        return
    try:
        _close(session)
    except Exception:  # noqa: BLE001 (reported whole, and red: what was measured is on disk)
        config.stash[INFRASTRUCTURE] = traceback.format_exc()
        session.exitstatus = EXIT_INFRASTRUCTURE


def _close(session: pytest.Session) -> None:
    config = session.config
    run_session = _finished_session(config)
    delivered = config.stash.get(DELIVERED, [])
    if run_session is None or not (run_session.began or delivered):
        told_nothing = session.testscollected and not config.stash.get(LIVE, False)
        if session.exitstatus == pytest.ExitCode.OK and told_nothing:
            config.stash[INFRASTRUCTURE] = "No selected test measured anything."
            session.exitstatus = EXIT_INFRASTRUCTURE
        return
    own = identity_for(config.stash[SETTINGS])
    taken = [hosts.take_over(one, config.stash[FOLDER], own) for one in hosts.latest(delivered)]
    run, problem = run_session.finish([warning for warning in taken if warning is not None])
    config.stash[FINISHED] = (run, problem)
    session.exitstatus = exit_status(
        run,
        int(session.exitstatus),
        strict=config.getoption("--strict-verdicts"),
        infrastructure=INFRASTRUCTURE in config.stash,
    )
    close_run(run_session, run)


def _finished_session(config: pytest.Config) -> Session | None:
    """The session to close: this process's, or on xdist's controller that of its workers."""
    if FOLDER not in config.stash or hasattr(config, "workerinput"):
        return None
    selected = config.stash[FOLDER] / SELECTION_FILE
    if SESSION not in config.stash and selected.exists():
        experiments = json.loads(selected.read_text(encoding="utf-8"))
        config.stash[SESSION] = _session(config, config.stash[SETTINGS], experiments)
    return config.stash.get(SESSION, None)


def exit_status(run: Run, status: int, *, strict: bool, infrastructure: bool = False) -> int:
    """The process's exit status for a verdict, given pytest's own (see the design's list).

    `infrastructure`: something beside the measuring failed, a worker or the property tests' server.
    """
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return status
    if run.verdict == "infrastructure":
        return EXIT_INFRASTRUCTURE
    if run.verdict in ("regression", "broken"):
        return EXIT_REGRESSION
    if infrastructure:
        return EXIT_INFRASTRUCTURE
    undecided = run.verdict in ("inconclusive", "not-comparable")
    if strict and undecided:
        return EXIT_INCONCLUSIVE
    return status


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    infrastructure = config.stash.get(INFRASTRUCTURE, None)
    if FINISHED not in config.stash and infrastructure is None:
        return
    terminalreporter.section("append-prefill")
    if infrastructure is not None:
        terminalreporter.write_line(infrastructure)
    if FINISHED not in config.stash:
        return
    run, problem = config.stash[FINISHED]
    for line in summary_lines(run, config.stash[FOLDER], problem):
        terminalreporter.write_line(line)


def _forget_junit(config: pytest.Config) -> None:
    """Keep pytest from naming a JUnit file that goes with the run's folder."""
    xml = config.stash.get(xml_key, None)
    if xml is not None and Path(xml.logfile).parent == config.stash[FOLDER]:
        config.pluginmanager.unregister(xml)
        del config.stash[xml_key]


def _take_back_folder(config: pytest.Config) -> None:
    """Leave no folder of a run that no test was selected for, and say what would select some."""
    shutil.rmtree(config.stash[FOLDER])
    for folder in config.stash[FRESH]:
        folder.rmdir()
    terminal = config.pluginmanager.getplugin("terminalreporter")
    if terminal is not None:
        terminal.write_line(
            "append-prefill: no test of the suite was selected, so nothing was measured. All of "
            f"them: `append-prefill run`, or `pytest --pyargs {TESTS_PACKAGE} -m {MARKER}`."
        )


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Keep a copy of a JUnit file that was asked for elsewhere; tidy up after no run."""
    if FOLDER not in config.stash or hasattr(config, "workerinput"):
        return
    if config.stash.get(NOTHING, False):
        _take_back_folder(config)
        return
    written = Path(os.path.expandvars(config.option.xmlpath)).expanduser()
    wanted = config.stash[FOLDER] / "junit.xml"
    if written.exists() and written.resolve() != wanted.resolve():
        shutil.copyfile(written, wanted)
