"""Every code of `records.grounds` has its sentence, and the numbers in it are the record's."""

from typing import get_args

import pytest

from append_prefill.records.comparison import Comparison, Effect, Look
from append_prefill.records.grounds import Decision, FindingGround, Ground, Region
from append_prefill.records.run import Finding
from append_prefill.report.finding_reasons import finding_reason
from append_prefill.report.places import region_words, where_words
from append_prefill.report.reasons import (
    comparison_reason,
    decision_words,
    quantity_name,
)
from append_prefill.report.warnings import warning_words


def region(kind, own, size=None, **tokens) -> Region:
    return Region(kind=kind, own=own, size=own if size is None else size, **tokens)


@pytest.mark.parametrize(
    ("regions", "expected"),
    [
        ([], "nowhere"),
        ([region("everywhere", 0.031)], "everywhere (+3.1 %)"),
        ([region("everywhere", -0.05)], "everywhere (−5.0 %)"),
        ([region("append", 0.083, append_tokens=1024)], "grows with m: +8.3 % at m = 1024"),
        ([region("append", -0.077, append_tokens=1024)], "shrinks with m: −7.7 % at m = 1024"),
        (
            [region("context", 0.062, context_tokens=2048, from_tokens=1024)],
            "long contexts (L >= 1024): +6.2 % at L = 2048",
        ),
        (
            [region("point", 0.05, context_tokens=512, append_tokens=128)],
            "only at L512-m128 (+5.0 %)",
        ),
        ([region("floor", 0.1, append_tokens=308)], "at the floor (+10.0 % at m <= 308)"),
        (
            [region("append", 0.06, 0.094, append_tokens=1024), region("everywhere", 0.03)],
            "everywhere (+3.0 %) and more at large m (+9.4 % at m = 1024)",
        ),
        (
            [
                region("context", -0.02, 0.01, context_tokens=2048, from_tokens=1024),
                region("everywhere", 0.03),
            ],
            "everywhere (+3.0 %) and less at long contexts (+1.0 % at L = 2048)",
        ),
    ],
)
def test_regions(regions, expected) -> None:
    assert region_words(regions) == expected


def comparison(**fields) -> Comparison:
    given = {
        "reference": "0.5.21",
        "reference_version": "0.5.21",
        "kind": "side-by-side",
        "provenance": "suite",
        "confirmed": True,
        "method": None,
        "points": [],
        "surface": [],
        "mde": None,
        "starts_needed": None,
        "verdict": "inconclusive",
        "where": [],
        "reason": Ground(code="undecided"),
    }
    return Comparison.model_validate(given | fields)


@pytest.mark.parametrize("code", get_args(Ground.model_fields["code"].annotation))
def test_every_ground_has_a_sentence(code) -> None:
    said = comparison_reason(
        comparison(reason=Ground(code=code, quantities=["level"], taken_alone="pass"))
    )
    assert said.endswith(".")
    assert said[0].isupper()
    assert "None" not in said or code == "too-few-launches"


def test_what_cannot_be_detected_is_said() -> None:
    said = comparison_reason(comparison())
    assert "detectable is nothing below a doubling" in said
    assert "more launches than a run holds" in said


def test_where_follows_the_verdict() -> None:
    assert where_words(comparison()) == "cannot tell"
    assert where_words(comparison(verdict="pass")) == "nowhere"
    moved = comparison(verdict="regression", where=[region("everywhere", 0.05)])
    assert where_words(moved) == "everywhere (+5.0 %)"


@pytest.mark.parametrize("code", get_args(FindingGround.model_fields["code"].annotation))
def test_every_finding_has_a_sentence(code) -> None:
    finding = Finding(
        id="scale_factor",
        claim="c",
        formula="f",
        study_value=None,
        measured=1.0,
        low=0.9,
        high=1.1,
        bound=1.05,
        argument="What the bound rests on.",
        verdict="inconclusive",
        reason=FindingGround(
            code=code, text="L512-m32", turn=2, cached_tokens=100.0, planned_cached_tokens=150
        ),
    )
    said = finding_reason(finding)
    assert said.endswith(".")
    assert "None" not in said


@pytest.mark.parametrize("code", get_args(Decision.model_fields["code"].annotation))
def test_every_decision_has_a_sentence(code) -> None:
    look = Look(
        look=2,
        candidate_starts=8,
        reference_starts=8,
        threshold=0.001,
        verdict="inconclusive",
        suspects=[],
        decision=Decision(code=code, more_pairs=3, budget_pairs=1, starts_needed=12),
    )
    assert decision_words(look).endswith(".")


@pytest.mark.parametrize(
    ("name", "span", "shown"),
    [
        ("floor_points", (7, 308), "at m ≤ 308"),
        ("compute_points", (512, 4096), "at m ≥ 512"),
        ("append_end", (1024, 1024), "at m ≥ 1024"),
        ("context_end", (1024, 2048), "at L ≥ 1024"),
    ],
)
def test_a_part_of_the_plane_is_named_by_its_open_side(
    name: str, span: tuple[int, int], shown: str
) -> None:
    """Where the floor is, m is at most something: from its least m on lies the whole plane."""
    figures = dict.fromkeys(("reference", "candidate", "ratio", "low", "high", "p", "mde"))
    where = {"name": name, "from_tokens": span[0], "tokens": span[1], "verdict": "pass"}
    assert quantity_name(Effect.model_validate(where | figures)) == shown


def test_words_of_old_records_are_shown_as_they_are() -> None:
    old = comparison(reason="As it was said.", where="everywhere (+3.1 %)", method="by hand")
    assert comparison_reason(old) == "As it was said."
    assert where_words(old) == "everywhere (+3.1 %)"
    assert warning_words("As it was said.") == "As it was said."


@pytest.mark.parametrize(
    ("old", "name", "tokens", "shown"),
    [
        ("overall level", "level", None, "overall level"),
        ("growth with m", "append_growth", None, "growth with m"),
        ("at m = 1024", "append_end", 1024, "at m = 1024"),
        ("at L = 2048", "context_end", 2048, "at L = 2048"),
        ("per new token", "new_token", None, "per new token"),
        ("floor", "floor", None, "floor"),
    ],
)
def test_quantities_named_in_words_are_read_as_what_they_are(old, name, tokens, shown) -> None:
    figures = dict.fromkeys(("reference", "candidate", "ratio", "low", "high", "p", "mde"))
    effect = Effect.model_validate({"name": old, "verdict": "pass", **figures})
    assert (effect.name, effect.tokens) == (name, tokens)
    assert quantity_name(effect) == shown
