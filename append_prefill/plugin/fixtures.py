"""The fixtures that the tests of `perf_tests/` use; what is heavy they import when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from append_prefill.errors import AppendPrefillError
from append_prefill.plugin.options import LOAD_MARKER, MARKER
from append_prefill.plugin.state import FOLLOWER, INFRASTRUCTURE, LIVE, SESSION, SETTINGS, measuring

AS_A_WHOLE = "as-a-whole"
"""Stands for all experiments in other traffic together, whose mean makes a verdict too."""

if TYPE_CHECKING:
    from append_prefill.engines.base import RunningServer
    from append_prefill.records.run import Finding, Run
    from append_prefill.run.outcome import Outcome
    from append_prefill.run.session import Session
    from append_prefill.run.settings import Settings
    from append_prefill.workload.points import Point


@pytest.fixture(scope="session")
def append_prefill_session(request: pytest.FixtureRequest) -> Session:
    """The run. Skips where no run was asked for (`-m append_prefill`)."""
    if SESSION not in request.config.stash:
        pytest.skip(f"measures a server: run pytest -m {MARKER}")
    return request.config.stash[SESSION]


@pytest.fixture(scope="session")
def measured(append_prefill_session: Session, request: pytest.FixtureRequest) -> Run:
    """The judged record of this run; the first test that asks for it waits for the measuring."""
    try:
        return append_prefill_session.judged
    except AppendPrefillError as error:
        problem = str(error)
    finally:
        # Before pytest captures the next phase: a line that is shown just then would be lost.
        if FOLLOWER in request.config.stash:
            request.config.stash[FOLLOWER].show_rest()
    # The text is for the user, once; the way through our own code would only bury it.
    pytest.fail(problem, pytrace=False)


@pytest.fixture
def finding(measured: Run, request: pytest.FixtureRequest) -> Callable[[str], Finding]:
    """Call it with a finding's id: returns the finding if it holds.

    It fails the test if the finding is broken, and skips it with the reason if nothing can be said.
    """
    from append_prefill.run.outcome import settle_finding  # noqa: PLC0415 (see `plugin`)

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
    from append_prefill.run.outcome import settle_comparison  # noqa: PLC0415 (see `plugin`)

    strict = request.config.getoption("--strict-verdicts")

    def hold(point: Point | None) -> None:
        made = measured.comparison
        effect = next((e for e in made.points if e.point == point), None) if made else None
        if effect is not None:
            # Where the point is skipped the summary has one line for all like it.
            request.node.user_properties += [
                (name, str(getattr(effect, name))) for name in ("verdict", "ratio", "low", "high")
            ]
        _settle(settle_comparison(made, point, strict=strict))

    return hold


@pytest.fixture
def hold_traffic(measured: Run, request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Call it with the id of an experiment in other traffic: fails on a regression there.

    With `AS_A_WHOLE` of all that were measured, taken together.
    """
    from append_prefill.run.outcome import (  # noqa: PLC0415 (see `plugin`)
        settle_comparison,
        settle_mean,
    )

    strict = request.config.getoption("--strict-verdicts")

    def hold(experiment_id: str) -> None:
        if experiment_id == AS_A_WHOLE:
            _settle(settle_mean(measured.traffic_mean))
            return
        result = next(t for t in measured.traffic if t.experiment == experiment_id)
        if result.comparison is not None:
            request.node.user_properties.append(("verdict", result.comparison.verdict))
        _settle(settle_comparison(result.comparison, None, strict=strict))

    return hold


@pytest.fixture(scope="module")
def live_server(
    request: pytest.FixtureRequest,
    append_prefill_session: Session,
) -> Iterator[RunningServer]:
    """A server of the candidate's for property tests, started after any measuring is over."""
    if measuring(request.session.items):
        request.getfixturevalue("measured")
    request.config.stash[LIVE] = True
    try:
        with append_prefill_session.live_server() as server:
            yield server
    except AppendPrefillError as error:
        problem = str(error)
    else:
        return
    request.config.stash[INFRASTRUCTURE] = problem
    pytest.fail(problem, pytrace=False)


def _settle(outcome: Outcome) -> None:
    __tracebackhide__ = True
    if outcome.kind == "fail":
        pytest.fail(outcome.text, pytrace=False)
    if outcome.kind == "skip":
        pytest.skip(outcome.text)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrise `planned_point` over the points, `profile_finding` over the profile's claims,
    `planned_traffic` over its experiments in other traffic and `traffic_finding` over what is found
    in it.
    """
    settings = metafunc.config.stash.get(SETTINGS, None)
    if "planned_point" in metafunc.fixturenames:
        points: tuple[Point, ...] = ()
        if settings is not None:
            points = settings.plan().all_points
        metafunc.parametrize("planned_point", points, ids=[p.label for p in points])
    if "profile_finding" in metafunc.fixturenames:
        metafunc.parametrize("profile_finding", _claims(settings))
    if "planned_traffic" in metafunc.fixturenames:
        metafunc.parametrize("planned_traffic", _traffic(settings))
    if "traffic_finding" in metafunc.fixturenames:
        metafunc.parametrize("traffic_finding", _traffic_findings(settings))


def _traffic(settings: Settings | None) -> list[Any]:
    """Likewise the ids of the profile's experiments in other traffic."""
    mark = getattr(pytest.mark, MARKER)
    if settings is None:
        return [pytest.param("", marks=mark, id="of-the-profile")]
    load = [getattr(pytest.mark, LOAD_MARKER)]
    alone = [
        pytest.param(e.id, marks=[mark(e.id), *(load if e.heavy else [])], id=e.id)
        for e in settings.profile.traffic
    ]
    together = []
    for heavy, name in ((False, AS_A_WHOLE), (True, f"heavy-{AS_A_WHOLE}")):
        ids = [e.id for e in settings.profile.traffic if e.heavy == heavy]
        marks = [mark(*ids), *(load if heavy else [])]
        together += [pytest.param(AS_A_WHOLE, marks=marks, id=name)] if len(ids) > 1 else []
    return [*alone, *together]


def _traffic_findings(settings: Settings | None) -> list[Any]:
    """What is found of conversations, company and a P/D pair, marked with the experiments that show
    it.
    """
    from append_prefill.workload.pd_pair import EXPERIMENT, FINDING  # noqa: PLC0415 (see `plugin`)

    mark = getattr(pytest.mark, MARKER)
    if settings is None:
        return [pytest.param("", marks=mark, id="of-the-profile")]
    load = getattr(pytest.mark, LOAD_MARKER)
    traffic = settings.profile.traffic
    talks = [e.id for e in traffic if e.context != "primed" and not e.heavy]
    beside = [e.id for e in traffic if e.traffic.company_kind == "beside"]
    pair = [] if settings.profile.pd_pair is None else [EXPERIMENT]
    found = [
        ("reply_cached", talks, []),
        ("decode_interference", beside, [load]),
        (FINDING, pair, [load]),
    ]
    return [
        pytest.param(name, marks=[mark(*ids), *more], id=name) for name, ids, more in found if ids
    ]


def _claims(settings: Settings | None) -> list[Any]:
    """The ids of the profile's own findings, each marked with the experiment it needs.

    Where no run was asked for, one that is deselected like everything else that measures.
    """
    mark = getattr(pytest.mark, MARKER)
    if settings is None:
        return [pytest.param("", marks=mark, id="of-the-profile")]
    return [
        pytest.param(claim.id, marks=mark(experiment.id), id=claim.id)
        for experiment in settings.profile.experiments
        for claim in experiment.findings
    ]
