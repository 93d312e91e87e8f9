import numpy as np
import pytest

from append_prefill.analysis.design import design_of
from append_prefill.analysis.joint import estimate
from append_prefill.analysis.prior import Prior
from append_prefill.analysis.verdict.alarms import alarm, passes
from append_prefill.analysis.verdict.comparison import compare
from append_prefill.analysis.verdict.sequential import (
    Schedule,
    next_step,
    schedule_of,
    suspects_of,
)
from append_prefill.records.grounds import ComparisonVerdict, NoiseSource
from append_prefill.records.run import Comparison, Look
from tests.analysis.factory import NOISE, POINTS, POLICY, starts_of

P = len(POINTS)


def look(number: int) -> Look:
    return Look(
        look=number,
        candidate_starts=5,
        reference_starts=5,
        threshold=0.008,
        verdict="inconclusive",
        suspects=[],
        decision="continue",
    )


def comparison(effect: float, kind="side-by-side", sd=0.01) -> Comparison:
    rng = np.random.default_rng(0)
    common = rng.normal(size=(2, 5, 1))
    common -= common.mean(axis=1, keepdims=True)
    cells = rng.normal(size=(2, 5, P))
    sides = sd * common + 0.005 * (cells - cells.mean(axis=1, keepdims=True))
    return compare(
        starts_of(sides[0] + effect),
        starts_of(sides[1]),
        policy=POLICY,
        noise=NOISE,
        kind=kind,
        reference_label="x",
        provenance="suite",
    )


def test_the_parts_make_the_whole_rate() -> None:
    schedule = schedule_of(POLICY, 5)
    assert schedule.starts == (5, 8, 11)
    assert sum(schedule.alphas) == pytest.approx(POLICY.false_alarm_rate)
    assert schedule.alphas[0] == pytest.approx(0.8 * POLICY.false_alarm_rate)


@pytest.mark.parametrize(
    ("first", "most", "starts"),
    [
        (5, 5, (5,)),
        (5, 6, (5, 6)),
        (5, 8, (5, 8)),
        (5, 100, (5, 8, 11)),
        (1, 2, (1, 2)),
        (1, 9, (1, 2, 3)),
    ],
)
def test_the_budget_bounds_the_looks(first, most, starts) -> None:
    schedule = schedule_of(POLICY, first, most)
    assert schedule.starts == starts
    assert len(schedule.alphas) == len(starts)
    assert sum(schedule.alphas) == pytest.approx(POLICY.false_alarm_rate)


def test_one_look_takes_the_whole_rate() -> None:
    one = schedule_of(POLICY.model_copy(update={"looks": 1}), 5)
    assert (one.starts, one.alphas) == ((5,), (0.01,))
    for first, most in ((0, None), (5, 4)):
        with pytest.raises(ValueError, match="budget"):
            schedule_of(POLICY, first, most)


def test_what_is_settled_stops() -> None:
    for effect in (0.0, 0.1, -0.1):
        judged = comparison(effect)
        step = next_step(judged, [], schedule_of(POLICY, 5))
        assert (step.decision.code, step.decision.more_pairs) == ("settled", 0)
        assert step.decision.starts_needed == judged.starts_needed is not None
        assert step.alpha is None
        assert not step.goes_on


def test_the_undecided_goes_on_until_the_looks_are_spent() -> None:
    schedule = schedule_of(POLICY, 5)
    undecided = comparison(0.03, sd=0.03)
    assert undecided.verdict == "inconclusive"
    step = next_step(undecided, [], schedule)
    assert (step.decision.code, step.decision.more_pairs) == ("continue", 3)
    assert step.decision.starts_needed == undecided.starts_needed
    assert step.alpha == schedule.alphas[1]
    assert step.suspects
    assert set(step.suspects) <= {p.label for p in POINTS}
    uneven = Schedule((5, 6, 9), (0.006, 0.003, 0.001))
    second = next_step(undecided, [look(1)], uneven)
    assert (second.goes_on, second.decision.more_pairs, second.alpha) == (True, 3, 0.001)
    last = next_step(undecided, [look(1), look(2)], schedule)
    assert last.decision.code == "last"
    with pytest.raises(ValueError, match="interim analysis 4 of 3"):
        next_step(undecided, [look(1), look(2), look(3)], schedule)


def test_suspects_are_what_may_be_slower_the_slowest_first() -> None:
    judged = comparison(0.0)
    said: list[tuple[ComparisonVerdict, float | None]] = [
        ("pass", 1.5),
        ("regression", 1.1),
        ("inconclusive", 0.9),
        ("improvement", 0.8),
        ("inconclusive", None),
        ("inconclusive", 1.2),
    ]
    judged.points = [
        point.model_copy(update={"verdict": verdict, "ratio": ratio})
        for point, (verdict, ratio) in zip(judged.points, said, strict=False)
    ]
    assert suspects_of(judged) == (POINTS[5].label, POINTS[1].label, POINTS[2].label)


def test_across_nights_more_starts_do_not_help() -> None:
    step = next_step(comparison(0.05, kind="baseline"), [], schedule_of(POLICY, 5))
    assert step.decision.code == "nights"


@pytest.mark.simulation
def test_looking_again_keeps_the_false_alarm_rate() -> None:
    """Three looks at 4000 sessions in which nothing differs, noise so large that most go on and no
    least effect: at most 1 % (1.5 % is seen once in 800 seeds at a true 1 %)."""
    rng = np.random.default_rng(1)
    design, schedule = design_of(POINTS), schedule_of(POLICY, 5)
    a, b = (
        0.05 * rng.normal(size=(4000, 11, 1)) + 0.03 * rng.normal(size=(4000, 11, P))
        for _ in range(2)
    )
    prior = Prior(0.05, 16, None, 0, NoiseSource(kind="profile"))
    open_nights, found = np.ones(4000, bool), np.zeros(4000, bool)
    for starts, alpha in zip(schedule.starts, schedule.alphas, strict=True):
        joint = estimate(a[:, :starts], b[:, :starts], design, prior, nights=False)
        slower = alarm(joint, design, alpha=alpha, min_effect=0.0, sign=1).any
        faster = alarm(joint, design, alpha=alpha, min_effect=0.0, sign=-1).any
        found |= open_nights & slower
        open_nights &= ~(slower | faster | passes(joint, must_catch=0.03))
    assert float(open_nights.mean()) > 0.5
    assert float(found.mean()) <= 0.015
