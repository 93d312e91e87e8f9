"""How long a plan takes: by a stored run's launches, warm-ups and blocks, each by its own."""

from __future__ import annotations

import pytest

from append_prefill.records.launch import Start, Warmup
from append_prefill.run.pace import STOP_S, Long, long_of, pace_of
from append_prefill.workload.points import Point
from tests.records import builders

POINTS, SAMPLES = 4, 5  # of `builders.start`


def launch(index: int = 0, side="candidate", **changes) -> Start:
    return builders.start(index, side, samples=SAMPLES, **changes)


def stored(*starts: Start):
    return builders.run().model_copy(update={"starts": list(starts)})


def test_warm_up_and_blocks_are_told_apart() -> None:
    """A plan of more samples than the stored run warms up no longer for it."""
    pace = pace_of(stored(launch()), "cuda")
    assert pace.ready_s == 40.0
    assert pace.warmup_rounds == 6.0
    assert pace.warmup_sample_s == pytest.approx(3 / (6 * POINTS))
    assert pace.sample_s == pytest.approx(9 / (SAMPLES * (POINTS + 1)))
    costs = pace.costs(POINTS, 1, together=False)
    assert costs.seconds(1, SAMPLES) == pytest.approx(40 + 12 + STOP_S)
    assert costs.seconds(2, 10 * SAMPLES) == pytest.approx(2 * (40 + 3 + 90 + STOP_S))


@pytest.mark.parametrize("alternated", ["block", "sample"])
def test_both_sides_of_a_pair_share_the_clock(alternated: str) -> None:
    """Each launch's time has the other's warm-up and blocks in it, whatever took turns."""
    together = {"interleaved": True, "alternated": alternated, "measured_s": 27.0}
    warmups = {"candidate": Warmup(rounds=6, stationary=True, seconds_s=3.0),
               "reference": Warmup(rounds=12, stationary=True, seconds_s=6.0)}  # fmt: skip
    run = stored(
        *(
            launch(0, side, ready_s=ready_s, warmup=warmups[side], **together)
            for side, ready_s in (("candidate", 40.0), ("reference", 50.0))
        )
    )
    costs = pace_of(run, "cuda").costs(POINTS, 2, together=True)
    # The later of the two is waited for, both warm-ups and the blocks follow: 27 s in all.
    assert costs.seconds(1, SAMPLES) == pytest.approx(50 + 27 + STOP_S)
    assert costs.round_s == pytest.approx(18 / SAMPLES)


def test_one_side_of_a_pair_that_was_stored_alone_tells_as_well() -> None:
    run = stored(launch(0, interleaved=True, measured_s=24.0))
    costs = pace_of(run, "cuda").costs(POINTS, 2, together=True)
    assert costs.seconds(1, SAMPLES) == pytest.approx(40 + 24 + STOP_S)


def test_launches_that_follow_each_other_are_waited_for_each() -> None:
    run = stored(launch(0, ready_s=30.0), launch(0, "reference", ready_s=50.0))
    pace = pace_of(run, "cuda")
    assert pace.ready_s == 40.0
    apart = pace.costs(POINTS, 2, together=False)
    assert apart.launch_s == pytest.approx(2 * (40 + STOP_S + 3))


@pytest.mark.parametrize(
    "lacking",
    [{"ready_s": None}, {"measured_s": None}, {"warmup": None}, {"series": []},
     {"measured_s": 3.0}],
    ids=["never ready", "unfinished", "not warmed up", "no blocks", "no time for blocks"],
)  # fmt: skip
def test_what_a_run_does_not_tell_is_assumed(lacking: dict[str, object]) -> None:
    assumed = pace_of(None, "cpu")
    assert assumed.source.startswith("assumed")
    assert pace_of(stored(launch(**lacking)), "cpu") == assumed
    assert pace_of(stored(), "cpu") == assumed
    whole = pace_of(stored(launch(0), launch(1, **lacking)), "cpu")
    assert whole.source.startswith("as in the run of 2026-11-02") or "measured_s" in lacking


def test_devices_have_their_own_assumption() -> None:
    assert pace_of(None, "cpu").sample_s < pace_of(None, "cuda").sample_s


def test_long_points_are_priced_by_their_tokens_and_the_heavy_ones_twice_in_the_warm_up() -> None:
    points = [Point(1920, 128), Point(2048, 1000), Point(16384, 64)]
    beyond = long_of(points)
    assert beyond == Long(1000, 14_400)
    pace = pace_of(None, "cpu")
    plain = pace.costs(3, 2, together=True)
    priced = pace.costs(3, 2, together=True, beyond=beyond)
    assert priced.round_s - plain.round_s == pytest.approx(2 * 15_400 * pace.long_token_s)
    warm = 8 * 1000 + 2 * 14_400
    assert priced.launch_s - plain.launch_s == pytest.approx(2 * warm * pace.long_token_s)


def test_a_stored_run_prices_its_samples_as_they_were() -> None:
    assert pace_of(stored(launch(0), launch(1)), "cuda").long_token_s == 0
