"""Other traffic: its own comparison, its own part of the rates, its own verdict."""

import gzip
import random
from pathlib import Path

import pytest

from append_prefill.analysis.family import MEAN_SHARE
from append_prefill.analysis.noise import noise_of, traffic_noise
from append_prefill.probe.plan import PLANE_SHARE
from append_prefill.probe.planning import make_plan, plan_of
from append_prefill.records.launch import Void
from append_prefill.records.run import Run
from append_prefill.run.judge import judge, too_few_valid
from append_prefill.run.references import References
from append_prefill.run.traffic import _rates
from append_prefill.workload.loading import load_profile
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


def test_what_a_text_merges_is_in_its_result_and_nothing_in_that_of_ids():
    text = conversation(
        "text", context="primed", conversation=None, form="text", points=[[256, 64], [512, 64]]
    )
    run = run_of(experiments=(TALK, text))
    for start in run.starts:
        for series in start.traffic:
            if series.form == "text":
                series.boundary_merged_tokens = [0, 1, 0, 2, 0]
    turns, found = judged(run, with_traffic(profile(), TALK, text)).traffic
    assert (found.boundary.share, found.boundary.tokens) == (0.4, 1.5)
    assert [p.boundary_merged_tokens for p in found.points] == [0.6, 0.6]
    assert turns.boundary is None
    assert {p.boundary_merged_tokens for p in turns.points} == {None}


def test_the_points_are_judged_as_if_nothing_else_had_been_measured():
    slow = judged(run_of(Model(floor_ms=24), Model()))
    alike = judged(run_of(Model(), Model()))
    assert slow.comparison == alike.comparison
    assert slow.points == alike.points
    assert slow.surface == alike.surface


def test_the_false_alarm_rate_is_shared():
    """The points have most of the policy's; the experiments the rest, equally."""
    whole = profile().policy.false_alarm_rate
    for experiments in ((TALK,), (TALK, OTHER)):
        other = with_traffic(profile(), *experiments)
        run = judged(run_of(Model(), Model(), experiments=experiments), other)
        assert run.comparison.method.alpha == pytest.approx(whole * PLANE_SHARE)
        rest, count = whole * (1 - PLANE_SHARE), len(experiments)
        shares = [result.comparison.method.alpha for result in run.traffic]
        assert shares == pytest.approx([rest / count] * count)
        assert run.traffic_mean is None  # of launches that followed each other


def test_half_of_it_is_their_means_where_pairs_were_up_together():
    run = several([SAME.floor_ms] * 6)
    rest = profile().policy.false_alarm_rate * (1 - PLANE_SHARE)
    assert run.traffic_mean.alpha == pytest.approx(rest * MEAN_SHARE)
    shares = [result.comparison.method.alpha for result in run.traffic]
    assert shares == pytest.approx([rest * (1 - MEAN_SHARE) / 6] * 6)


SEVERAL = tuple(
    conversation(
        f"talk_{n}",
        conversation={**conversation().conversation.model_dump(), "append_tokens": 21 + n},
    )
    for n in range(6)
)


def several(floors_ms, *, pairs=3, sd=0.03, seed=4):
    """Six conversations whose launches scatter by `sd`, the candidate's at those floors."""
    rng, starts = random.Random(seed), []
    for side in ("candidate", "reference"):
        own = starts_of(POINTS, side, Model(), rng, sd=0.002)[:pairs]
        for number, experiment in enumerate(SEVERAL):
            floor_ms = floors_ms[number] if side == "candidate" else SAME.floor_ms
            of = seed + number + (100 if side == "candidate" else 0)
            own = talking(own, experiment, Model(floor_ms=floor_ms), seed=of, sd=sd)
        starts += [start.model_copy(update={"interleaved": True}) for start in own]
    return judged(bare(POINTS, PROFILE, starts), with_traffic(profile(), *SEVERAL))


def test_what_is_slower_everywhere_is_called_by_the_mean_where_none_is_alone():
    run = several([1.08 * SAME.floor_ms] * 6)
    assert {t.comparison.verdict for t in run.traffic} == {"inconclusive"}
    assert (run.comparison.verdict, run.traffic_mean.verdict) == ("pass", "regression")
    assert run.verdict == "regression"
    assert run.traffic_mean.low < 1.07 < run.traffic_mean.high
    assert sum(run.traffic_mean.weights) == pytest.approx(1)
    # Its part of the rate has passed to them.
    rest = profile().policy.false_alarm_rate * (1 - PLANE_SHARE)
    assert run.traffic[0].comparison.method.alpha == pytest.approx(rest / 6)


def test_one_that_is_much_slower_is_called_alone_and_leaves_the_others_its_rate():
    run = several([1.8 * SAME.floor_ms, *[SAME.floor_ms] * 5], pairs=5, sd=0.02)
    verdicts = [t.comparison.verdict for t in run.traffic]
    assert (verdicts[0], verdicts.count("regression")) == ("regression", 1)
    rest = profile().policy.false_alarm_rate * (1 - PLANE_SHARE)
    parts = {round(t.comparison.method.alpha / rest, 6) for t in run.traffic[1:]}
    assert parts in ({0.1}, {0.2})  # with the mean's half or without
    assert run.traffic[1].comparison.method.noise.kind == "family"


def test_alike_everywhere_is_called_nothing():
    run = several([SAME.floor_ms] * 6)
    assert run.traffic_mean.verdict == "inconclusive"
    assert {t.comparison.verdict for t in run.traffic} <= {"inconclusive", "pass"}


def test_what_the_points_have_passes_on_where_they_are_rejected():
    rates = _rates(0.008, run_of(), judged(run_of(Model(floor_ms=24), Model())).comparison)
    assert rates == pytest.approx({1: 0.002, -1: 0.002})  # the points pass there
    slower = rates_beside("regression")
    assert slower == pytest.approx({1: 0.01, -1: 0.002})
    assert rates_beside("improvement") == pytest.approx({1: 0.002, -1: 0.01})
    assert rates_beside("regression", kind="baseline") == pytest.approx({1: 0.002, -1: 0.002})


def rates_beside(verdict, kind="side-by-side"):
    made = judged(run_of(Model(), Model())).comparison
    return _rates(0.008, run_of(), made.model_copy(update={"verdict": verdict, "kind": kind}))


def test_stored_noise_of_traffic_is_what_it_is_judged_by():
    run = run_of(Model(), Model())
    starts = [s.model_copy(update={"interleaved": True}) for s in run.starts]
    run = run.model_copy(update={"starts": starts})
    found = traffic_noise([starts], [TALK])
    assert [(one.experiment, one.pairs) for one in found] == [("turns", 5)]
    known = noise_of([starts]).model_copy(update={"traffic": found})
    assert known.of_traffic(TALK.conditions) == found[0]
    assert known.of_traffic(OTHER.conditions) is None
    source = judged(run, noise=known).traffic[0].comparison.method.noise
    assert (source.kind, source.starts) == ("stored", 10)
    assert judged(run).traffic[0].comparison.method.noise.kind == "family"


@pytest.mark.parametrize("name", ["versions", "alike"])
def test_the_kept_runs_come_out_as_the_documentation_says(name):
    file = Path("benchmarks/data/traffic-2026-11") / f"{name}.run.json.gz"
    run = Run.model_validate_json(gzip.decompress(file.read_bytes()))
    again = judge(
        run,
        plan_of(run, load_profile(run.profile)).narrowed(load_profile(run.profile)),
        references=References(),
        kv_bytes_per_token=None,
        replicable=True,
        looks=run.comparison.looks,
    )
    moved = {t.experiment: t.comparison.verdict for t in again.traffic}
    called = {name for name, verdict in moved.items() if verdict in ("regression", "improvement")}
    assert again.traffic_mean.verdict == "inconclusive"
    assert called == ({"aged"} if name == "versions" else set())


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


def test_what_age_costs_is_a_ratio_to_the_same_point_on_a_fresh_server():
    own = [(p.context_tokens, p.append_tokens) for p in POINTS[:2]]
    aged = conversation(
        "aged", context="primed", conversation=None, state="aged", points=[*own, (999, 9)]
    )
    dear = Model(2 * SAME.floor_ms, 2 * SAME.new_us, 2 * SAME.cached_us)
    run = run_of(dear, experiments=(aged,))
    (result,) = judged(run, with_traffic(profile(), aged)).traffic
    first, second, apart = result.points
    for point in (first, second):
        assert point.over_alone == pytest.approx(2, rel=0.1)
        assert point.over_alone_low < point.over_alone < point.over_alone_high
    # Nothing was measured there on a fresh server.
    assert apart.over_alone is None
    assert (first.completed_per_s, first.late_p99_ms) == (None, None)


def test_a_rate_that_is_not_kept_up_with_is_told():
    """Twenty a launch, due 5 ms apart, of which each ends 10 ms after the one before."""
    point = (POINTS[0].context_tokens, POINTS[0].append_tokens)
    rate = conversation(
        "rate", context="primed", conversation=None, company="rate:200", requests=20, points=[point]
    )
    run = run_of(experiments=(rate,))
    count = 20
    queued = {
        "ttft_ms": [5.0 + 5 * n for n in range(count)],
        "e2e_ms": [10.0 + 5 * n for n in range(count)],
        "due_ms": [5.0 * n for n in range(count)],
        "late_ms": [0.0] * (count - 1) + [0.5],
        "block": [0] * count,
        **{name: [2] * count for name in ("output_tokens", "cached_tokens")},
        "itl_ms": [None] * count,
    }
    for start in run.starts:
        start.traffic[0] = start.traffic[0].model_copy(update=queued)
    (told,) = judged(run, with_traffic(profile(), rate)).traffic[0].points
    # Twenty were due in 95 ms, and had ended after 200.
    assert told.offered_per_s == pytest.approx(20 / 0.095)
    assert told.completed_per_s == told.saturation_per_s == pytest.approx(20 / 0.200)
    assert told.late_p99_ms is None  # of 100 samples one lies beyond it


def test_a_session_that_no_version_keeps_is_not_measured_and_says_so():
    session = conversation("session", context="session")
    profile_with_it = with_traffic(profile(), session)
    (silent,) = judged(run_of(experiments=()), profile_with_it).traffic
    assert silent.reason == "this version keeps no streaming sessions"
    assert {p.samples for p in silent.points} == {0}
    (measured,) = judged(run_of(experiments=(session,)), profile_with_it).traffic
    assert measured.reason is None
