"""The end of a run: record and report written, the exit status set, the verdict said last."""

from __future__ import annotations

import os
import shutil
import traceback
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from _pytest.junitxml import xml_key

from append_prefill.analysis.confirming import answers_of
from append_prefill.analysis.trend.lineages import Followed
from append_prefill.errors import (
    EXIT_INCONCLUSIVE,
    EXIT_INFRASTRUCTURE,
    EXIT_REGRESSION,
    AppendPrefillError,
    StorageError,
)
from append_prefill.places import TESTS_PACKAGE
from append_prefill.plugin import selection, xdist
from append_prefill.plugin.options import MARKER
from append_prefill.plugin.program import program_of
from append_prefill.plugin.signals import ignore_sigterm
from append_prefill.plugin.state import (
    DELIVERED,
    FINISHED,
    FOLDER,
    FOLLOWER,
    FRESH,
    INFRASTRUCTURE,
    KEPT,
    LIVE,
    NOTHING,
    RESUMED,
    SESSION,
    SETTINGS,
)
from append_prefill.records.run import Run
from append_prefill.report.history.note import history_lines, note_of
from append_prefill.report.terminal import last_lines, summary_lines
from append_prefill.report.words import Tone, word_of
from append_prefill.run import hosts
from append_prefill.run.folders import Kept, close_run
from append_prefill.run.identity import identity_for
from append_prefill.run.resume import begun
from append_prefill.run.session import Session


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, object, object]:
    """Write record and report, and set the exit status the verdict calls for.

    Around the others' part, pytest's JUnit file among it: what that cannot write is one line, too.
    """
    _finish(session)
    try:
        return (yield)
    except OSError as error:
        # What went wrong before is told first.
        session.config.stash.setdefault(
            INFRASTRUCTURE, str(StorageError(error.filename or "the JUnit file", error))
        )
        session.exitstatus = EXIT_INFRASTRUCTURE
    return None


def _finish(session: pytest.Session) -> None:
    config = session.config
    ignore_sigterm()
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
    except AppendPrefillError as error:
        config.stash[INFRASTRUCTURE] = str(error)
        session.exitstatus = EXIT_INFRASTRUCTURE
    except Exception:  # noqa: BLE001 (reported whole, and red: what was measured is on disk)
        config.stash[INFRASTRUCTURE] = traceback.format_exc()
        session.exitstatus = EXIT_INFRASTRUCTURE


def _close(session: pytest.Session) -> None:
    config = session.config
    run_session = _finished_session(config)
    delivered = config.stash.get(DELIVERED, [])
    if run_session is None or not (run_session.began or delivered):
        if run_session is not None and isinstance(run_session.failure, AppendPrefillError):
            # It failed before there was anything to make a record of.
            config.stash.setdefault(INFRASTRUCTURE, str(run_session.failure))
            session.exitstatus = EXIT_INFRASTRUCTURE
            return
        told_nothing = session.testscollected and not config.stash.get(LIVE, False)
        if session.exitstatus == pytest.ExitCode.OK and told_nothing:
            config.stash[INFRASTRUCTURE] = "No selected test measured anything."
            session.exitstatus = EXIT_INFRASTRUCTURE
        return
    own = identity_for(config.stash[SETTINGS])
    taken = [hosts.take_over(one, config.stash[FOLDER], own) for one in hosts.latest(delivered)]
    run, problem = run_session.finish(
        [warning for warning in taken if warning is not None],
        interrupted=session.exitstatus == pytest.ExitCode.INTERRUPTED,
    )
    config.stash[FINISHED] = (run, problem)
    session.exitstatus = exit_status(
        run,
        int(session.exitstatus),
        strict=config.getoption("--strict-verdicts"),
        infrastructure=INFRASTRUCTURE in config.stash,
    )
    kept = config.stash[KEPT] = close_run(run_session, run)
    if run.confirms is not None:
        session.exitstatus = answered_status(run, int(session.exitstatus))
    if kept.followed is not None:
        session.exitstatus = followed_status(
            run, int(session.exitstatus), kept.followed, new_only=config.getoption("--new-only")
        )


def _finished_session(config: pytest.Config) -> Session | None:
    """The session to close: this process's, or on xdist's controller that of its workers."""
    if FOLDER not in config.stash or hasattr(config, "workerinput"):
        return None
    if RESUMED in config.stash and not begun(config.stash[RESUMED]):
        return None  # refused, or nothing selected: the folder stays as it was left
    selected = selection.kept(config.stash[FOLDER])
    if SESSION not in config.stash and selected is not None:
        config.stash[SESSION] = selection.session_of(config, selected)
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


def answered_status(run: Run, status: int) -> int:
    """The exit status of a run that measures a suspicion again: what it says of that."""
    if status not in (pytest.ExitCode.OK, EXIT_REGRESSION, EXIT_INCONCLUSIVE):
        return status
    answers = set(answers_of(run).values())
    if "confirmed" in answers:
        return EXIT_REGRESSION
    return int(pytest.ExitCode.OK) if answers == {"withdrawn"} else EXIT_INCONCLUSIVE


def followed_status(run: Run, status: int, followed: Followed, *, new_only: bool) -> int:
    """The exit status once the run is in its history.

    An alert that this run opens is red, also where the run alone shows nothing, as a creep.
    `new_only`: what an earlier run opened, or someone accepted, is not red again.
    """
    if status not in (pytest.ExitCode.OK, EXIT_REGRESSION, EXIT_INCONCLUSIVE):
        return status
    if followed.new:
        return EXIT_REGRESSION
    known = any(alert.open or alert.state == "accepted" for alert in followed.alerts)
    if new_only and known and run.verdict in ("regression", "broken"):
        return int(pytest.ExitCode.OK)
    return status


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """What was found, above the list of skipped and failed tests."""
    infrastructure = config.stash.get(INFRASTRUCTURE, None)
    if FINISHED not in config.stash and infrastructure is None:
        return
    terminalreporter.section("append-prefill")
    if infrastructure is not None:
        terminalreporter.write_line(infrastructure)
    if FINISHED not in config.stash:
        return
    run, problem = config.stash[FINISHED]
    for line in summary_lines(run, problem):
        terminalreporter.write_line(line)
    for line in _history_lines(config.stash.get(KEPT, None)):
        terminalreporter.write_line(line)


def _history_lines(kept: Kept | None) -> list[str]:
    if kept is None:
        return []
    if kept.problem is not None:
        return [f"warning: this run is not in the history. {kept.problem}"]
    if kept.not_joined is not None:
        return [f"warning: the run that suspects does not know of this one. {kept.not_joined}"]
    return [] if kept.followed is None else history_lines(note_of(kept.followed))


def _forget_junit(config: pytest.Config) -> None:
    """Keep pytest from naming a JUnit file that goes with the run's folder."""
    xml = config.stash.get(xml_key, None)
    if xml is not None and Path(xml.logfile).parent == config.stash[FOLDER]:
        config.pluginmanager.unregister(xml)
        del config.stash[xml_key]


def _take_back_folder(config: pytest.Config) -> None:
    """Leave no folder of a run that no test was selected for, and say what would select some."""
    if RESUMED not in config.stash:
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
    """Tidy up after no run; else the last lines: what to do next, the report, the verdict."""
    if FOLDER not in config.stash or hasattr(config, "workerinput"):
        return
    if config.stash.get(NOTHING, False):
        _take_back_folder(config)
        return
    _keep_junit(config)
    _end_with_the_verdict(config)


def _keep_junit(config: pytest.Config) -> None:
    written = Path(os.path.expandvars(config.option.xmlpath)).expanduser()
    wanted = config.stash[FOLDER] / "junit.xml"
    if written.exists() and written.resolve() != wanted.resolve():
        shutil.copyfile(written, wanted)


def _end_with_the_verdict(config: pytest.Config) -> None:
    """Behind all that pytest and its other plugins have to say."""
    terminal = config.pluginmanager.getplugin("terminalreporter")
    if terminal is None:
        return
    if FINISHED in config.stash:
        run, _ = config.stash[FINISHED]
        lines = last_lines(run, program_of(config), keepable=_keepable(config))
        tone = word_of(run.verdict).tone
    elif INFRASTRUCTURE in config.stash:
        lines = [f"verdict: INFRASTRUCTURE. {config.stash[INFRASTRUCTURE].splitlines()[-1]}"]
        tone = "infra"
    else:
        return
    for line in lines[:-1]:
        terminal.write_line(line)
    terminal.write_line(lines[-1], bold=True, **{_COLOURS[tone]: True})


def _keepable(config: pytest.Config) -> bool:
    """Whether the run measured all that a baseline has to have, and was not stored as one."""
    options = config.stash[SETTINGS].options
    selected = selection.kept(config.stash[FOLDER])
    whole = selected is not None and selected.experiments is None
    return whole and not (options.quick or options.save_baseline or options.starts == 1)


_COLOURS: dict[Tone, str] = {
    "bad": "red",
    "infra": "red",
    "unsure": "yellow",
    "plain": "yellow",
    "good": "green",
    "better": "green",
}
