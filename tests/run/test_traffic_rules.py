"""What judging other traffic asks of each rule, and what it makes of the answers."""

from types import SimpleNamespace

import pytest

import append_prefill.run.traffic as judging
from append_prefill.records.launch import TrafficSeries
from append_prefill.records.states import Stage
from append_prefill.run.comparing import Level
from append_prefill.run.references import References
from append_prefill.run.traffic import judge_traffic, summarise
from append_prefill.run.traffic_family import Family
from append_prefill.workload.policy import Plane
from tests.records.builders import start
from tests.report.parts import profile
from tests.report.traffic_parts import conversation, with_traffic
from tests.run.test_judge_rules import found, live, look, noise
from tests.run.test_traffic import OTHER, TALK, run_of

THIRD = conversation("third", context="primed", conversation=None, form="text", points=[[64, 32]])
BOTH, ALL = (TALK, OTHER), (TALK, OTHER, THIRD)


def of(*experiments, rate=0.008, **changes):
    """A profile of which a plan with points leaves them `rate`, four fifths of the policy's."""
    whole = profile()
    policy = whole.policy.model_copy(update={"false_alarm_rate": rate, **changes})
    return with_traffic(whole.model_copy(update={"policy": policy}), *experiments)


def of_points(run, *points):
    plan = run.plan.model_copy(update={"points": list(points), "drawn": []})
    return run.model_copy(update={"plan": plan})


def asked_of(monkeypatch, verdicts=lambda name, level: "pass", *, family=None, kind="side-by-side"):
    """Every question to `compare_all`, in order, answered by what `verdicts` says."""
    asked = []

    def record(run, profile, references, **options):
        name = next(e.id for e in ALL if points_of(e) == run.plan.points)
        given = {"run": run, "profile": profile, "references": references, "options": options}
        asked.append(SimpleNamespace(name=name, **given))
        verdict = verdicts(name, options["level"])
        return live(verdict) if kind == "side-by-side" else found(verdict)

    monkeypatch.setattr(judging, "compare_all", record)
    monkeypatch.setattr(judging, "family_of", lambda *_: family or Family())
    return asked


def points_of(experiment):
    """The points as a plan has them, (L, m) sorted."""
    return sorted((c.point.context_tokens, c.point.append_tokens) for c in experiment.conditions)


def judged(run, profile, **options):
    options = {"references": References(), "replicable": True, **options}
    return judge_traffic(run, profile, **options)


def levels(asked):
    return [(one.name, one.options["level"]) for one in asked]


@pytest.mark.parametrize(
    ("experiments", "points", "rate", "each"),
    [
        # What the plan has left the points is 4/5 of 0.01: the other fifth is shared.
        (BOTH, [(512, 32)], 0.008, 0.001),
        (ALL[:1], [(512, 32)], 0.008, 0.002),
        # Without points the plan has left the policy whole.
        (BOTH, [], 0.01, 0.005),
    ],
)
def test_a_stored_run_is_compared_at_an_equal_part_of_the_rate(
    monkeypatch, experiments, points, rate, each
):
    asked = asked_of(monkeypatch)
    judged(of_points(run_of(experiments=()), *points), of(*experiments, rate=rate))
    assert [one.name for one in asked] == [e.id for e in experiments]
    rates = [one.profile.policy.false_alarm_rate for one in asked]
    assert rates == pytest.approx([each] * len(experiments))


def test_each_is_judged_by_what_it_promises_to_catch_and_weighs_its_points_alike(monkeypatch):
    known = {"turns": "prior of turns"}
    asked = asked_of(monkeypatch, family=Family(known))
    slight = conversation("other", conversation=OTHER.conversation.model_dump(), must_catch=0.25)
    whole = of(TALK, slight, fdr=0.07)
    assert whole.plane != Plane()
    judged(run_of(experiments=()), whole, replicable=False)
    assert [one.profile.policy.must_catch for one in asked] == [0.10, 0.25]
    assert [one.profile.policy.fdr for one in asked] == [0.07, 0.07]
    assert [one.profile.plane for one in asked] == [Plane(), Plane()]
    assert [one.options["known"] for one in asked] == ["prior of turns", None]
    assert [one.options["replicable"] for one in asked] == [False, False]


def test_a_run_is_compared_as_if_it_had_measured_one_experiment_alone(monkeypatch):
    asked = asked_of(monkeypatch)
    run = run_of(experiments=BOTH).model_copy(update={"noise": noise(40)})
    assert run.plan.drawn
    judged(run, of(*BOTH))
    turns, other = (one.run for one in asked)
    assert turns.plan.points == [(150, 20), (220, 20), (290, 20)]
    assert other.plan.points == [(150, 21), (221, 21), (292, 21)]
    for one, experiment in ((turns, TALK), (other, OTHER)):
        assert (one.plan.drawn, one.noise) == ([], None)
        points = [c.point for c in experiment.conditions]
        assert [[s.point for s in launch.series] for launch in one.starts] == [points] * 5
        assert {len(launch.traffic) for launch in one.starts} == {0}


def test_each_stored_run_is_compared_in_its_own_role_and_by_none_of_the_points_noise(monkeypatch):
    asked = asked_of(monkeypatch)
    stored = {name: run_of(seed=n) for n, name in enumerate(("chosen", "pinned", "rolling"))}
    for run in stored.values():
        run.noise = noise(40)
    judged(run_of(), of(TALK), references=References(**stored, noise=noise(60)))
    (one,) = asked
    assert one.references.noise is None
    assert dict(one.references.stored).keys() == stored.keys()
    for role, run in one.references.stored:
        own = [launch.traffic[0].ttft_ms for launch in stored[role].starts]
        assert [launch.series[0].ttft_ms for launch in run.starts] == own
        assert (run.plan.points, run.noise) == (points_of(TALK), None)


@pytest.mark.parametrize(
    "without", ["the study's table", "a run without the conditions", "no run at all"]
)
@pytest.mark.parametrize("role", ["chosen", "pinned", "rolling"])
def test_a_stored_run_without_the_conditions_is_no_reference(monkeypatch, role, without):
    asked = asked_of(monkeypatch)
    stored = {
        "the study's table": run_of().model_copy(update={"provenance": "study"}),
        "a run without the conditions": run_of(experiments=(OTHER,)),
        "no run at all": None,
    }[without]
    judged(run_of(), of(TALK), references=References(**{role: stored}))
    assert asked[0].references.stored == []


LOOKS = [look(0.003), look(0.002, 2), look(0.001, 3)]


@pytest.mark.parametrize(
    ("looks", "level", "expected"),
    [
        ([], None, Level(0.01, 0.95, 0.01)),  # the policy's rate
        (LOOKS, None, Level(0.001, 0.999, 0.001)),
        (LOOKS[:2], None, Level(0.002, 0.998, 0.002)),
        (LOOKS, Level(0.004, 0.97), Level(0.004, 0.97, 0.004)),
        ([], Level(0.004, 0.97), Level(0.004, 0.97, 0.004)),
    ],
)
def test_the_asked_level_counts_before_the_last_interim_analysis(
    monkeypatch, looks, level, expected
):
    asked = asked_of(monkeypatch)
    judged(of_points(run_of(experiments=())), of(TALK, rate=0.01), looks=looks, level=level)
    assert levels(asked) == [("turns", expected)]


def with_mean(rejected, asked):
    """A family whose mean rejects in one direction; it notes what each direction is asked."""

    def rejects(sign, rate, min_effect):
        asked[sign] = rate, min_effect
        return sign == rejected

    def record(rates, min_effect):
        asked["record"] = rates, min_effect
        return "the mean's record"

    return SimpleNamespace(priors={}, mean="the mean", rejects=rejects, record=record)


@pytest.mark.parametrize(
    ("verdict", "rates"),
    [
        ("pass", {1: 0.002, -1: 0.002}),
        ("regression", {1: 0.01, -1: 0.002}),
        ("improvement", {1: 0.002, -1: 0.01}),
        (None, {1: 0.002, -1: 0.002}),
    ],
)
def test_what_points_leave_is_the_means_in_either_direction(monkeypatch, verdict, rates):
    asked = {}
    asked_of(monkeypatch, family=with_mean(None, asked))
    points = None if verdict is None else live(verdict)
    got = judged(run_of(experiments=()), of(*BOTH, min_effect=0.02), points=points)
    assert got.mean == "the mean's record"
    assert asked["record"] == (pytest.approx(rates), 0.02)
    assert {sign: asked[sign] for sign in rates} == {
        sign: (pytest.approx(rate), 0.02) for sign, rate in rates.items()
    }


@pytest.mark.parametrize(
    ("rejected", "slower", "faster"),
    [
        # Two experiments share 0.01 of slower and 0.002 of faster, or what the mean leaves of it.
        (1, 0.005, 0.0005),
        (-1, 0.0025, 0.001),
        (None, 0.0025, 0.0005),
    ],
)
def test_the_mean_leaves_its_half_in_the_direction_in_which_it_rejects(
    monkeypatch, rejected, slower, faster
):
    asked = asked_of(monkeypatch, family=with_mean(rejected, {}))
    judged(run_of(experiments=()), of(*BOTH), points=live("regression"))
    assert [one.name for one in asked] == ["turns", "other"]
    for one in asked:
        level = one.options["level"]
        assert (level.alpha, level.alpha_faster) == pytest.approx((slower, faster))


@pytest.mark.parametrize("verdict", ["regression", "improvement"])
def test_a_rejected_one_keeps_its_answer_and_leaves_its_rate_to_the_others(monkeypatch, verdict):
    """In its own direction; where there are no points the experiments share the whole of 0.012."""
    first = Level(0.004, 0.95, 0.004)
    more, as_before = pytest.approx(0.006), pytest.approx(0.004)
    second = (more, 0.95, as_before) if verdict == "regression" else (as_before, 0.95, more)
    asked = asked_of(monkeypatch, lambda name, _: verdict if name == "other" else "inconclusive")
    got = judged(of_points(run_of(experiments=())), of(*ALL, rate=0.012))
    assert levels(asked) == [
        *((name, pytest.approx(first)) for name in ("turns", "other", "third")),
        *((name, second) for name in ("turns", "third")),
    ]
    verdicts = [one.comparison.verdict for one in got.results]
    assert verdicts == ["inconclusive", verdict, "inconclusive"]


def test_the_others_are_judged_anew_until_none_is_rejected(monkeypatch):
    """Two are slower, one of them at a level that only the other leaves it."""
    needs = {"turns": 0.004, "other": 0.006, "third": 0.02}

    def verdicts(name, level):
        return "regression" if level.alpha > 0.99 * needs[name] else "pass"

    asked = asked_of(monkeypatch, verdicts)
    got = judged(of_points(run_of(experiments=())), of(*ALL, rate=0.012))
    assert [(name, pytest.approx(level.alpha)) for name, level in levels(asked)] == [
        ("turns", 0.004), ("other", 0.004), ("third", 0.004),
        ("other", 0.006), ("third", 0.006),
        ("third", 0.012),
    ]  # fmt: skip
    assert {level.alpha_faster for _, level in levels(asked)} == {0.004}
    verdicts = [one.comparison.verdict for one in got.results]
    assert verdicts == ["regression", "regression", "pass"]


def test_what_is_slower_than_a_stored_run_leaves_the_others_nothing(monkeypatch):
    slower = {"turns": "regression"}
    asked = asked_of(monkeypatch, lambda name, _: slower.get(name, "pass"), kind="baseline")
    judged(run_of(experiments=()), of(*BOTH))
    assert [one.name for one in asked] == ["turns", "other"]


@pytest.mark.parametrize(
    ("chosen", "site", "expected"),
    [
        (noise(20), noise(60), noise(20)),
        (noise(20), None, noise(20)),
        (None, noise(60), noise(60)),
        (None, None, None),  # what a profile assumes is not stored
    ],
)
def test_the_noise_of_the_chosen_run_counts_before_that_of_the_identity(
    monkeypatch, chosen, site, expected
):
    asked_of(monkeypatch)
    given = []
    monkeypatch.setattr(judging, "family_of", lambda *of: given.append(of) or Family())
    run, whole = run_of(experiments=()), of(TALK)
    stored = run_of(experiments=(), seed=2).model_copy(update={"noise": chosen})
    judged(run, whole, references=References(stored, noise=site))
    assert given == [(run, whole, expected)]


def series_of(samples_ms, *, point=(512, 32), **fields):
    """Those samples at a point, sent as text unless it is said otherwise, all in one block."""
    count = len(samples_ms)
    values = {
        "context_tokens": point[0],
        "append_tokens": point[1],
        "form": "text",
        "ttft_ms": samples_ms,
        "e2e_ms": [ms + 7 for ms in samples_ms],
        "itl_ms": [None] * count,
        "block": [0] * count,
        **{name: [2] * count for name in ("output_tokens", "cached_tokens")},
    }
    return TrafficSeries(**{**values, **fields})


def at(*points, **changes):
    changes = {"form": "text", **changes}
    return conversation("primed", context="primed", conversation=None, points=points, **changes)


def launch(index, *traffic, ids_ms=20.0, side="candidate", **changes):
    """A launch that took `ids_ms` at every point of the default traffic."""
    made = start(index, side, traffic=list(traffic), **changes)
    for series in made.series:
        series.ttft_ms = [ids_ms] * len(series.ttft_ms)
    return made


def test_the_tail_is_told_of_all_launches_samples_together():
    """Of 1 to 300 ms; 250 of them were sent late, by 51 to 300 ms, and of 50 it is not known."""
    halves = [[float(n) for n in range(1 + first, 151 + first)] for first in (0, 150)]
    late = [[None] * 50 + halves[0][50:], halves[1]]
    experiment = at([512, 32], form="ids", company="rate:2", requests=2)
    series = [
        series_of(ms, form="ids", company="rate:2", late_ms=late_ms)
        for ms, late_ms in zip(halves, late, strict=True)
    ]
    (told,) = summarise([launch(n, one) for n, one in enumerate(series)], experiment)
    assert (told.starts, told.samples) == (2, 300)
    assert told.p90_ms == pytest.approx(1 + 0.90 * 299)
    assert told.p99_ms == pytest.approx(1 + 0.99 * 299)
    assert told.late_p99_ms == pytest.approx(51 + 0.99 * 249)


def test_either_side_is_summarised_as_the_candidate_is():
    """By a single launch too."""
    series = series_of([30.0] * 5, planned_cached_tokens=511)
    for side in ("candidate", "reference"):
        (told,) = summarise([launch(0, series, ids_ms=20.0, side=side)], at([512, 32]))
        assert (told.starts, told.median_ms) == (1, pytest.approx(30))
        assert told.over_alone == pytest.approx(1.5)
        assert told.planned_cached_tokens == 511


def test_a_result_tells_what_its_form_costs_the_candidate():
    """2 ms for a prompt of 544 tokens, 4 ms more for one of 1,536."""
    series = [series_of([22.0] * 5), series_of([26.0] * 5, point=(512, 1024))]
    dear = [series_of([99.0] * 5), series_of([99.0] * 5, point=(512, 1024))]
    run = run_of(experiments=())
    run.starts = [launch(0, *series), launch(1, *series), launch(2, *dear, side="reference")]
    both = at([512, 32], [512, 1024])
    (told,) = judged(run, of(both)).results
    assert told.over_ids.per_1000_tokens_ms.value == pytest.approx(4 / 0.992)
    assert told.over_ids.fixed_ms.value == pytest.approx(2 - 0.544 * 4 / 0.992)


def soaking(*ttft_ms):
    """A stage a minute."""
    return [
        Stage(
            state="soaked",
            context_tokens=512,
            append_tokens=32,
            after_s=60.0 * n,
            requests=100 * n,
            leaves=None,
            ttft_ms=[ms],
            void=None,
            resident_bytes=None,
        )
        for n, ms in enumerate(ttft_ms)
    ]


def test_a_result_tells_what_its_state_adds_to_the_candidate():
    run = run_of(experiments=())
    run.starts = [
        launch(0, stages=soaking(20.0, 20.5, 21.0)),
        launch(1, stages=soaking(20.0, 21.5, 23.0)),
        launch(2, stages=soaking(20.0, 40.0, 60.0), side="reference"),
    ]
    soaked = at([512, 32], form="ids", state="soaked")
    (told,) = judged(run, of(soaked)).results
    assert (told.growth.over, told.growth.launches) == ("minutes", 2)
    assert told.growth.ttft_ms.value == pytest.approx((0.5 + 1.5) / 2)
    (told,) = judged(run, of(at([512, 32]))).results
    assert told.growth is None


@pytest.mark.parametrize("heavy", [True, False])
def test_a_result_says_whether_it_is_measured_only_where_it_is_asked_for(heavy):
    (told,) = judged(run_of(experiments=()), of(at([512, 32], heavy=heavy))).results
    assert told.heavy == heavy
