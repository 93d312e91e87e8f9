"""Every rule by which a comparison comes to count, as tables: what goes in, which one speaks."""

from __future__ import annotations

import random
from typing import Any

import pytest

import append_prefill.run.judge as judging
from append_prefill.analysis.prior import ASSUMED_NIGHT_DF, prior_of
from append_prefill.analysis.summary import summarise_points, usable
from append_prefill.analysis.surface import fit_surface
from append_prefill.analysis.verdict.regime import Against
from append_prefill.records.comparison import Comparison, Effect, Look, PointEffect, Role
from append_prefill.records.grounds import ComparisonVerdict, Decision, Ground
from append_prefill.records.launch import BlockState, Void
from append_prefill.records.noise import NoiseRecord
from append_prefill.records.run import PointSummary, Run
from append_prefill.run import comparing
from append_prefill.run.against import held_against, noise_for, reference_starts
from append_prefill.run.comparing import (
    Level,
    compare_all,
    compare_references,
    compare_sides,
    compare_stored,
    paired,
)
from append_prefill.run.judge import too_few_valid
from append_prefill.run.references import References
from append_prefill.workload.points import Point
from tests.analysis.cliffs.test_jump import cliff
from tests.report.parts import Model, bare, profile, starts_of, study_points, subject

POINTS = study_points()
PROFILE = profile()
OWN, LAST, OLD = "0.5.23", "0.5.22", "0.5.10"
OTHER_DEVICE = {"driver": "1.2.3"}


def run_of(
    candidate: Model | None = None,
    reference: Model | None = None,
    *,
    seed: int = 1,
    count: int = 5,
    version: str = OWN,
    reference_version: str = LAST,
    identity: dict[str, Any] | None = None,
    **fields: Any,
) -> Run:
    rng = random.Random(seed)
    starts = []
    for side, model, of in (
        ("candidate", candidate, version),
        ("reference", reference, reference_version),
    ):
        if model is not None:
            starts += starts_of(POINTS, side, model, rng, count=count, version=of)
    made = bare(POINTS, PROFILE, starts, subject=subject(version), **fields)
    if identity:
        made.identity = {**made.identity, **identity}
    return made


def found(
    verdict: ComparisonVerdict,
    reference: str | None = LAST,
    *,
    role: Role = "chosen",
    kind: str = "baseline",
) -> Comparison:
    return Comparison(
        reference=reference or "reference",
        reference_version=reference,
        kind=kind,
        provenance="suite",
        confirmed=kind == "side-by-side",
        method=None,
        points=[],
        surface=[],
        mde=None,
        starts_needed=None,
        verdict=verdict,
        where=[],
        reason=Ground(code="undecided"),
        role=role,
    )


def live(verdict: ComparisonVerdict, reference: str | None = LAST) -> Comparison:
    return found(verdict, reference, kind="side-by-side")


def look(threshold: float, number: int = 1) -> Look:
    return Look(
        look=number,
        candidate_starts=5,
        reference_starts=5,
        threshold=threshold,
        pass_confidence=1 - threshold,
        verdict="inconclusive",
        suspects=[],
        decision=Decision(code="last"),
    )


PINNED_OLD = found("regression", OLD, role="pinned")
ROLLING_OWN = found("regression", OWN, role="rolling")

# Side by side, the stored ones, and which counts: "live" or a place among the stored.
WHICH_COUNTS: list[tuple[str, Comparison | None, list[Comparison], str | int | None]] = [
    ("nothing to compare with", None, [], None),
    ("one stored", None, [found("pass")], 0),
    ("the chosen one of two without a regression", None,
     [found("inconclusive"), found("improvement", OLD, role="pinned")], 0),
    ("the pinned one that sees a regression", None, [found("pass"), PINNED_OLD], 1),
    ("the rolling one that sees a regression", None,
     [found("improvement"), found("pass", OLD, role="pinned"), ROLLING_OWN], 2),
    ("the first of two that see one", None, [found("pass"), PINNED_OLD, ROLLING_OWN], 1),
    ("the chosen one that sees one, before the pinned", None,
     [found("regression"), PINNED_OLD], 0),
    ("a regression before what cannot be compared", None,
     [found("not-comparable"), ROLLING_OWN], 1),
    ("side by side alone", live("pass"), [], "live"),
    ("side by side clears its own reference", live("pass"), [found("regression")], "live"),
    ("side by side clears its own reference, undecided too", live("inconclusive"),
     [found("regression")], "live"),
    ("side by side says nothing of another version", live("pass"), [PINNED_OLD], 0),
    ("nor an improvement", live("improvement"), [PINNED_OLD], 0),
    ("the other version's, behind its own reference's", live("pass"),
     [found("regression"), PINNED_OLD], 1),
    ("a stored run of this version, beside another", live("pass"), [ROLLING_OWN], 0),
    ("a version against itself clears no stored run", live("pass", OWN), [ROLLING_OWN], 0),
    ("a reference that does not tell its version clears no stored run", live("pass", None),
     [found("regression")], 0),
    ("nor one that does not tell its own", live("pass", None), [found("regression", None)], 0),
    ("side by side and stored both see one", live("regression"), [PINNED_OLD], "live"),
    ("stored without a regression", live("inconclusive"),
     [found("improvement", OLD, role="pinned")], "live"),
    ("what could not be compared side by side clears nothing", live("not-comparable"),
     [found("regression")], 0),
    ("nothing was comparable side by side, nothing is slower", live("not-comparable"),
     [found("pass")], "live"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("beside", "stored", "counts"),
    [row[1:] for row in WHICH_COUNTS],
    ids=[r[0] for r in WHICH_COUNTS],
)
def test_which_comparison_counts(monkeypatch, beside, stored, counts):
    monkeypatch.setattr(comparing, "compare_sides", lambda *_, **__: beside)
    monkeypatch.setattr(comparing, "compare_references", lambda *_, **__: stored)
    looks = [look(0.008)]
    got = compare_all(run_of(), PROFILE, References(), replicable=True, looks=looks)
    if counts is None:
        assert got is None
        return
    # The interim analyses are those of the comparison side by side, wherever it stands.
    every = [] if beside is None else [beside.model_copy(update={"looks": looks})]
    every += stored
    chosen = every[0] if counts == "live" else stored[counts]
    assert got is not None
    assert got.model_copy(update={"others": []}) == chosen
    assert got.others == [c for c in every if c is not chosen]


@pytest.mark.parametrize(
    ("thresholds", "alpha"), [((), None), ((0.008,), 0.008), ((0.008, 0.001, 0.002), 0.002)]
)
def test_side_by_side_is_judged_at_the_last_interim_analysis_level(monkeypatch, thresholds, alpha):
    asked = {}
    monkeypatch.setattr(comparing, "compare_sides", lambda *_, **options: asked.update(options))
    monkeypatch.setattr(comparing, "compare_references", lambda *_, **__: [])
    looks = [look(threshold, number + 1) for number, threshold in enumerate(thresholds)]
    compare_all(run_of(), PROFILE, References(), replicable=True, looks=looks)
    assert asked == {
        "alpha": alpha,
        "alpha_faster": None,
        "pass_confidence": 0.95 if alpha is None else 1 - alpha,
        "known": None,
    }


def test_the_asked_level_counts_before_that_of_the_last_interim_analysis(monkeypatch):
    asked = {}
    monkeypatch.setattr(comparing, "compare_sides", lambda *_, **options: asked.update(options))
    monkeypatch.setattr(comparing, "compare_references", lambda *_, **__: [])
    level, known = Level(0.004, 0.97, 0.002), prior_of(PROFILE.noise)
    options = {"looks": [look(0.008)], "level": level, "known": known}
    compare_all(run_of(), PROFILE, References(), replicable=True, **options)
    assert asked == {
        "alpha": 0.004,
        "alpha_faster": 0.002,
        "pass_confidence": 0.97,
        "known": known,
    }


def test_the_last_level_reaches_the_joint_test():
    run = run_of(Model(), Model())
    for looks, rate in (((), 0.01), ((look(0.008), look(0.001, 2)), 0.001)):
        got = compare_all(run, PROFILE, References(), replicable=True, looks=looks)
        assert got.method.alpha == pytest.approx(rate)
        assert got.method.pass_confidence == (1 - rate if looks else 0.95)


STUDY = "study"


@pytest.mark.parametrize(
    ("stored", "rate", "shares"),
    [
        (("suite",), None, [1]),
        (("suite", "suite"), None, [1 / 2, 1 / 2]),
        (("suite", "suite", "suite"), None, [1 / 3, 1 / 3, 1 / 3]),
        ((STUDY,), None, [1]),
        ((STUDY, "suite"), None, [1, 1]),
        (("suite", STUDY, "suite"), None, [1 / 2, 1 / 2, 1 / 2]),
        (("suite", "suite"), 0.2, [10, 10]),
        ((), None, []),
    ],
)
def test_stored_references_share_the_false_alarm_rate(monkeypatch, stored, rate, shares):
    """Equally, and the study, which never raises an alarm, takes no part."""
    asked = []

    def record(run, of, reference, **options):
        asked.append((reference, options))
        return found("pass")

    monkeypatch.setattr(comparing, "compare_stored", record)
    roles = ("chosen", "pinned", "rolling")
    runs = [run_of(version=OLD, provenance=provenance) for provenance in stored]
    site = noise(40)
    references = References(**dict(zip(roles, runs, strict=False)), noise=site)
    options = {} if rate is None else {"rate": rate}
    compare_references(run_of(), PROFILE, references, replicable=False, **options)
    assert [reference for reference, _ in asked] == runs
    assert [options["alpha"] for _, options in asked] == pytest.approx(
        [0.01 * share for share in shares]
    )
    assert [options["role"] for _, options in asked] == list(roles[: len(runs)])
    assert all(options["site"] is site for _, options in asked)
    assert all(options["replicable"] is False for _, options in asked)


def test_the_share_reaches_the_joint_test():
    run, old = run_of(Model()), run_of(Model(), seed=2, version=OLD)
    for references, rate in ((References(old), 0.01), (References(old, old), 0.005)):
        for got in compare_references(run, PROFILE, references, replicable=True):
            assert got.method.alpha == pytest.approx(rate)


def capture(monkeypatch) -> dict[str, Any]:
    """What `compare` is asked, by name."""
    asked: dict[str, Any] = {}

    def record(candidate, reference, **options):
        asked.update(options, candidate=candidate, reference=reference)
        return found("regression")

    monkeypatch.setattr(comparing, "compare", record)
    return asked


def half_done(run: Run) -> Run:
    """Pair 4 lacks its reference, pair 0 its candidate, which a killed worker left unfinished."""
    for start in run.starts:
        if (start.side, start.pair) == ("reference", 4):
            start.failure = "died"
        if (start.side, start.pair) == ("candidate", 0):
            start.measured_s = None
    return run


def test_side_by_side_takes_whole_pairs(monkeypatch):
    run, asked = half_done(run_of(Model(), Model())), capture(monkeypatch)
    rates = {"alpha": 0.004, "alpha_faster": 0.002, "pass_confidence": 0.97, "hold_rate": 0.3}
    compare_sides(run, PROFILE, References(), **rates)
    assert {name: asked[name] for name in rates} == rates
    assert asked["plane"] is PROFILE.plane
    for side in ("candidate", "reference"):
        assert [(s.side, s.pair) for s in asked[side]] == [(side, pair) for pair in (1, 2, 3)]
        assert paired(run.starts, side) == asked[side]
    # The times that are shown are of every launch that was measured to its end.
    shown = [[(s.side, s.pair) for s in side] for side in asked["shown"]]
    assert shown == [
        [("candidate", pair) for pair in (1, 2, 3, 4)],
        [("reference", pair) for pair in (0, 1, 2, 3)],
    ]
    assert (asked["kind"], asked["provenance"]) == ("side-by-side", "suite")
    assert asked["policy"] is PROFILE.policy


def test_a_stored_comparison_takes_every_usable_start(monkeypatch):
    """Also those of a pair whose reference failed: the stored run's pairs are its own."""
    run, baseline = half_done(run_of(Model(), Model())), half_done(run_of(Model(), Model(), seed=2))
    asked = capture(monkeypatch)
    got = compare_stored(run, PROFILE, baseline, replicable=True, role="pinned", alpha=0.005)
    for side in ("candidate", "reference"):
        assert [(s.side, s.pair) for s in asked[side]] == [("candidate", n) for n in (1, 2, 3, 4)]
    assert asked["reference"][0] is baseline.starts[1]
    assert (asked["kind"], asked["alpha"], got.role) == ("baseline", 0.005, "pinned")
    assert (asked["reference_label"], asked["reference_version"]) == (OWN, OWN)
    assert asked["plane"] is PROFILE.plane


def test_a_stored_run_that_does_not_tell_its_version_is_the_baseline(monkeypatch):
    asked = capture(monkeypatch)
    compare_stored(run_of(Model()), PROFILE, run_of(Model(), version=""), replicable=True)
    assert (asked["reference_label"], asked["reference_version"]) == ("baseline", None)


NEW, GONE = (96, 64), (97, 64)


@pytest.mark.parametrize("provenance", ["suite", "study"])
def test_points_that_only_one_run_planned_and_measured_are_named(monkeypatch, provenance):
    """One that a run planned and did not measure is not; nor is one that it drew."""
    capture(monkeypatch)
    run, old = run_of(Model(), Model()), run_of(Model(), seed=2, version=OLD, provenance=provenance)
    unmeasured, drawn = (98, 64), (99, 64)
    for of, extra in ((run, NEW), (old, GONE)):
        candidate = next(s for s in of.starts if s.side == "candidate")
        of.plan.points = [*of.plan.points, unmeasured, extra]
        for point in (extra, drawn) if of is run else (extra,):
            series = candidate.series[0].model_copy(
                update={"context_tokens": point[0], "append_tokens": point[1]}
            )
            candidate.series.append(series)
    reference = next(s for s in run.starts if s.side == "reference")
    reference.series.append(
        reference.series[0].model_copy(update={"context_tokens": GONE[0], "append_tokens": GONE[1]})
    )
    if provenance == "study":
        old.points = summarise_points(old.starts, PROFILE)
        for start in old.starts:
            start.failure = "a table has none"
    got = compare_stored(run, PROFILE, old, replicable=True)
    assert (got.only_candidate, got.only_reference) == ([NEW], [GONE])


@pytest.mark.parametrize(
    ("version", "reference_version", "label"),
    [(OWN, LAST, LAST), (OWN, OWN, OWN), (OWN, "", "reference")],
)
def test_the_reference_side_is_called_by_its_version(
    monkeypatch, version, reference_version, label
):
    asked = capture(monkeypatch)
    run = run_of(Model(), Model(), version=version, reference_version=reference_version)
    for start in run.starts[6:]:
        start.subject = {}
    compare_sides(run, PROFILE, References())
    assert asked["reference_label"] == label
    assert asked["reference_version"] == (reference_version or None)
    assert asked["alpha"] is None


@pytest.mark.parametrize("lost", ["reference", "candidate"])
def test_without_a_whole_pair_nothing_is_compared_side_by_side(lost):
    run = run_of(Model(), Model())
    for start in run.starts:
        if start.side == lost:
            start.failure = "died"
    assert compare_sides(run, PROFILE, References()) is None
    assert compare_sides(run_of(Model()), PROFILE, References()) is None


@pytest.mark.parametrize(
    ("replicable", "baseline", "verdict"),
    [
        (True, {}, "regression"),
        (True, {"replicated": True}, "regression"),
        (True, {"replicated": None}, "regression"),  # a record from before it was written
        (False, {"replicated": True}, "inconclusive"),
        (True, {"replicated": False}, "inconclusive"),
        (False, {"replicated": False}, "inconclusive"),
    ],
)
def test_both_sides_have_to_be_launched_anew_each_time(replicable, baseline, verdict):
    run, old = run_of(Model(floor_ms=30)), run_of(Model(), seed=2, version=OLD, state=baseline)
    got = compare_stored(run, PROFILE, old, replicable=replicable, role="pinned")
    assert (got.verdict, got.role) == (verdict, "pinned")
    if verdict == "inconclusive":
        assert {p.verdict for p in got.points} == {e.verdict for e in got.surface} == {verdict}
        assert got.reason == Ground(code="not-replicated", taken_alone="regression")


def test_what_cannot_be_compared_stays_so_where_launches_cannot_be_replicated(monkeypatch):
    effect = dict.fromkeys(("ratio", "low", "high", "p", "mde"))
    point = PointEffect(
        context_tokens=1, append_tokens=1, reference_ms=None, candidate_ms=None,
        verdict="not-comparable", **effect,
    )  # fmt: skip
    level = Effect(name="level", reference=None, candidate=None, verdict="not-comparable", **effect)
    made = found("not-comparable").model_copy(update={"points": [point], "surface": [level]})
    monkeypatch.setattr(comparing, "compare", lambda *_, **__: made)
    got = compare_stored(run_of(Model()), PROFILE, run_of(Model()), replicable=False)
    assert (got.verdict, got.points[0].verdict, got.surface[0].verdict) == (
        "not-comparable", "not-comparable", "not-comparable",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("identity", "provenance", "not_binding", "verdict", "differing"),
    [
        ({}, "suite", (), "regression", []),
        (OTHER_DEVICE, "suite", (), "not-comparable", ["driver"]),
        (OTHER_DEVICE, "suite", ("driver",), "regression", []),
        (OTHER_DEVICE, "study", (), "inconclusive", []),  # effect sizes, whatever its device
        ({}, "study", (), "inconclusive", []),
    ],
)
def test_identities_that_bind_must_agree(identity, provenance, not_binding, verdict, differing):
    of = PROFILE.model_copy(update={"identity_not_binding": not_binding})
    run = run_of(Model(floor_ms=30))
    old = run_of(Model(), seed=2, version=OLD, identity=identity, provenance=provenance)
    got = compare_stored(run, of, old, replicable=True, role="rolling")
    assert (got.verdict, list(got.differing), got.role) == (verdict, differing, "rolling")
    assert (got.reference_version, got.confirmed, got.kind) == (OLD, False, "baseline")
    assert got.provenance == provenance
    assert bool(got.points) == (verdict != "not-comparable")


def noise(starts: int, night_sd: float | None = 0.004) -> NoiseRecord:
    return NoiseRecord(
        starts=starts, nights=10, start_sd=0.01, within_sd=0.02, night_sd=night_sd, points=[]
    )


BASELINE, SITE = noise(20), noise(60)


WHICH_NOISE = [
    # a baseline, its noise, its identity, not binding, the site's noise, which counts
    (False, None, {}, (), None, "profile"),
    (False, None, {}, (), SITE, "site"),
    (True, None, {}, (), None, "profile"),
    (True, None, {}, (), SITE, "site"),
    (True, BASELINE, {}, (), None, "baseline"),
    (True, BASELINE, {}, (), SITE, "baseline"),
    (True, BASELINE, OTHER_DEVICE, (), None, "profile"),
    (True, BASELINE, OTHER_DEVICE, (), SITE, "site"),
    (True, BASELINE, OTHER_DEVICE, ("driver",), SITE, "baseline"),
]


@pytest.mark.parametrize("case", WHICH_NOISE)
def test_which_noise_counts(case):
    baseline, own, identity, not_binding, site, expected = case
    of = PROFILE.model_copy(update={"identity_not_binding": not_binding})
    old = run_of(Model(), version=OLD, noise=own, identity=identity) if baseline else None
    known = {"profile": of.noise, "site": SITE, "baseline": BASELINE}
    assert noise_for(run_of(Model()), of, old, site) is known[expected]


@pytest.mark.parametrize("beside", [True, False])
def test_the_noise_that_counts_reaches_the_comparison(monkeypatch, beside):
    asked, old = capture(monkeypatch), run_of(Model(), version=OLD, noise=BASELINE)
    run = run_of(Model(), Model())
    if beside:
        compare_sides(run, PROFILE, References(old, noise=SITE))
        assert asked["noise"] is BASELINE
        compare_sides(run, PROFILE, References(pinned=old, noise=SITE))
    else:
        compare_stored(run, PROFILE, old, replicable=True, site=SITE)
        assert asked["noise"] is BASELINE
        old.noise = None
        compare_stored(run, PROFILE, old, replicable=True, site=SITE)
    assert asked["noise"] is SITE


@pytest.mark.parametrize(("own", "site"), [(noise(60, None), None), (None, noise(60, None))])
def test_a_record_of_one_day_borrows_how_nights_differ(own, site):
    old = run_of(Model(), version=OLD, noise=own)
    prior = prior_of(noise_for(run_of(Model()), PROFILE, old, site))
    assert (prior.night_sd, prior.night_df) == (PROFILE.noise.night_sd, ASSUMED_NIGHT_DF)
    assert prior.start_sd == 0.01


WHOSE_STARTS = [
    # the other side's, a stored run, its identity, its provenance, not binding, whose launches
    (True, True, {}, "suite", (), "other side"),
    (True, False, {}, "suite", (), "other side"),
    (False, True, {}, "suite", (), "stored"),
    (False, True, OTHER_DEVICE, "suite", (), "none"),
    (False, True, OTHER_DEVICE, "suite", ("driver",), "stored"),
    (False, True, {}, "study", (), "none"),
    (False, True, OTHER_DEVICE, "study", (), "none"),
    (False, False, {}, "suite", (), "none"),
]


@pytest.mark.parametrize("case", WHOSE_STARTS)
def test_what_the_findings_are_held_against(case):
    other, stored, identity, provenance, not_binding, whose = case
    of = PROFILE.model_copy(update={"identity_not_binding": not_binding})
    run = run_of(Model(), Model(floor_ms=40) if other else None)
    old = run_of(
        Model(floor_ms=80), version=OLD, identity=identity, provenance=provenance
    ) if stored else None  # fmt: skip
    starts, against = reference_starts(run, of, old), held_against(run, of, old)
    assert {s.side for s in starts} <= {"candidate"}
    floor = {"other side": 40, "stored": 80}.get(whose)
    if floor is None:
        assert starts == []
        # The study's table has medians and no launches; this one is bare.
        assert against == (Against({}, {}) if provenance == "study" else None)
        return
    assert len(starts) == 5
    assert against is not None
    assert set(against.cells) == set(POINTS)
    assert min(against.cells[POINTS[0]].values()) == pytest.approx(floor, rel=0.1)
    assert {frozenset(by) for by in against.cells.values()} == {frozenset(s.index for s in starts)}
    assert against.values == {}
    # Launches one by one; sessions differ, the two sides of one do not.
    assert against.paired is False
    assert against.sessions == (None if whose == "other side" else prior_of(PROFILE.noise))


@pytest.mark.parametrize(
    ("own", "site", "known"),
    [
        (20, 30, (0.006, 9.0)),
        (None, 30, (0.004, 9.0)),
        (1, None, None),
        (None, None, None),
    ],
)
def test_findings_know_of_sessions_what_the_comparison_knows(own, site, known):
    """The noise stored with the run they are held against, else this machine's, else assumed; of
    one session nothing is known."""
    old = run_of(Model(), version=OLD)
    site_noise = None if site is None else noise(site)
    if own is not None:
        record = noise(own, 0.006) if own > 1 else noise(own).model_copy(update={"nights": 1})
        old = old.model_copy(update={"noise": record})
    sessions = held_against(run_of(Model()), PROFILE, old, site_noise).sessions
    assumed = PROFILE.noise.night_sd, ASSUMED_NIGHT_DF
    assert (sessions.night_sd, sessions.night_df) == (known or assumed)


@pytest.mark.parametrize("lonely", [False, True])
def test_findings_are_held_against_the_other_half_of_a_pair_that_was_up_with_it(lonely):
    """Of pairs of which all were; a stored run's pairs are none of this run's."""
    run = run_of(Model(), Model(floor_ms=40))
    for start in run.starts:
        start.interleaved = True
    run.starts[2].interleaved = not lonely
    assert held_against(run, PROFILE, None).paired is not lonely
    # A failed launch is no half of a pair that counts.
    run.starts[2].failure = "died"
    assert held_against(run, PROFILE, None).paired
    old = run.model_copy(update={"starts": [s for s in run.starts if s.side == "candidate"]})
    now = run_of(Model())
    for start in now.starts:
        start.interleaved = True
    assert held_against(now, PROFILE, old).paired is False


ROWS = {Point(64, 64): 30.0, Point(64, 128): 21.0}


@pytest.mark.parametrize(
    ("identity", "provenance", "not_binding", "expected"),
    [
        ({}, "study", (), ROWS),
        (OTHER_DEVICE, "study", (), ROWS),
        ({}, "suite", (), ROWS),
        (OTHER_DEVICE, "suite", (), None),
        (OTHER_DEVICE, "suite", ("driver",), ROWS),
    ],
)
def test_a_table_without_starts_is_read_by_its_medians(identity, provenance, not_binding, expected):
    """A point of several experiments has several rows; one that was not measured has none."""
    table = run_of(version=OLD, identity=identity, provenance=provenance)
    rows = [(64, 20.0), (64, 30.0), (64, 90.0), (128, 21.0), (256, None)]
    table.points = [
        PointSummary(
            experiment=["append"], context_tokens=64, append_tokens=m, median_ms=ms, low_ms=None,
            high_ms=None, starts=1, samples=1, void=0,
        )
        for m, ms in rows
    ]  # fmt: skip
    of = PROFILE.model_copy(update={"identity_not_binding": not_binding})
    told = None if expected is None else Against({}, expected)
    assert held_against(run_of(Model()), of, table) == told


def test_a_stored_runs_own_reference_is_not_what_is_compared_with():
    """A run that was measured side by side and is kept: its candidate is the reference now."""
    run, old = run_of(Model(), Model()), run_of(Model(floor_ms=80), Model(), seed=2, version=OLD)
    run.starts = [start for start in run.starts if start.side == "candidate"]
    assert reference_starts(run, PROFILE, old) == old.starts[:5]


def test_a_judged_record_holds_what_each_rule_says(monkeypatch):
    run, old = run_of(Model(), Model(floor_ms=40)), run_of(Model(floor_ms=80), version=OLD)
    run.starts = [s for s in run.starts if s.side == "candidate" or s.pair > 0]
    references, looks, asked = References(old), [look(0.008)], {}
    comparison, findings = found("pass"), [object()]
    points, surface = (
        summarise_points(run.starts, PROFILE),
        fit_surface(usable(run.starts, "candidate")),
    )

    def findings_of(candidate, profile, **options):
        asked.update(options, candidate=candidate, profile=profile)
        return findings

    def comparison_of(*arguments, **options):
        asked.update(options, compared=arguments)
        return comparison

    monkeypatch.setattr(judging, "judge_findings", findings_of)
    monkeypatch.setattr(judging, "compare_all", comparison_of)
    monkeypatch.setattr(
        judging, "run_verdict", lambda *given: asked.update(given=given) or "broken"
    )
    got = judging.judge(
        run,
        PROFILE,
        references=references,
        kv_bytes_per_token=7,
        replicable=False,
        looks=looks,
    )
    assert got == run.model_copy(
        update={
            "points": points,
            "findings": findings,
            "surface": surface,
            "comparison": comparison,
            "traffic": [],
            "verdict": "broken",
        }
    )
    assert asked == {
        "candidate": usable(run.starts, "candidate"),
        "profile": PROFILE,
        "against": held_against(run, PROFILE, old),
        "before": reference_starts(run, PROFILE, old),
        "kv_bytes_per_token": 7,
        "kv_fixed_bytes": 0,
        "link_gb_per_s": PROFILE.link.gb_per_s,
        "compared": (run, PROFILE, references),
        "replicable": False,
        "looks": looks,
        "level": None,
        "given": (findings, comparison, [], None),
    }


@pytest.mark.parametrize("paired", [True, False])
def test_what_each_rule_is_asked_and_where_its_answer_stands(monkeypatch, paired):
    """Everything but the points is another module's; each answer is a word of its own."""
    asked: dict[str, Any] = {}

    def answers(name: str, answer: Any) -> None:
        def record(*given: Any, **options: Any) -> Any:
            asked[name] = given, options
            return answer

        monkeypatch.setattr(judging, name, record)

    finding = "finding of the pair" if paired else None
    answers("judge_findings", ["finding"])
    answers("reply_cached", None)
    answers("decode_interference", None)
    answers("held_against", "held against")
    answers("compare_all", "comparison")
    answers("summarise_backend", "backend")
    answers("pair_finding", finding)
    answers("judge_traffic", (["traffic"], "mean"))
    answers("kept_on", ["cliff"])
    answers("run_verdict", "broken")
    answers("fit_surface", None)
    looks, level, references = [look(0.008)], Level(0.004, 0.97), References(noise=noise(40))
    run = run_of(Model(), Model(), count=2).model_copy(update={"pd_pair": ["a backend"]})
    got = judging.judge(
        run,
        PROFILE,
        references=references,
        kv_bytes_per_token=7,
        kv_fixed_bytes=3,
        replicable=False,
        looks=looks,
        level=level,
    )
    findings = ["finding", finding] if paired else ["finding"]
    assert (got.findings, got.comparison, got.verdict) == (findings, "comparison", "broken")
    assert (got.traffic, got.traffic_mean) == (["traffic"], "mean")
    assert (got.pd_pair, got.cliffs, got.surface) == (["backend"], ["cliff"], None)
    of_run = {"replicable": False, "looks": looks, "level": level}
    assert asked["compare_all"] == ((run, PROFILE, references), of_run)
    assert asked["judge_traffic"] == (
        (run, PROFILE),
        {"references": references, "points": "comparison", **of_run},
    )
    assert asked["held_against"] == ((run, PROFILE, None, references.noise), {})
    assert asked["judge_findings"][1]["kv_fixed_bytes"] == 3
    assert asked["summarise_backend"] == (("a backend", 7, 3), {})
    assert asked["pair_finding"] == ((["backend"], PROFILE, 7, 3), {})
    traffic = {e.id: e.traffic for e in PROFILE.traffic}
    assert asked["kept_on"] == ((run.starts, run.plan.cliffs, run.plan.sides, traffic), {})
    assert asked["run_verdict"] == ((findings, "comparison", ["traffic"], "mean"), {})
    (fitted,), _ = asked["fit_surface"]
    assert {start.side for start in fitted} == {"candidate"}


@pytest.mark.parametrize("planned", ["points", "drawn", "cliffs", "cliffs in traffic", None])
def test_the_points_are_compared_where_any_was_planned(monkeypatch, planned):
    calls = []
    monkeypatch.setattr(judging, "compare_all", lambda *_, **__: calls.append(planned))
    run = run_of(Model(), Model(), count=2)
    kept = [cliff()] if planned == "cliffs" else []
    kept += [cliff(experiment="turns")] if planned == "cliffs in traffic" else []
    plan = {
        "points": [(512, 32)] if planned == "points" else [],
        "drawn": [(512, 40)] if planned == "drawn" else [],
        "cliffs": kept,
    }
    run = run.model_copy(update={"plan": run.plan.model_copy(update=plan)})
    judging.judge(run, PROFILE, references=References(), kv_bytes_per_token=None, replicable=True)
    assert calls == ([planned] if planned in ("points", "drawn", "cliffs") else [])


def test_a_point_of_a_kept_cliff_says_so():
    first = POINTS[0]
    at = first.context_tokens, first.append_tokens
    edge = cliff(fast=at, slow=(at[0], at[1] + 1))
    run = run_of(Model(), count=2)
    run = run.model_copy(update={"plan": run.plan.model_copy(update={"cliffs": [edge]})})
    options = {"references": References(), "kv_bytes_per_token": None, "replicable": True}
    experiments = {p.point: p.experiment for p in judging.judge(run, PROFILE, **options).points}
    assert experiments[first] == [*PROFILE.experiments_of(first), "cliffs"]
    assert [p for p, names in experiments.items() if "cliffs" in names] == [first]


def test_no_byte_is_fixed_unless_it_is_told(monkeypatch):
    asked = {}
    monkeypatch.setattr(judging, "judge_findings", lambda *_, **of: asked.update(of) or [])
    judging.judged_findings(run_of(Model()), PROFILE, References(), kv_bytes_per_token=7)
    assert (asked["kv_bytes_per_token"], asked["kv_fixed_bytes"]) == (7, 0)


def test_the_chosen_reference_is_what_findings_are_held_against(monkeypatch):
    """Without another side; neither the pinned nor the rolling one."""
    asked = {}
    monkeypatch.setattr(
        judging, "judge_findings", lambda *_, **options: asked.update(options) or []
    )
    run, old = run_of(Model()), run_of(Model(floor_ms=80), seed=2, version=OLD)
    judging.judge(
        run,
        PROFILE,
        references=References(old, pinned=run_of(version=LAST)),
        kv_bytes_per_token=None,
        replicable=True,
    )
    assert asked["before"] == old.starts
    assert min(asked["against"].cells[POINTS[0]].values()) == pytest.approx(80, rel=0.1)


def invalid(run: Run, **counts: int) -> Run:
    """`run` with so many invalid samples, by reason, at its first point in every start."""
    for start in run.starts:
        start.series[0].void = [Void(reason=reason, count=n) for reason, n in counts.items()]
    return run


FIRST = POINTS[0].label  # ten valid samples a start


@pytest.mark.parametrize(
    ("counts", "problem"),
    [
        ({}, None),
        ({"split": 10}, None),  # half are valid, the least share
        ({"split": 11}, f"{FIRST} (20 of 42). Invalid because: split (22)."),
        (
            {"a": 4, "b": 9, "c": 5, "d": 3},
            f"{FIRST} (20 of 62). Invalid because: b (18); c (10); a (8).",
        ),
    ],
)
def test_fewer_valid_samples_than_the_least_share_make_a_run_worthless(counts, problem):
    assert PROFILE.plan.min_valid_share == 0.5
    run = invalid(run_of(Model(), count=2), **counts)
    expected = (
        [] if problem is None else [f"Too few samples of the candidate are valid at {problem}"]
    )
    assert too_few_valid(run, PROFILE) == expected


@pytest.mark.parametrize(("count", "more"), [(3, ""), (4, " and 1 more"), (5, " and 2 more")])
def test_a_worthless_run_names_three_points_and_the_last_bad_block(count, more):
    run = run_of(Model(), count=1)
    (start,) = run.starts
    start.series.sort(key=lambda series: series.point)
    for series in start.series[:count]:
        series.void = [Void(reason="hot", count=1)]
        for name in ("ttft_ms", "e2e_ms", "itl_ms", "output_tokens", "cached_tokens", "block"):
            getattr(series, name).clear()
    start.state = [
        BlockState(block=n, side="candidate", void=void, readings={})
        for n, void in enumerate(["81 C", None, "83 C", "82 C", None])
    ]
    shown = ", ".join(f"{p.label} (0 of 1)" for p in sorted(POINTS)[:3])
    assert too_few_valid(run, PROFILE) == [
        f"Too few samples of the candidate are valid at {shown}{more}. "
        f"Invalid because: hot ({count}). The last invalid block: 82 C."
    ]


def test_each_side_counts_for_itself():
    run = run_of(Model(), Model(), count=2)
    for start in run.starts[2:]:
        start.series[0].void = [Void(reason="hot", count=11)]
    (problem,) = too_few_valid(run, PROFILE)
    assert problem.startswith(f"Too few samples of the reference are valid at {FIRST} (20 of 42).")


def test_each_side_that_was_planned_or_begun_has_to_be_measured():
    run = run_of(Model(), Model(), count=2)
    assert too_few_valid(run, PROFILE) == []
    for start in run.starts:
        start.failure = "died"
    assert too_few_valid(run, PROFILE) == [
        "No candidate launch was measured to its end.",
        "No reference launch was measured to its end.",
    ]
    run.starts = run.starts[:2]
    run.plan.sides = ["reference"]
    assert len(too_few_valid(run, PROFILE)) == 2
    run.plan.sides = ["candidate"]
    assert len(too_few_valid(run, PROFILE)) == 1


def test_the_verdict_is_of_the_comparison_that_counts():
    """All of it together, as the plugin asks: the pinned creep behind a clean side by side."""
    run = run_of(Model(), Model())
    for pinned, verdict in ((Model(floor_ms=10), "regression"), (Model(), "pass")):
        judged = judging.judge(
            run,
            PROFILE,
            references=References(pinned=run_of(pinned, seed=3, version=OLD)),
            kv_bytes_per_token=None,
            replicable=True,
            looks=[look(0.008)],
        )
        assert judged.comparison.verdict == verdict
        assert (judged.comparison.role == "pinned") == (verdict == "regression")
