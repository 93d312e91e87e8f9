"""Other traffic: its own comparison, its own part of the rates, its own verdict."""

import random

import pytest

from append_prefill.probe.plan import PLANE_SHARE, make_plan
from append_prefill.records.run import Void
from append_prefill.run.judge import judge, too_few_valid
from append_prefill.run.references import References
from tests.report.parts import Model, bare, profile, starts_of, study_points
from tests.report.traffic_parts import conversation, talking, with_traffic

POINTS = study_points()
TALK, OTHER = (
    conversation(),
    conversation(
        "other", conversation={**conversation().conversation.model_dump(), "append_tokens": 21}
    ),
)
PROFILE = with_traffic(profile(), TALK)
SAME = Model()


def run_of(candidate=SAME, reference=None, *, experiments=(TALK,), talk=None, missing=0, seed=1):
    """Both sides at the points alike; `candidate` and `reference` are what conversations take."""
    rng, starts = random.Random(seed), []
    for side, model in (("candidate", candidate), ("reference", reference)):
        if model is None:
            continue
        own = starts_of(POINTS, side, Model(), rng, sd=0.002)
        for number, experiment in enumerate(experiments):
            own = talking(own, experiment, model, seed=seed + number, sd=0.002, missing=missing)
        starts += own
    return bare(POINTS, PROFILE, starts)


def judged(run, profile=PROFILE, **references):
    return judge(
        run,
        make_plan(profile, seed=1, sides=("candidate", "reference")).narrowed(profile),
        references=References(**references),
        kv_bytes_per_token=None,
        replicable=True,
    )


def test_a_slow_down_of_conversations_alone_is_a_regression_of_the_run():
    run = judged(run_of(Model(floor_ms=24), Model()))
    (turns,) = run.traffic
    assert (run.comparison.verdict, turns.comparison.verdict) == ("pass", "regression")
    assert run.verdict == "regression"
    assert turns.comparison.level.ratio == pytest.approx(24 / 19.4, rel=0.02)
    assert [p.point for p in turns.comparison.points] == [c.point for c in TALK.conditions]


def test_alike_on_both_sides_passes():
    run = judged(run_of(Model(), Model()))
    assert {run.traffic[0].comparison.verdict, run.verdict} == {"pass"}
    assert run.traffic[0].comparison.method.must_catch == TALK.must_catch


def test_the_points_are_judged_as_if_nothing_else_had_been_measured():
    slow = judged(run_of(Model(floor_ms=24), Model()))
    alike = judged(run_of(Model(), Model()))
    assert slow.comparison == alike.comparison
    assert slow.points == alike.points
    assert slow.surface == alike.surface


def test_the_false_alarm_rate_is_shared():
    """The points have half of the policy's, the experiments the other half equally."""
    whole = profile().policy.false_alarm_rate
    for experiments in ((TALK,), (TALK, OTHER)):
        other = with_traffic(profile(), *experiments)
        run = judged(run_of(Model(), Model(), experiments=experiments), other)
        assert run.comparison.method.alpha == pytest.approx(whole * PLANE_SHARE)
        shares = [result.comparison.method.alpha for result in run.traffic]
        assert shares == pytest.approx(
            [whole * (1 - PLANE_SHARE) / len(experiments)] * len(experiments)
        )


def test_a_stored_run_is_compared_where_it_has_the_same_conditions():
    slow, stored = run_of(Model(floor_ms=40)), run_of(seed=2)
    assert judged(slow, chosen=stored).traffic[0].comparison.verdict == "regression"
    points_only = stored.model_copy(
        update={"starts": [s.model_copy(update={"traffic": []}) for s in stored.starts]}
    )
    run = judged(slow, chosen=points_only)
    assert run.traffic[0].comparison is None
    assert run.comparison is not None


def test_a_lost_reply_breaks_the_run():
    run = judged(run_of(Model(), Model(), missing=50))
    assert run.findings[-1].verdict == "broken"
    assert run.verdict == "broken"


def test_the_table_has_every_turn():
    turns = judged(run_of()).traffic[0]
    assert [(p.turn, p.context_tokens) for p in turns.points] == [(2, 150), (3, 220), (4, 290)]
    first = turns.points[0]
    assert (first.starts, first.samples, first.void) == (5, 25, 0)
    assert (first.cached_tokens, first.planned_cached_tokens) == (149, 149)
    assert first.low_ms < first.median_ms < first.high_ms < 25
    assert first.median_ms < first.p90_ms
    assert first.p99_ms is None  # of 25 samples a quarter of one lies beyond it


def test_conditions_with_too_few_valid_samples_make_a_run_worthless():
    run = run_of()
    series = run.starts[0].traffic[0]
    for start in run.starts:
        start.traffic[0] = series.model_copy(
            update={name: [] for name in ("ttft_ms", "e2e_ms", "itl_ms", "output_tokens", "block")}
            | {"cached_tokens": [], "void": [Void(reason="hot", count=5)]}
        )
    (problem,) = too_few_valid(run, PROFILE)
    assert "L150-m20 replied (0 of 25)" in problem
