"""The sessions of the table end where a run, judged by `compare`, would end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from append_prefill.analysis.prior import prior_of
from append_prefill.analysis.summary import faster_half
from append_prefill.analysis.verdict.comparison import compare
from append_prefill.analysis.verdict.sequential import schedule_of
from append_prefill.records.launch import Start
from benchmarks.sequential import EFFECTS, ROWS, Row, lines, simulated
from benchmarks.verdicts.simulate import draw
from benchmarks.verdicts.suite import ended
from tests.analysis.factory import start

ROW = Row("llama-3.1-8b", stored=False, pair_sd=0.02)


def launches(log_ms: Any) -> list[Start]:
    """Interleaved launches from samples of shape (launches, points, samples)."""
    points = ROW.setting.points
    return [
        start(pair, dict(zip(points, np.exp(table).tolist(), strict=True))).model_copy(
            update={"pair": pair, "interleaved": True}
        )
        for pair, table in enumerate(log_ms)
    ]


def test_the_batch_ends_where_compare_does() -> None:
    """Twelve sessions of which some end at each analysis, a few with each verdict."""
    setting = ROW.setting
    profile = setting.profile
    schedule = schedule_of(profile.policy, profile.plan.starts)
    drawn = draw(np.random.default_rng(0), setting, 12, schedule.starts[-1], across=False)
    drawn.candidate[...] += np.linspace(-0.02, 0.06, 12)[:, None, None, None]
    batch = ended(drawn.candidate, drawn.reference, [prior_of(profile.noise)], setting, schedule)
    one_by_one = []
    for x, y in zip(drawn.candidate, drawn.reference, strict=True):
        candidate, reference = launches(x), launches(y)
        for now in schedule.analyses:
            said = compare(
                candidate[: now.starts],
                reference[: now.starts],
                policy=profile.policy,
                noise=profile.noise,
                plane=profile.plane,
                kind="side-by-side",
                reference_label="x",
                provenance="suite",
                alpha=now.alpha,
                pass_confidence=now.pass_confidence,
                hold_rate=now.hold_rate,
            ).verdict
            if said != "inconclusive":
                break
        one_by_one.append((now.starts, said == "regression", said == "pass"))
    assert list(zip(batch.starts, batch.slower, batch.passed, strict=True)) == one_by_one
    assert set(batch.starts) == set(schedule.starts)
    assert 0 < batch.slower.sum() < 12
    assert 0 < batch.passed.sum() < 12


@pytest.mark.parametrize("row", [ROWS[0], ROWS[-1]])
def test_pairs_scatter_as_the_row_says(row) -> None:
    setting = row.setting
    drawn = draw(np.random.default_rng(0), setting, 300, 5, across=False)
    ratios = (faster_half(drawn.candidate) - faster_half(drawn.reference)).mean(axis=-1)
    assert float(ratios.std()) == pytest.approx(row.pair_sd, rel=0.06)


def test_the_table_has_a_line_a_row() -> None:
    few = {effect: simulated(ROWS[0], effect, 20, 1) for effect in EFFECTS}
    told = {(row, effect): few[effect] for row in ROWS for effect in EFFECTS}
    head, rule, *body = lines(told)
    assert {text.count("|") for text in (head, rule, *body)} == {13}
    assert len(body) == len(ROWS)
