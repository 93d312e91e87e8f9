"""The stored noise as rows."""

from __future__ import annotations

import random

import pytest

from append_prefill.records.noise import NoiseRecord, PairComponents
from append_prefill.report.components import (
    noise_columns,
    noise_rows,
    own_rows,
    pair_words,
    rests_on,
)
from append_prefill.report.html import render_html
from tests.report.parts import Model, bare, profile, starts_of, study_points


def components(scale: float, **changes: float | None) -> PairComponents:
    fields: dict[str, float | None] = {
        "request_sd": 0.1,
        "block_sd": 0.05,
        "launch_point_sd": 0.01,
        "launch_sd": 0.02,
        "round_sd": 0.04,
        "pair_sd": 0.015,
    }
    return PairComponents(
        **({name: None if v is None else scale * v for name, v in fields.items()} | changes)
    )


RECORD = NoiseRecord(
    starts=24,
    nights=2,
    start_sd=0.08,
    within_sd=0.17,
    night_sd=0.03,
    pair_sd=0.015,
    pairs=12,
    rounds=9.5,
    components=components(1.0),
    strata={"floor": components(2.0), "compute": components(0.5, launch_sd=None)},
    ratio_night_sd=0.004,
    points=[],
)


def test_every_component_has_a_row_over_all_points_and_each_stratum() -> None:
    assert noise_columns(RECORD) == ["all", "floor", "compute"]
    rows = {row.name: row for row in noise_rows(RECORD)}
    assert list(rows) == [
        "request",
        "block",
        "point in a launch",
        "launch",
        "round",
        "pair",
        "launch's level",
        "session",
        "session by ratio",
    ]
    assert rows["round"].values == {"all": 0.04, "floor": 0.08, "compute": 0.02}
    assert rows["launch"].values == {"all": 0.02, "floor": 0.04, "compute": None}
    # Known of all points alone.
    assert rows["session"].values == {"all": 0.03, "floor": None, "compute": None}
    assert all(
        row.meaning and set(row.values) == set(noise_columns(RECORD)) for row in rows.values()
    )
    assert "assumes" not in rows["session"].meaning


def test_what_is_assumed_says_so_and_what_is_not_known_has_no_row() -> None:
    of_a_day = RECORD.model_copy(update={"night_assumed": True, "ratio_night_sd": None})
    rows = {row.name: row for row in noise_rows(of_a_day)}
    assert "as the profile assumes" in rows["session"].meaning
    assert "session by ratio" not in rows


def test_a_record_of_an_earlier_suite_has_what_it_has() -> None:
    old = RECORD.model_copy(update={"components": None, "strata": {}, "rounds": None})
    assert noise_columns(old) == ["all"]
    values = {row.name: row.values["all"] for row in noise_rows(old)}
    assert values["request"] == 0.17
    assert values["pair"] == 0.015
    assert values["launch's level"] == 0.08
    assert pair_words(old) is None
    assert rests_on(old) == "24 launches in 2 sessions, 12 pairs"


def test_what_a_record_rests_on() -> None:
    assert rests_on(RECORD) == "24 launches in 2 sessions, 12 pairs of 9.5 rounds"
    alone = RECORD.model_copy(update={"pairs": 0, "rounds": None, "starts": 1, "nights": 1})
    assert rests_on(alone) == "1 launch in 1 session"


def test_what_more_samples_are_worth() -> None:
    words = pair_words(RECORD, (4, 16))
    assert words is not None
    # sqrt(1.5^2 + 4^2 / n): 2.5 at 4, 1.80 at 16.
    assert "by 2.5\u00a0% at 4 and 1.8\u00a0% at 16 samples per launch" in words
    assert "by 1.5\u00a0% however many" in words


@pytest.mark.parametrize("lacking", ["pair_sd", "round_sd"])
def test_nothing_is_said_of_samples_where_rounds_or_pairs_are_not_known(lacking: str) -> None:
    record = RECORD.model_copy(update={"components": components(1.0, **{lacking: None})})
    assert pair_words(record) is None


def test_a_run_shows_what_its_own_pairs_scatter_by() -> None:
    rng = random.Random(3)
    of, points = profile(), study_points()
    starts = [
        start.model_copy(update={"interleaved": True, "alternated": "sample"})
        for side, floor_ms in (("candidate", 24.0), ("reference", 20.0))
        for start in starts_of(points, side, Model(floor_ms=floor_ms), rng, count=6, sd=0.004)
    ]
    run = bare(points, of, starts)
    rows = {row.name: row.values for row in own_rows(run, of.plane)}
    # A version that is 20 % slower is no scatter; samples scatter by 1.5 %.
    assert rows["request"]["all"] == pytest.approx(0.015, rel=0.1)
    assert rows["pair"]["all"] < 0.01
    assert own_rows(bare(points, of, starts[:1] + starts[6:7]), of.plane) == []
    assert own_rows(bare(points, of, starts[:6]), of.plane) == []
    page = render_html(run, profile=of)
    assert "This run&#39;s pairs" in page or "This run's pairs" in page
    assert "a pair&#39;s ratio beyond its rounds" in page
