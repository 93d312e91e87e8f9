"""Committed measurements of `benchmarks.placement` as launches, for the suite's own statistics.

A pack is what `python -m benchmarks.placement_noise --pack DIR` makes of one measurement. All arms
of a pair were taken on the same two launches; here an arm's blocks are a pair of launches of their
own, as if nothing else had been measured on them.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

from append_prefill.analysis.components import Pair
from append_prefill.records.grounds import Side
from append_prefill.records.launch import BlockState, Series, Start, Warmup
from append_prefill.workload.points import Point

DATA = Path(__file__).parent / "data"
SIDES: tuple[Side, Side] = ("candidate", "reference")
SLOW = "-slow"

Pack: TypeAlias = dict[str, Any]


def committed() -> list[Path]:
    """The packs that are checked in."""
    return sorted(DATA.glob("*/placement*.json.gz"))


def load(path: Path) -> Pack:
    with gzip.open(path, "rt", encoding="utf-8") as source:
        pack: Pack = json.load(source)
    return pack


def arms(pack: Pack, *, slow: bool = False) -> list[str]:
    """Names of the arms, in the order measured: those of A/A blocks, or of slowed ones.

    A name is POLICY-ALTERNATION (`turns-sample`), with `-slow` behind it where the candidate was
    slowed down.
    """
    names = dict.fromkeys(block["arm"] for one in pack["launches"] for block in one["blocks"])
    return [name for name in names if name.endswith(SLOW) == slow]


def points_of(pack: Pack) -> list[Point]:
    """The points, in the order of each block's samples."""
    return [Point(*point) for point in pack["points"]]


def pairs(packs: Iterable[Pack], arm: str) -> list[Pair]:
    """The pairs of launches of one arm, candidate and reference, numbered over all packs.

    Rounds are numbered within the arm. A pair that lacks a side or the arm is left out. What a
    launch took (`measured_s`) is what it would have taken with this arm's blocks alone: both
    warm-ups and these blocks, with their part of what lay between blocks.
    """
    found: list[Pair] = []
    for pack in packs:
        by_pair: dict[int, dict[str, Pack]] = {}
        for one in pack["launches"]:
            by_pair.setdefault(one["pair"], {})[one["side"]] = one
        for _, sides in sorted(by_pair.items()):
            if all(side in sides and _blocks(sides[side], arm) for side in SIDES):
                both = [sides[side] for side in SIDES]
                taken_s = _taken_s(both, arm)
                candidate, reference = (_start(pack, x, arm, len(found), taken_s) for x in both)
                found.append((candidate, reference))
    return found


def _blocks(launch: Pack, arm: str) -> list[Pack]:
    return [block for block in launch["blocks"] if block["arm"] == arm]


def _taken_s(both: Sequence[Pack], arm: str) -> float:
    """Seconds that warm-ups and the arm's blocks take, with what lies between blocks."""
    warmup_s = sum(launch["warmup_s"] for launch in both)
    walls: dict[str, float] = {}
    for index, launch in enumerate(both):
        for block in launch["blocks"]:
            # Sample by sample both sides' blocks are one stretch of time.
            if index == 0 or _alternated(block["arm"]) != "sample":
                walls[block["arm"]] = walls.get(block["arm"], 0.0) + block["wall_s"]
    between = (max(launch["measured_s"] for launch in both) - warmup_s) / sum(walls.values())
    return float(warmup_s + walls[arm] * between)


def _alternated(arm: str) -> str:
    return arm.removesuffix(SLOW).rpartition("-")[2]


def _start(pack: Pack, launch: Pack, arm: str, index: int, taken_s: float) -> Start:
    blocks, side = _blocks(launch, arm), launch["side"]
    return Start.model_validate(
        {
            "index": index,
            "side": side,
            "pair": index,
            "host": "packed",
            "device": "packed",
            "started_at": datetime.fromisoformat(launch["started_at"]),
            "ready_s": launch["ready_s"],
            "measured_s": taken_s,
            "server_args": pack["server_args"],
            "subject": pack["subject"],
            # How many rounds it had is not packed.
            "warmup": Warmup(rounds=0, stationary=True, seconds_s=launch["warmup_s"]),
            "state": [
                BlockState(
                    block=block["turn"],
                    side=side,
                    void=block["void"],
                    readings={"host": {"wall_s": block["wall_s"]}},
                )
                for block in blocks
            ],
            "client_floor_ms": None,
            "series": [
                _series(point, column, blocks) for column, point in enumerate(points_of(pack))
            ],
            "interleaved": True,
            "alternated": _alternated(arm),
        }
    )


def _series(point: Point, column: int, blocks: Sequence[Pack]) -> Series:
    taken = [(block["turn"], block["ttft_ms"][column]) for block in blocks]
    valid = [(turn, ttft_ms) for turn, ttft_ms in taken if ttft_ms is not None]
    return Series(
        context_tokens=point.context_tokens,
        append_tokens=point.append_tokens,
        ttft_ms=[ttft_ms for _, ttft_ms in valid],
        # Not packed, and not looked at by the comparison: as of answers of one token.
        e2e_ms=[ttft_ms for _, ttft_ms in valid],
        itl_ms=[None] * len(valid),
        output_tokens=[1] * len(valid),
        cached_tokens=[point.context_tokens] * len(valid),
        block=[turn for turn, _ in valid],
    )
