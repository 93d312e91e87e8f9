import itertools

import pytest

from append_prefill.analysis.verdict.overall import ORDER, run_verdict, worst
from append_prefill.records.comparison import Comparison
from append_prefill.records.run import Finding
from append_prefill.records.traffic import TrafficMean


def finding(verdict) -> Finding:
    return Finding(
        id="x",
        claim="",
        formula="",
        study_value=None,
        measured=None,
        low=None,
        high=None,
        bound=None,
        argument="",
        verdict=verdict,
        reason="",
    )


def comparison(verdict, provenance="suite") -> Comparison:
    return Comparison(
        reference="x",
        kind="baseline",
        provenance=provenance,
        confirmed=False,
        method="",
        points=[],
        surface=[],
        mde=None,
        starts_needed=None,
        verdict=verdict,
        where="",
        reason="",
    )


@pytest.mark.parametrize(
    ("findings", "compared", "expected"),
    [
        ([], None, "infrastructure"),
        (["not-applicable"], None, "infrastructure"),
        (["holds", "not-applicable"], None, "pass"),
        (["holds", "broken"], None, "broken"),
        (["holds", "regime-shift"], None, "improvement"),
        (["holds", "inconclusive"], None, "inconclusive"),
        (["holds"], "pass", "pass"),
        (["holds"], "regression", "regression"),
        (["broken"], "regression", "regression"),
        (["broken"], "improvement", "broken"),
        (["holds"], "improvement", "improvement"),
        (["holds"], "not-comparable", "not-comparable"),
        (["inconclusive"], "not-comparable", "inconclusive"),
        ([], "pass", "pass"),
    ],
)
def test_the_worst_counts(findings, compared, expected) -> None:
    found = run_verdict([finding(v) for v in findings], comparison(compared) if compared else None)
    assert found == expected


def test_a_standing_shift_leaves_the_verdict_to_the_comparison() -> None:
    standing = finding("regime-shift").model_copy(update={"standing": True})
    assert run_verdict([finding("holds"), standing], comparison("pass")) == "pass"
    assert run_verdict([standing], comparison("regression")) == "regression"


def test_the_study_does_not_hold_a_run_at_inconclusive() -> None:
    study = comparison("inconclusive", "study")
    assert run_verdict([finding("holds")], study) == "pass"
    assert run_verdict([], study) == "inconclusive"


def test_order_of_the_given_does_not_matter() -> None:
    for pair in itertools.permutations(ORDER, 2):
        assert worst(pair) == worst(pair[::-1])


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("regression", "regression"),
        ("improvement", "improvement"),
        # What passes is said of each experiment alone, and so is what cannot be told.
        ("inconclusive", "pass"),
    ],
)
def test_the_mean_over_other_traffic_counts_where_it_is_sure(said, expected) -> None:
    mean = TrafficMean.model_construct(verdict=said)
    passing = [finding("holds")] if said != "improvement" else []
    assert run_verdict(passing, comparison("pass") if passing else None, (), mean) == expected
