"""The sentence of each shape of change, and of each verdict without one."""

from __future__ import annotations

from typing import Any

import pytest

from append_prefill.analysis.verdict.overall import run_verdict
from append_prefill.plugin.ending import exit_status
from append_prefill.records.comparison import (
    Change,
    ChangeAt,
    ChangeIn,
    ChangeTerm,
    Comparison,
    Effect,
)
from append_prefill.records.grounds import FindingGround, Ground, Method, NoiseSource, RunWarning
from append_prefill.records.run import Run
from append_prefill.report.delivery.account import account_of
from append_prefill.report.headline import headline_of
from append_prefill.report.markdown import escape
from append_prefill.report.places import where_words
from append_prefill.report.sentence import comparison_sentence, sentence
from tests.report import samples

POINTS = [(512, 32), (512, 128), (512, 512), (512, 1024), (64, 128), (2048, 128)]


def part(ratio: float, delta_ms: float, region: Any = "level", **changes: Any) -> ChangeIn:
    given = {
        "region": region,
        "ratio": ratio,
        "low": ratio - 0.03,
        "high": ratio + 0.03,
        "delta_ms": delta_ms,
        "low_ms": delta_ms - 0.2,
        "high_ms": delta_ms + 0.2,
        "points": POINTS,
    }
    return ChangeIn(**(given | changes))


def term(kind: Any, value: float, **tokens: int) -> ChangeTerm:
    return ChangeTerm(kind=kind, value=value, low=value * 0.8, high=value * 1.2, **tokens)


def change(parts: list[ChangeIn], *terms: ChangeTerm, fits: bool = True) -> Change:
    at = [
        ChangeAt(context_tokens=L, append_tokens=m, reference_ms=11.0, delta_ms=2.2)
        for L, m in POINTS
    ]
    return Change(parts=parts, terms=list(terms), points=at, misfit=0.5, fits=fits)


def level(ratio: float, low: float, high: float) -> Effect:
    fields = dict.fromkeys(("reference", "candidate", "p", "mde"))
    return Effect(name="level", ratio=ratio, low=low, high=high, verdict="inconclusive", **fields)


def compared(verdict: Any, **changes: Any) -> tuple[Run, Comparison]:
    run = samples.regression()
    assert run.comparison is not None
    method = Method(
        paired=True,
        alpha=0.008,
        min_effect=0.015,
        must_catch=0.03,
        noise=NoiseSource(kind="profile"),
    )
    given = {
        "verdict": verdict,
        "method": method,
        "where": [],
        "reason": Ground(code="undecided"),
        "mde": 0.052,
    }
    comparison = run.comparison.model_copy(update=given | changes)
    return run.model_copy(update={"comparison": comparison, "verdict": verdict}), comparison


def said(verdict: Any, **changes: Any) -> str:
    return comparison_sentence(*compared(verdict, **changes)).plain.replace("\u00a0", " ")


HOW = "side by side with 0.5.22, 5 launches each"


@pytest.mark.parametrize(
    ("verdict", "fitted", "text"),
    [
        (
            "regression",
            change([part(1.2, 2.2)], term("everywhere", 2.2)),
            f"SGLang 0.5.23 adds 2.2 ms to every append-prefill (+20 %, 17 to 23; {HOW}); "
            "cost per new token unchanged.",
        ),
        (
            "improvement",
            change([part(0.76, -2.2)], term("everywhere", -2.2)),
            "SGLang 0.5.23 saves 2.2 ms on every append-prefill "
            f"(−24 %, −27 to −21; {HOW}); cost per new token unchanged.",
        ),
        (
            "regression",
            change([part(1.2, 2.2, "floor", append_tokens=(32, 128))], term("floor", 2.2)),
            "SGLang 0.5.23 adds 2.2 ms at m ≤ 128, where TTFT is at its floor "
            f"(+20 %, 17 to 23; {HOW}); cost per new token unchanged.",
        ),
        (
            "regression",
            change([part(1.2, 2.2, "compute", append_tokens=(512, 1024))], term("compute", 2.2)),
            "SGLang 0.5.23 adds 2.2 ms at m ≥ 512, where computing shows "
            f"(+20 %, 17 to 23; {HOW}).",
        ),
        (
            "regression",
            change([part(1.042, 0.55)], term("proportional", 0.042)),
            "SGLang 0.5.23 is 4.2 % slower than 0.5.22 everywhere "
            "(1.2 to 7.2; +0.55 ms on average; side by side, 5 launches each).",
        ),
        (
            "regression",
            change([part(1.08, 1.4, "append_end", append_tokens=(512, 1024))], term("append", 2.5)),
            "SGLang 0.5.23 costs 2.5 µs more per new token: +8.0 % at m ≥ 512 "
            f"(5.0 to 11.0; {HOW}).",
        ),
        (
            "improvement",
            change(
                [part(0.92, -1.4, "context_end", context_tokens=(2048, 2048))],
                term("context", -0.7),
            ),
            "SGLang 0.5.23 costs 0.70 µs less per cached token: −8.0 % at L = 2048 "
            f"(−11.0 to −5.0; {HOW}).",
        ),
        (
            "regression",
            change([part(1.1, 1.5)], term("everywhere", 0.9), term("append", 1.2), fits=False),
            f"SGLang 0.5.23 adds 1.5 ms on average over all points (+10 %, 7 to 13; {HOW}). "
            "No simple form fits all of it: see the single points.",
        ),
        (
            "regression",
            change(
                [part(1.1, 1.9, "points", points=[(512, 128)])],
                term("point", 1.9, context_tokens=512, append_tokens=128),
            ),
            "SGLang 0.5.23 adds 1.9 ms at L512-m128 (+10 %, 7 to 13; L512-m128 corrected for the "
            f"choice among 6 points; {HOW}).",
        ),
        (
            "regression",
            change([part(1.1, 1.9, "points", points=POINTS[:4])], term("floor", 1.9)),
            f"SGLang 0.5.23 adds 1.9 ms at 4 of 6 points (+10 %, 7 to 13; {HOW}); "
            "cost per new token unchanged.",
        ),
        (
            # Milliseconds and per cent may go two ways: what is said is then one of them.
            "regression",
            change([part(1.04, -0.4)], term("everywhere", -0.4), term("append", 3.0)),
            "SGLang 0.5.23 is 4.0 % slower than 0.5.22 on average over all points "
            "(1.0 to 7.0; side by side, 5 launches each).",
        ),
        (
            "regression",
            change(
                [
                    part(1.12, 3.0, "points", points=POINTS[2:4], append_tokens=(820, 1024)),
                    part(0.76, -4.0, "points", points=POINTS[:3], append_tokens=(32, 512)),
                ],
                term("floor", -4.0),
                term("compute", 3.0),
            ),
            "SGLang 0.5.23 is 12 % slower at m ≥ 820 and 24 % faster at m ≤ 512 than 0.5.22 "
            "(9 to 15 and 21 to 27; side by side, 5 launches each). A regression: what is faster "
            "makes up for nothing where it is slower.",
        ),
    ],
)
def test_a_change_is_said_in_its_own_unit(verdict: Any, fitted: Change, text: str) -> None:
    assert said(verdict, change=fitted) == text


@pytest.mark.parametrize(
    ("verdict", "level_", "text"),
    [
        (
            "pass",
            level(0.998, 0.989, 1.007),
            "No slow-down of 3 % can hide in SGLang 0.5.23 against 0.5.22 "
            "(level −0.2 %, −1.1 to +0.7; side by side, 5 launches each).",
        ),
        (
            "inconclusive",
            level(1.017, 0.989, 1.046),
            "Cannot tell whether SGLang 0.5.23 is slower than 0.5.22 (level +1.7 %, −1.1 to +4.6; "
            "side by side, 5 launches each); changes from 5.2 % can be told.",
        ),
        (
            "inconclusive",
            level(1.023, 1.004, 1.042),
            "SGLang 0.5.23 is probably slower than 0.5.22, not proven (level +2.3 %, 0.4 to 4.2; "
            "side by side, 5 launches each); changes from 5.2 % can be told.",
        ),
        (
            "inconclusive",
            level(0.98, 0.97, 0.99),
            "SGLang 0.5.23 is probably faster than 0.5.22, not proven (level −2.0 %, −3.0 to −1.0; "
            "side by side, 5 launches each); changes from 5.2 % can be told.",
        ),
        (
            "regression",
            level(1.042, 1.016, 1.067),
            "SGLang 0.5.23 is 4.2 % slower than 0.5.22 on the level "
            "(1.6 to 6.7; side by side, 5 launches each): nowhere.",
        ),
        (
            "regression",
            level(0.754, 0.73, 0.78),
            "SGLang 0.5.23 is slower than 0.5.22 in a part, though the level is −25 % "
            "(−27 to −22; side by side, 5 launches each): nowhere.",
        ),
    ],
)
def test_without_a_fitted_change_the_level_is_said(verdict: Any, level_: Effect, text: str) -> None:
    assert said(verdict, surface=[level_]) == text


def test_a_mixed_change_of_no_simple_form_says_so() -> None:
    halves = [part(1.12, 3.0, "points", points=POINTS[2:4]), part(0.76, -4.0, points=POINTS[:2])]
    text = said("regression", change=change(halves, term("floor", -4.0), fits=False))
    assert text.endswith(
        "where it is slower. No simple form fits all of it: see the single points."
    )


def test_a_half_that_may_be_nothing_is_not_spoken_of() -> None:
    halves = [
        part(1.2, 2.2, "points", points=POINTS[:5]),
        part(0.99, -0.1, "points", points=[(2048, 128)]),
    ]
    fitted = change(halves, term("everywhere", 3.5), term("proportional", -0.16))
    text = f"SGLang 0.5.23 adds 2.2 ms at 5 of 6 points (+20 %, 17 to 23; {HOW})."
    assert said("regression", change=fitted) == text
    _, comparison = compared("regression", change=fitted)
    assert where_words(comparison) == "at 5 of 6 points (+20.0 %)"
    # Where it is the half that the verdict is about, it stays.
    assert "1.0 % faster" in said("improvement", change=fitted)


def test_a_point_that_the_plane_has_no_room_for_is_named() -> None:
    fitted = change([part(0.75, -4.0)], term("floor", -4.0), term("append", 1.0))
    _, comparison = compared("regression", change=fitted)
    points = [
        e.model_copy(update={"verdict": "regression" if at == 3 else "pass", "ratio": 1.122})
        for at, e in enumerate(comparison.points)
    ]
    label = points[3].point.label
    assert said("regression", change=fitted, points=points) == (
        f"SGLang 0.5.23 is slower than 0.5.22 at {label} (+12.2 %), though 25 % faster on average "
        "over all points (22 to 28; side by side, 5 launches each). A regression: what is faster "
        "makes up for nothing where it is slower."
    )
    moved = comparison.model_copy(update={"points": points})
    assert where_words(moved) == (
        f"at {label} (+12.2 %); as a whole: on average over all points (−25.0 %)"
    )


def test_a_stored_reference_is_named_as_such() -> None:
    run, comparison = compared(
        "regression",
        kind="baseline",
        confirmed=False,
        change=change([part(1.2, 2.2)], term("everywhere", 2.2)),
    )
    text = comparison_sentence(run, comparison).plain
    assert "against the stored 0.5.22, 5 launches" in text
    assert "side by side" not in text
    assert headline_of(run).certainty == "not confirmed"


def test_every_form_marks_the_same_words() -> None:
    made = sentence("It adds \x002.2 ms\x00 to *all*.")
    assert made.plain == "It adds 2.2 ms to *all*."
    assert made.marked("**", escape) == "It adds **2.2 ms** to \\*all\\*."


def test_places_are_the_sentences() -> None:
    parts = [
        part(1.12, 3.0, "points", append_tokens=(820, 1024)),
        part(0.76, -4.0, "points", append_tokens=(32, 512)),
    ]
    _, comparison = compared("regression", change=change(parts, term("floor", -4.0)))
    assert where_words(comparison) == "at m ≥ 820 (+12.0 %) and at m ≤ 512 (−24.0 %)"


def test_a_run_that_was_cut_off_in_its_pair_says_so() -> None:
    """All it was to measure was the pair: no finding is judged, and no server failed."""
    whole = samples.attached()
    run = samples.infrastructure().model_copy(
        update={
            "starts": whole.starts,
            "warnings": [RunWarning(code="pair-interrupted", launches=6, usable_launches=1)],
        }
    )
    assert headline_of(run).sentence == (
        "1 launch measured with the candidate, nothing judged: Interrupted: 1 of 6 planned "
        "launches of the P/D pair were measured to their end."
    )


def unjudged(*findings: tuple[str, FindingGround], **changes: Any) -> Run:
    """A run of one whole launch in which no finding applies."""
    base = samples.broken()
    kept = [
        base.findings[0].model_copy(update={"id": id_, "verdict": "not-applicable", "reason": why})
        for id_, why in findings
    ]
    update = {"findings": kept, "comparison": None, "verdict": run_verdict(kept, None)}
    return base.model_copy(update={"starts": base.starts[:1], **update, **changes})


NO_PAIR = ("pd_pair_time", FindingGround(code="no-pair", text="nixl: no module nixl"))
UNPLANNED = ("scale_factor", FindingGround(code="not-planned", text="no experiment 'scale'"))
UNGATED = ("ttft_share", FindingGround(code="not-gated"))


@pytest.mark.parametrize(
    ("findings", "why"),
    [
        (
            (UNPLANNED, UNGATED, NO_PAIR),
            "pd_pair_time does not apply: No prefill and decode server ran together. "
            "nixl: no module nixl",
        ),
        ((UNPLANNED, UNGATED), "ttft_share does not apply: Reported, not gated"),
        ((UNPLANNED,), "nothing to compare with, and no finding of what was measured"),
    ],
)
def test_a_run_in_which_nothing_applies_says_why_and_is_no_pass(
    findings: tuple[tuple[str, FindingGround], ...], why: str
) -> None:
    run = unjudged(*findings)
    headline = headline_of(run)
    assert headline.sentence.endswith(f", nothing judged: {why}.")
    # It answers nothing, so it is not green; but no infrastructure failed.
    assert exit_status(run, 0, strict=False) == 7
    assert headline.exit_meaning == "Exit status 7: nothing was judged, which is no pass."
    assert [fact.term for fact in headline.facts] == ["Findings", "What it says about speed"]
    assert account_of(run).exit_meaning == headline.exit_meaning


def test_what_failed_is_told_before_what_does_not_apply() -> None:
    failed = RunWarning(code="judging-failed", text="the disk is full")
    assert (
        "nothing judged: the disk is full."
        in headline_of(unjudged(NO_PAIR, warnings=[failed])).sentence
    )
