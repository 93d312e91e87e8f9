"""Which comparison counts, and what makes a run worthless. Simulated launches, fixed seeds."""

import random
from types import SimpleNamespace

from append_prefill.analysis.prior import ASSUMED_NIGHT_DF, prior_of, with_nights
from append_prefill.records.grounds import NoiseSource, RunWarning
from append_prefill.records.launch import BlockState, Void
from append_prefill.records.noise import NoiseRecord
from append_prefill.run.against import held_against, noise_for
from append_prefill.run.comparing import paired
from append_prefill.run.concluding import Conclusion
from append_prefill.run.judge import judge, nothing_valid, too_few_valid
from append_prefill.run.queue import QueueState
from append_prefill.run.reference_side import reference_record
from append_prefill.run.references import References
from append_prefill.workload.points import Point
from tests.records import builders as records
from tests.report.other_traffic import TURNS, with_traffic
from tests.report.parts import Model, bare, profile, starts_of, study_points, subject

POINTS = study_points()
PROFILE = profile()


def run_of(candidate=None, reference=None, seed=1, count=5, **fields):
    rng = random.Random(seed)
    starts = []
    for side, model in (("candidate", candidate), ("reference", reference)):
        if model is not None:
            starts += starts_of(POINTS, side, model, rng, count=count)
    return bare(POINTS, PROFILE, starts, **fields)


def judged(run, chosen=None, pinned=None, rolling=None, replicable=True):
    return judge(
        run,
        PROFILE,
        references=References(chosen, pinned, rolling),
        kv_bytes_per_token=131_072,
        replicable=replicable,
    )


def test_side_by_side_counts_and_keeps_the_stored_ones():
    stored = run_of(Model(), seed=2)
    result = judged(run_of(Model(floor_ms=21), Model()), chosen=stored)
    assert result.comparison.kind == "side-by-side"
    assert result.verdict == "regression"
    assert [other.kind for other in result.comparison.others] == ["baseline"]


def test_a_lower_floor_is_a_regime_shift_and_no_regression():
    """The floor falls by a third, the cost of a token stays: faster or as fast everywhere."""
    result = judged(run_of(Model(floor_ms=12), Model()))
    assert result.comparison.verdict != "regression"
    verdicts = {f.id: f.verdict for f in result.findings}
    assert verdicts["append_flatness"] == "regime-shift"
    assert result.verdict == "improvement"


def test_a_night_after_the_shift_is_no_news_and_not_red():
    """The stored run has the lower floor already, and so does the other side of an A/A pair."""
    low = Model(floor_ms=12)
    for result in (judged(run_of(low), chosen=run_of(low, seed=2)), judged(run_of(low, low))):
        (flat,) = (f for f in result.findings if f.id == "append_flatness")
        assert (flat.verdict, flat.standing) == ("regime-shift", True)
        assert result.verdict == result.comparison.verdict != "regression"
    # Without a reference the first such run is red: someone has to look at it.
    (flat,) = (f for f in judged(run_of(low)).findings if f.id == "append_flatness")
    assert flat.verdict == "broken"


def test_the_pinned_reference_speaks_up_where_the_chosen_one_sees_nothing():
    """Creep: every release is within the noise of the last, and all of them are slower.

    By a half and more, which the profile's assumption of how sessions differ leaves no doubt about.
    """
    slow, before, long_ago = Model(floor_ms=24), Model(floor_ms=23.9), Model(floor_ms=12)
    result = judged(run_of(slow), chosen=run_of(before, seed=2), pinned=run_of(long_ago, seed=3))
    assert result.comparison.role == "pinned"
    assert result.comparison.verdict == "regression"
    assert not result.comparison.confirmed


def test_another_identity_is_not_comparable_and_the_fields_are_named():
    other = run_of(Model(), seed=2)
    other.identity = {**other.identity, "driver": "1.2.3"}
    result = judged(run_of(Model()), chosen=other)
    assert result.comparison.verdict == "not-comparable"
    assert "driver" in result.comparison.differing


def test_points_of_one_side_are_left_out_and_named():
    """An experiment that was added since, and points that each seed draws for itself."""
    new, drawn = Point(96, 64), Point(77, 7)
    run, stored = run_of(Model()), run_of(Model(), seed=2)
    rng = random.Random(9)
    run.starts = starts_of([*POINTS, new, drawn], "candidate", Model(), rng)
    run.plan.points.append((96, 64))
    run.plan.drawn.append((77, 7))
    comparison = judged(run, chosen=stored).comparison
    assert comparison.verdict != "not-comparable"
    assert {p.point for p in comparison.points} == set(POINTS)
    assert (comparison.only_candidate, comparison.only_reference) == ([(96, 64)], [])
    back = judged(stored, chosen=run).comparison
    assert (back.only_candidate, back.only_reference) == ([], [(96, 64)])


def test_runs_without_a_common_point_are_not_comparable():
    run, stored = run_of(Model()), run_of(Model(), seed=2)
    stored.starts = starts_of([Point(96, 64)], "candidate", Model(), random.Random(9))
    stored.plan.points = [(96, 64)]
    result = judged(run, chosen=stored)
    assert (result.comparison.verdict, result.comparison.differing) == ("not-comparable", {})
    assert result.comparison.only_reference == [(96, 64)]


def test_a_running_server_gets_no_statistical_verdict():
    result = judged(run_of(Model(floor_ms=30)), chosen=run_of(Model(), seed=2), replicable=False)
    assert result.comparison.verdict == "inconclusive"
    assert result.comparison.reason.code == "not-replicated"
    assert {p.verdict for p in result.comparison.points} == {"inconclusive"}


def test_half_a_pair_is_not_compared():
    run = run_of(Model(), Model())
    run.starts[-1].failure = "died"
    assert len(paired(run.starts, "candidate")) == 4


def test_too_few_valid_samples_are_named_by_point_and_reason():
    run = run_of(Model(), count=2)
    assert too_few_valid(run, PROFILE) == []
    for start in run.starts:
        start.series[3].ttft_ms.clear()
        start.series[3].void.append(Void(reason="wrong split", count=10))
    (problem,) = too_few_valid(run, PROFILE)
    assert run.starts[0].series[3].point.label in problem
    assert "wrong split (20)" in problem


def test_no_start_at_all_is_a_problem():
    assert too_few_valid(run_of(), PROFILE) == ["No candidate launch was measured to its end."]


def test_the_studys_several_rows_of_a_point_are_pooled():
    run = run_of(Model())
    study = judged(run)
    doubled = study.points + [
        p.model_copy(update={"median_ms": p.median_ms * 3}) for p in study.points[:1]
    ]
    against = held_against(
        run_of(), PROFILE, study.model_copy(update={"points": doubled, "provenance": "study"})
    )
    first = study.points[0]
    assert against.values[Point(first.context_tokens, first.append_tokens)] == first.median_ms * 2


def test_side_by_side_says_nothing_about_another_version():
    """An A/B with the last release passes; the pinned one, further back, saw the creep."""
    pinned = run_of(Model(floor_ms=10), seed=3, subject=subject("0.5.10"))
    run = run_of(Model(), Model())
    for start in run.starts:
        if start.side == "reference":
            start.subject = subject("0.5.22")
    result = judged(run, pinned=pinned)
    assert result.comparison.role == "pinned"
    assert result.verdict == "regression"
    assert [other.kind for other in result.comparison.others] == ["side-by-side"]


def test_side_by_side_clears_its_own_version():
    stored = run_of(Model(floor_ms=15), seed=3, subject=subject("0.5.22"))
    run = run_of(Model(), Model())
    for start in run.starts:
        if start.side == "reference":
            start.subject = subject("0.5.22")
    result = judged(run, chosen=stored)
    assert result.comparison.kind == "side-by-side"
    assert result.comparison.verdict == "pass"


def test_another_identitys_noise_and_medians_are_not_borrowed():
    other = run_of(Model(floor_ms=40), seed=2)
    other.identity = {**other.identity, "driver": "1.2.3"}
    run = run_of(Model())
    assert held_against(run, PROFILE, other) is None
    assert noise_for(run, PROFILE, other) is PROFILE.noise


def test_the_sites_noise_stands_in_for_a_baseline_without_one():
    stored, run = run_of(Model(), seed=2), run_of(Model())
    site = NoiseRecord(
        starts=60, nights=10, start_sd=0.01, within_sd=0.02, night_sd=0.004, points=[]
    )
    assert noise_for(run, PROFILE, stored, site) is site
    assert noise_for(run, PROFILE, None, site) is site
    own = site.model_copy(update={"starts": 20})
    assert noise_for(run, PROFILE, stored.model_copy(update={"noise": own}), site) is own


def test_a_record_of_one_day_takes_the_profiles_nights():
    record = NoiseRecord(
        starts=60, nights=10, start_sd=0.01, within_sd=0.02, night_sd=None, points=[]
    )
    prior = prior_of(with_nights(record, PROFILE.noise))
    assert (prior.night_sd, prior.night_df) == (PROFILE.noise.night_sd, ASSUMED_NIGHT_DF)
    assert prior.source == NoiseSource(kind="stored", starts=60, nights=10, night_assumed=True)
    known = record.model_copy(update={"night_sd": 0.003})
    assert with_nights(known, PROFILE.noise) is known
    assert prior_of(known).night_df == 9


def test_a_confirmation_without_a_valid_reference_clears_nothing():
    run = run_of(Model(floor_ms=24), Model())
    for start in run.starts:
        if start.side == "reference":
            for series in start.series:
                series.ttft_ms.clear()
                series.void.append(Void(reason="wrong split", count=10))
    assert any("reference" in problem for problem in too_few_valid(run, PROFILE))


def test_a_record_says_why_both_sides_were_measured_unasked():
    settings = SimpleNamespace(
        profile=PROFILE,
        kv_bytes_per_token=131_072,
        kv_fixed_bytes=0,
        candidate=SimpleNamespace(replicable=True),
    )
    plan = SimpleNamespace(narrowed=lambda profile: profile, pd_pair=None)
    conclusion = Conclusion(settings, plan, References(), SimpleNamespace())
    run, asked = run_of(Model(floor_ms=24), Model()), QueueState(planned=5, closed="done")
    unasked = asked.model_copy(update={"confirm_from": 0, "confirm_with": "0.5.22"})
    assert conclusion.judge(run, asked).comparison.reason.suspected_by is None
    assert conclusion.judge(run, unasked).comparison.reason.suspected_by == "0.5.22"


def both_sides():
    run = run_of(Model(floor_ms=24), Model())
    for start in run.starts:
        if start.side == "reference":
            start.subject = subject("0.5.22")
    return judged(run)


def test_the_reference_is_judged_as_if_measured_alone():
    run = both_sides()
    own = reference_record(run, PROFILE)
    alone = run_of()
    alone.starts = [s.model_copy(update={"side": "candidate"}) for s in run.starts[5:]]
    alone = judged(alone)
    assert own.version == "0.5.22"
    assert {start.side for start in own.starts} == {"candidate"}
    for part in ("points", "findings", "surface", "comparison", "verdict"):
        assert getattr(own, part) == getattr(alone, part)
    assert (own.comparison, own.surface == run.surface) == (None, False)
    assert own.warnings == [RunWarning(code="measured-as-reference", version="0.5.23")]


def test_the_reference_has_the_identity_of_its_own_arguments():
    run = both_sides()
    run = run.model_copy(
        update={
            "identity": run.identity | {"server_args": {"a": "1", "b": "1", "kept": "1"}},
            "suite": run.suite | {"label": "after", "against_label": "before"},
        }
    )
    for start in run.starts:
        own = ["--b=1"] if start.side == "candidate" else ["--c"]
        start.server_args = ["--added-by-the-engine", "--a=1", *own]
    own = reference_record(run, PROFILE)
    assert own.identity == run.identity | {"server_args": {"a": "1", "c": True, "kept": "1"}}
    assert (own.label, own.against_label) == ("before", None)


def test_the_reference_answers_for_the_points_that_were_planned():
    run = both_sides()
    run.plan.points = [(p.context_tokens, p.append_tokens) for p in POINTS if p.append_tokens < 513]
    verdicts = {f.id: f.verdict for f in reference_record(run, PROFILE).findings}
    assert verdicts["append_flatness"] == "not-applicable"
    assert verdicts["context_flatness"] == "holds"


def test_no_reference_has_no_record_and_a_failed_run_stays_failed():
    assert reference_record(judged(run_of(Model())), PROFILE) is None
    failed = both_sides().model_copy(update={"verdict": "infrastructure"})
    assert reference_record(failed, PROFILE).verdict == "infrastructure"


def test_a_points_time_is_one_figure_where_a_pair_is_incomplete():
    run = both_sides()
    run.starts[0].failure = "died"
    made = judged(run)
    assert made.comparison.reason.code == "rejected"
    times = {p.point: p.median_ms for p in made.points if p.median_ms is not None}
    assert {p.point: p.candidate_ms for p in made.comparison.points} == times


def test_where_no_point_was_planned_other_traffic_alone_is_judged():
    """Nobody asked for points, so that none was measured on both sides says nothing."""
    run = both_sides()
    for start in run.starts:
        start.series = []
    plan = run.plan.model_copy(update={"points": [], "drawn": []})
    run = with_traffic(run.model_copy(update={"plan": plan}))
    of = PROFILE.model_copy(update={"experiments": (), "traffic": (TURNS,)})
    made = judge(run, of, references=References(), kv_bytes_per_token=None, replicable=True)
    assert made.comparison is None
    assert made.compared is made.traffic[0].comparison
    assert made.compared.kind == "side-by-side"
    assert made.verdict == made.compared.verdict


def test_a_launch_without_a_valid_block_ends_the_run():
    def launch(index, *voids):
        states = [
            BlockState(block=block, side="candidate", void=void, readings={})
            for block, void in enumerate(voids)
        ]
        return records.start(index).model_copy(update={"state": states})

    starts = [launch(0, None, "busy"), launch(1, "busy", "busy", "too hot"), launch(2)]
    assert nothing_valid(starts, 0) is None
    assert nothing_valid(starts, 1) == (
        "None of the 3 blocks of candidate launch 2 was valid, the last because of this: too hot. "
        "Nothing more is launched; make sure that the device is this run's alone."
    )
    # Of a launch that never had a block its own failure is told.
    assert nothing_valid(starts, 2) is None
