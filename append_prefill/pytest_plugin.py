"""The pytest plugin: thin hooks around one `Session`.

The controller (or the only process) makes the run's folder, follows its progress and writes the
report; every worker measures what it can claim and judges the tests it was given.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from append_prefill.engines.base import RunningServer
from append_prefill.errors import (
    EXIT_INCONCLUSIVE,
    EXIT_INFRASTRUCTURE,
    EXIT_REGRESSION,
    AppendPrefillError,
    UsageError,
)
from append_prefill.outcome import Outcome, settle_comparison, settle_finding
from append_prefill.probe.plan import make_plan
from append_prefill.progress import Follower, ProgressLog
from append_prefill.pytest_options import MARKER, add_options, is_run, options_of, seed_of
from append_prefill.records.baselines import refuse_overwrite
from append_prefill.records.run import Finding, Run
from append_prefill.references import References, gather
from append_prefill.report.terminal import summary_lines
from append_prefill.runs import close_run, new_folder
from append_prefill.session import Session, Worker, identity_of
from append_prefill.settings import Settings, resolve
from append_prefill.workload.points import Point

SETTINGS = pytest.StashKey[Settings]()
SESSION = pytest.StashKey[Session]()
FOLDER = pytest.StashKey[Path]()
CREATED = pytest.StashKey[datetime]()
SEED = pytest.StashKey[int]()
REFERENCES = pytest.StashKey[References]()
INFRASTRUCTURE = pytest.StashKey[str]()
FOLLOWER = pytest.StashKey[Follower]()
TOLD = "append_prefill_infrastructure"
SELECTION_FILE = "selection.json"
FINISHED = pytest.StashKey[tuple[Run, str | None]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{MARKER}(*experiments): measures a real server; runs only with `-m {MARKER}`. Names the "
        "experiments whose points it needs, none meaning all",
    )
    if not is_run(config) or config.option.collectonly or config.option.help:
        return
    received = getattr(config, "workerinput", None)
    seed = received["append_prefill_seed"] if received else seed_of(config)
    created = datetime.now(UTC)
    if received:
        created = datetime.fromisoformat(received["append_prefill_created_at"])
    report_dir = config.invocation_params.dir / config.getoption("--report-dir")
    config.stash[SEED], config.stash[CREATED] = seed, created
    try:
        settings = resolve(options_of(config, seed), _repository(config))
        config.stash[REFERENCES] = _references(settings, report_dir, created)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from error
    except AppendPrefillError as error:
        pytest.exit(str(error), returncode=error.exit_status)
    config.stash[SETTINGS] = settings
    if received:
        config.stash[FOLDER] = Path(received["append_prefill_folder"])
        return
    name = settings.candidate.version or settings.candidate.label
    config.stash[FOLDER] = folder = new_folder(report_dir, created, name)
    # The run's folder always holds the JUnit file; one asked for elsewhere is copied in the end.
    if config.option.xmlpath is None:
        config.option.xmlpath = str(folder / "junit.xml")


def _repository(config: pytest.Config) -> Path:
    """Where `.tox/` and `baselines/` are: the invocation's folder or the nearest one above.

    Not pytest's rootdir, which moves when an option's value is a path (`--sglang /a/python`).
    """
    here = config.invocation_params.dir
    known = (folder for folder in (here, *here.parents) if (folder / "perf_tests").is_dir())
    return next(known, config.rootpath)


def _references(settings: Settings, report_dir: Path, created: datetime) -> References:
    """What to compare with. Raises UsageError for all that is wrong with it or with saving."""
    options, profile = settings.options, settings.profile
    baselines, identity = settings.root / "baselines", identity_of(settings)
    if options.save_baseline:
        refuse_overwrite(
            baselines,
            identity,
            settings.candidate.version,
            not_binding=profile.identity_not_binding,
        )
    return gather(
        baselines,
        report_dir,
        options.baseline,
        identity=identity,
        version=settings.candidate.version,
        profile=profile,
        now=created,
    )


def pytest_configure_node(node: Any) -> None:  # an xdist WorkerController
    """Hand the run's folder, seed and start time to a worker (hook of pytest-xdist)."""
    if FOLDER in node.config.stash:
        node.workerinput["append_prefill_folder"] = str(node.config.stash[FOLDER])
        node.workerinput["append_prefill_created_at"] = node.config.stash[CREATED].isoformat()
        node.workerinput["append_prefill_seed"] = node.config.stash[SEED]


pytest_configure_node = pytest.hookimpl(optionalhook=True)(pytest_configure_node)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if is_run(config):
        return
    measuring = [item for item in items if item.get_closest_marker(MARKER)]
    if measuring:
        config.hook.pytest_deselected(items=measuring)
        items[:] = [item for item in items if item not in measuring]


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
    plan = make_plan(
        profile,
        seed=options.seed,
        sides=("candidate", "reference") if settings.reference else ("candidate",),
        experiments=experiments,
        starts=options.starts,
        samples=options.samples,
        budget_minutes=options.budget_minutes,
    )
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
    needed = any("measured" in getattr(item, "fixturenames", ()) for item in session.items)
    if needed and SESSION in config.stash and hasattr(config, "workerinput"):
        # Kept, and raised again for the first test that asks.
        with contextlib.suppress(Exception):
            _ = config.stash[SESSION].judged


@pytest.fixture(scope="session")
def append_prefill_session(request: pytest.FixtureRequest) -> Session:
    """The run. Skips where no run was asked for (`-m append_prefill`)."""
    if SESSION not in request.config.stash:
        pytest.skip(f"measures a server: run pytest -m {MARKER}")
    return request.config.stash[SESSION]


@pytest.fixture(scope="session")
def measured(append_prefill_session: Session) -> Run:
    """The judged record of this run; the first test that asks for it waits for the measuring."""
    try:
        return append_prefill_session.judged
    except AppendPrefillError as error:
        # The text is for the user; the way through our own code would only bury it.
        pytest.fail(str(error), pytrace=False)


@pytest.fixture
def finding(measured: Run, request: pytest.FixtureRequest) -> Callable[[str], Finding]:
    """Call it with a finding's id: returns the finding if it holds.

    It fails the test if the finding is broken, and skips it with the reason if nothing can be said.
    """
    strict = request.config.getoption("--strict-verdicts")

    def judged(finding_id: str) -> Finding:
        found = next((f for f in measured.findings if f.id == finding_id), None)
        if found is None:
            known = ", ".join(f.id for f in measured.findings)
            pytest.fail(f"no finding is called {finding_id!r}; there are {known}")
        # For the JUnit case; pytest's fixture for them warns about its own default family.
        request.node.user_properties += [
            (name, str(getattr(found, name)))
            for name in ("verdict", "measured", "low", "high", "bound")
        ]
        _settle(settle_finding(found, strict=strict))
        return found

    return judged


@pytest.fixture
def hold_against_reference(
    measured: Run, request: pytest.FixtureRequest
) -> Callable[[Point | None], None]:
    """Call it with a point, or None for the whole surface: fails on a regression there."""
    strict = request.config.getoption("--strict-verdicts")

    def hold(point: Point | None) -> None:
        _settle(settle_comparison(measured.comparison, point, strict=strict))

    return hold


@pytest.fixture(scope="module")
def live_server(
    request: pytest.FixtureRequest,
    append_prefill_session: Session,
    measured: Run,  # noqa: ARG001 (the measuring must be over before another server starts)
) -> Iterator[RunningServer]:
    """A server of the candidate's for property tests, started after the measuring is over."""
    try:
        with append_prefill_session.live_server() as server:
            yield server
    except AppendPrefillError as error:
        request.config.stash[INFRASTRUCTURE] = str(error)
        pytest.fail(str(error), pytrace=False)


def _settle(outcome: Outcome) -> None:
    __tracebackhide__ = True
    if outcome.kind == "fail":
        pytest.fail(outcome.text, pytrace=False)
    if outcome.kind == "skip":
        pytest.skip(outcome.text)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrise `planned_point` over the profile's points and those drawn from the seed."""
    if "planned_point" not in metafunc.fixturenames:
        return
    settings = metafunc.config.stash.get(SETTINGS, None)
    points: tuple[Point, ...] = ()
    if settings is not None:
        points = make_plan(
            settings.profile, seed=settings.options.seed, sides=("candidate",)
        ).all_points
    metafunc.parametrize("planned_point", points, ids=[p.label for p in points])


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write record and report, and set the exit status the verdict calls for."""
    config = session.config
    if FOLLOWER in config.stash:
        config.stash[FOLLOWER].stop()
    if SETTINGS not in config.stash:
        return
    output: dict[str, Any] | None = getattr(config, "workeroutput", None)
    if output is not None:
        if INFRASTRUCTURE in config.stash:
            output[TOLD] = config.stash[INFRASTRUCTURE]
        return
    try:
        _close(session)
    except Exception:  # noqa: BLE001 (reported whole, and red: what was measured is on disk)
        config.stash[INFRASTRUCTURE] = traceback.format_exc()
        session.exitstatus = EXIT_INFRASTRUCTURE


def _close(session: pytest.Session) -> None:
    config = session.config
    run_session = _finished_session(config)
    if run_session is None or not run_session.began:
        if session.exitstatus == pytest.ExitCode.OK and session.testscollected:
            config.stash[INFRASTRUCTURE] = "No selected test measured anything."
            session.exitstatus = EXIT_INFRASTRUCTURE
        return
    run, problem = run_session.finish()
    config.stash[FINISHED] = (run, problem)
    session.exitstatus = exit_status(
        run,
        int(session.exitstatus),
        strict=config.getoption("--strict-verdicts"),
        infrastructure=INFRASTRUCTURE in config.stash,
    )
    close_run(run_session, run)


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str, sched: Any) -> None:
    """A crashed worker is no regression, whatever test it happened in (hook of pytest-xdist)."""
    if SETTINGS in sched.config.stash:
        sched.config.stash[INFRASTRUCTURE] = f"A worker crashed while it ran {crashitem}."


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear from a worker what failed beside the measuring (hook of pytest-xdist)."""
    told = getattr(node, "workeroutput", {}).get(TOLD)
    if told is not None:
        node.config.stash[INFRASTRUCTURE] = told


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


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Keep a copy of a JUnit file that was asked for elsewhere."""
    if FOLDER not in config.stash or hasattr(config, "workerinput"):
        return
    written = Path(os.path.expandvars(config.option.xmlpath)).expanduser()
    wanted = config.stash[FOLDER] / "junit.xml"
    if written.exists() and written.resolve() != wanted.resolve():
        shutil.copyfile(written, wanted)
