"""What the history takes from a run: its values, and what it is followed against."""

from __future__ import annotations

import pytest

from append_prefill.analysis.trend.values import entry_of, yardstick_of
from append_prefill.records.comparison import Comparison
from append_prefill.records.traffic import TrafficPoint, TrafficResult
from tests.records import builders
from tests.report import samples


def comparison(**changes: object) -> Comparison:
    made = samples.everywhere().comparison
    assert made is not None
    return made.model_copy(update={"others": [], **changes})


BESIDE = comparison(kind="side-by-side", reference="beside", reference_version=None)
CHOSEN = comparison(kind="baseline", role="chosen", reference="chosen", reference_version=None)
PINNED = comparison(kind="baseline", role="pinned", reference="pinned", reference_version=None)
ROLLING = comparison(kind="baseline", role="rolling", reference="rolling", reference_version=None)
STUDY = comparison(kind="baseline", provenance="study", reference="study", reference_version=None)


@pytest.mark.parametrize(
    ("held", "followed"),
    [
        ([CHOSEN, PINNED, BESIDE], "beside"),
        ([CHOSEN, PINNED, ROLLING], "pinned"),
        ([ROLLING, CHOSEN], "chosen"),
        ([ROLLING], None),
        ([STUDY], None),
        ([], None),
    ],
)
def test_yardstick(held: list[Comparison], followed: str | None) -> None:
    counts = held[0].model_copy(update={"others": held[1:]}) if held else None
    run = builders.run(comparison=counts)
    found = yardstick_of(run)
    assert (None if found is None else found.reference) == followed
    entry = entry_of(run, "run")
    assert (entry.yardstick is None) == (followed is None)
    assert {v.line for v in entry.values} == {"own"} | ({"reference"} if followed else set())


def test_a_reference_is_known_by_its_version() -> None:
    held = comparison(reference="my label", reference_version="0.5.17")
    entry = entry_of(builders.run(comparison=held), "run")
    assert entry.yardstick is not None
    assert entry.yardstick.reference == "0.5.17"
    assert entry.reference == "my label"


def test_what_the_run_called_slower_is_kept() -> None:
    run = samples.everywhere()
    entry = entry_of(run, "run")
    effects = {e.name: e.verdict == "regression" for e in run.comparison.surface}
    said = {v.quantity: v.slower for v in entry.values if v.line == "reference"}
    assert said["level"] is True
    assert all(said[name] == effects[name] for name in said if name in effects)


def test_blocks_of_the_other_side_are_not_counted_twice() -> None:
    run = builders.side_by_side()
    own = sum(len(start.state) for start in run.starts)
    assert entry_of(run, "run").blocks == own == 6


def test_a_level_needs_every_planned_point() -> None:
    run = builders.run()
    run.starts[0].series.pop()
    level = entry_of(run, "run").value_of("level")
    assert level is not None
    for start in run.starts:
        start.series = []
    assert entry_of(run, "run").value_of("level") is None


def test_other_traffic_is_followed_too_each_condition_once() -> None:
    turn = TrafficPoint(
        context_tokens=150,
        append_tokens=20,
        turn=2,
        median_ms=18.0,
        low_ms=17.0,
        high_ms=19.0,
        p90_ms=None,
        p99_ms=None,
        starts=3,
        samples=15,
        void=0,
        cached_tokens=149,
        planned_cached_tokens=149,
    )
    turns = TrafficResult(
        experiment="turns",
        title="Turns",
        context="replied",
        form="ids",
        company="alone",
        state="fresh",
        points=[
            turn,
            turn.model_copy(update={"median_ms": 99.0}),
            turn.model_copy(update={"median_ms": None, "append_tokens": 21}),
        ],
        comparison=comparison(kind="side-by-side", verdict="regression"),
    )
    entry = entry_of(builders.run(comparison=BESIDE, traffic=[turns]), "run")
    condition = entry.value_of("point:L150-m20 replied")
    assert condition is not None
    assert (condition.value, condition.low, condition.high) == (18.0, 17.0, 19.0)
    assert entry.value_of("point:L150-m21 replied") is None
    ratio = entry.value_of("traffic:turns", "reference")
    assert ratio is not None
    assert (ratio.value, ratio.slower) == (turns.comparison.level.ratio, True)
    stored = turns.model_copy(update={"comparison": CHOSEN})
    other = entry_of(builders.run(comparison=BESIDE, traffic=[stored]), "run")
    assert other.value_of("traffic:turns", "reference") is None
