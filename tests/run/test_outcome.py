"""What a verdict makes of a test, and that pytest's summary folds what is alike."""

from __future__ import annotations

import pytest

from append_prefill.records.comparison import Comparison
from append_prefill.records.traffic import TrafficMean
from append_prefill.run.outcome import NOTHING, settle_comparison, settle_finding, settle_mean
from tests.report import samples


def comparison_of(run: object) -> Comparison:
    made = getattr(run, "comparison", None)
    assert isinstance(made, Comparison)
    return made


def test_all_undecided_points_are_skipped_in_the_same_words() -> None:
    made = comparison_of(samples.inconclusive())
    undecided = [e for e in made.points if e.verdict == "inconclusive"]
    assert len(undecided) > 1
    outcomes = {settle_comparison(made, e.point, strict=False) for e in undecided}
    (one,) = outcomes
    assert one.kind == "skip"
    assert one.text.startswith(f"inconclusive: {len(undecided)} of {len(made.points)} points")
    assert one.text.endswith("as a whole: inconclusive")


def test_under_strict_verdicts_each_fails_with_its_numbers() -> None:
    made = comparison_of(samples.inconclusive())
    undecided = [e for e in made.points if e.verdict == "inconclusive"]
    outcomes = [settle_comparison(made, e.point, strict=True) for e in undecided]
    assert {outcome.kind for outcome in outcomes} == {"fail"}
    assert all(e.point.label in o.text for e, o in zip(undecided, outcomes, strict=True))


@pytest.mark.parametrize("strict", [False, True])
def test_where_nothing_is_stored_nothing_is_inconclusive(strict: bool) -> None:
    outcome = settle_comparison(None, None, strict=strict)
    assert (outcome.kind, outcome.text) == ("skip", NOTHING)
    assert "inconclusive" not in NOTHING


def test_a_finding_is_named_where_it_is_skipped() -> None:
    run = samples.inconclusive()
    told = {f.id: settle_finding(f, strict=False) for f in run.findings}
    skipped = {name: outcome for name, outcome in told.items() if outcome.kind == "skip"}
    assert skipped
    assert all(name in outcome.text for name, outcome in skipped.items())


@pytest.mark.parametrize(
    ("verdict", "kind"), [("regression", "fail"), ("improvement", "pass"), ("inconclusive", "pass")]
)
def test_of_other_traffic_as_a_whole_only_a_regression_fails(verdict: str, kind: str) -> None:
    mean = TrafficMean.model_validate(
        {
            "experiments": ["turns", "aged"],
            "weights": [0.5, 0.5],
            "ratio": 1.06,
            "low": 1.03,
            "high": 1.09,
            "p": 0.001,
            "alpha": 0.001,
            "mde": 0.05,
            "verdict": verdict,
        }
    )
    outcome = settle_mean(mean)
    assert outcome.kind == kind
    assert ("All 2 together" in outcome.text) == (kind == "fail")
    assert settle_mean(None).kind == "skip"
