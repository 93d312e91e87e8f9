"""Committed measurements become launches that the suite's own statistics take."""

import numpy as np
import pytest

from append_prefill.analysis.components import pairs_of
from append_prefill.analysis.rounds import alike, by_round, rounds_of
from append_prefill.workload.points import Point
from benchmarks import packs


def launch(pair, side, blocks, **changes):
    return {
        "pair": pair,
        "side": side,
        "started_at": "2026-11-26T13:52:57+00:00",
        "ready_s": 40.0 + pair,
        "warmup_s": 5.0,
        "measured_s": 30.0,
        "blocks": [
            {
                "block": index,
                "arm": arm,
                "turn": turn,
                "cores": None,
                "void": void,
                "wall_s": 2.0,
                "ttft_ms": ttft_ms,
            }
            for index, (arm, turn, void, ttft_ms) in enumerate(blocks)
        ],
    } | changes


BLOCKS = [
    ("off-block", 0, None, [10.0, 20.0]),
    ("turns-sample", 0, None, [11.0, None]),
    ("turns-sample-slow", 0, None, [15.0, 25.0]),
    ("turns-sample", 1, "a busy host", [None, None]),
]
PACK = {
    "subject": {"sglang": "0.5.17"},
    "server_args": ["--dtype", "bfloat16"],
    "points": [[64, 128], [512, 1024]],
    "launches": [
        launch(0, "candidate", BLOCKS),
        launch(0, "reference", BLOCKS),
        launch(1, "candidate", BLOCKS),
        launch(2, "candidate", BLOCKS),
        launch(2, "reference", BLOCKS[:1]),
    ],
}


def test_an_arms_blocks_are_a_pair_of_launches() -> None:
    assert packs.arms(PACK) == ["off-block", "turns-sample"]
    assert packs.arms(PACK, slow=True) == ["turns-sample-slow"]
    ((candidate, reference),) = packs.pairs([PACK], "turns-sample")
    assert (candidate.side, reference.side) == ("candidate", "reference")
    assert alike(candidate, reference)
    assert candidate.usable
    assert [s.void for s in candidate.state] == [None, "a busy host"]
    table = by_round(candidate, [Point(64, 128), Point(512, 1024)], [0, 1])
    assert np.exp(table[0, 0]) == pytest.approx(11.0)
    assert np.isnan(table).sum() == 3
    assert rounds_of(candidate, reference) == [0]


def test_a_pair_that_lacks_a_side_or_the_arm_is_left_out_and_packs_are_numbered_on() -> None:
    found = packs.pairs([PACK, PACK], "off-block")
    assert [pair[0].pair for pair in found] == [0, 1, 2, 3]
    assert [pair[0].ready_s for pair in found] == [40.0, 42.0, 40.0, 42.0]
    assert not alike(*found[0])
    assert len(pairs_of([[start for pair in found for start in pair]])) == 4
    assert packs.pairs([PACK], "off-sample") == []


def test_a_launch_took_its_own_arms_part_of_the_time() -> None:
    """Of 20 s for 10 s of blocks (off-block on both sides, 3 by sample): an arm's blocks, twice."""
    (one, _), *_ = packs.pairs([PACK], "off-block")
    assert one.measured_s == pytest.approx(10 + 2 * 4)
    (one, _), *_ = packs.pairs([PACK], "turns-sample")
    assert one.measured_s == pytest.approx(10 + 2 * 4)
    (one, _), *_ = packs.pairs([PACK], "turns-sample-slow")
    assert one.measured_s == pytest.approx(10 + 2 * 2)


@pytest.mark.parametrize("path", packs.committed(), ids=lambda path: path.name)
def test_the_committed_packs_are_pairs(path) -> None:
    pack = packs.load(path)
    for arm in packs.arms(pack) + packs.arms(pack, slow=True):
        found = packs.pairs([pack], arm)
        assert len(found) >= 2
        assert all({s.point for s in x.series} == set(packs.points_of(pack)) for x in found[0])
        assert all(start.measured_s is not None and start.measured_s < 200 for start in found[0])
