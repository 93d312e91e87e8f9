"""A/A sessions of real SGLang on a shared CPU (nights_cpu.json), for the other benchmarks.

    python -m benchmarks.nights --pack DIR...

adds runs of `append-prefill noise` to nights_cpu.json: valid TTFT samples in ms by session, pair,
side and planned point.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from append_prefill.analysis.noise import noise_of
from append_prefill.records.grounds import Side
from append_prefill.records.launch import Series, Start
from append_prefill.records.noise import NoiseRecord
from append_prefill.records.run import Run
from append_prefill.records.store import read_run
from append_prefill.workload.loading import load_profile
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile

NIGHTS = Path(__file__).parent / "nights_cpu.json"
PROFILE = "cpu-nano"
SIDES: tuple[Side, Side] = ("candidate", "reference")


def profile() -> Profile:
    """The profile with those of its experiments that the packed sessions measured."""
    packed = json.loads(NIGHTS.read_text(encoding="utf-8"))
    measured = {Point(*point) for point in packed["points"]}
    whole = load_profile(PROFILE)
    kept = tuple(e for e in whole.experiments if measured.issuperset(e.as_points))
    narrowed = whole.model_copy(update={"experiments": kept})
    if set(narrowed.points) != measured:
        sys.exit(f"{NIGHTS}: has points that no experiment of {PROFILE} has")
    return narrowed


def load(samples: int) -> dict[str, list[NDArray[np.float64]]]:
    """Log TTFT of the sessions of each day, each of shape (pairs, 2, points, samples).

    The first `samples` of a point count. Exits if one has fewer.
    """
    packed = json.loads(NIGHTS.read_text(encoding="utf-8"))
    days: dict[str, list[NDArray[np.float64]]] = {}
    for night in packed["nights"]:
        sides = [
            [[row[:samples] for row in pair[side]] for side in SIDES] for pair in night["pairs"]
        ]
        if any(len(row) < samples for pair in sides for side in pair for row in side):
            sys.exit(f"{NIGHTS}: a point has fewer than {samples} valid samples")
        days.setdefault(night["created_at"][:10], []).append(np.log(np.array(sides)))
    return days


def every(days: dict[str, list[NDArray[np.float64]]]) -> list[NDArray[np.float64]]:
    """The sessions of all days."""
    return [night for nights in days.values() for night in nights]


def noise_record(nights: Sequence[NDArray[np.float64]], points: Sequence[Point]) -> NoiseRecord:
    """What `append-prefill noise` stores of such sessions. Days are few: no between-session
    part."""
    return noise_of(starts_of(nights, points)).model_copy(update={"night_sd": None})


def starts_of(nights: Sequence[NDArray[np.float64]], points: Sequence[Point]) -> list[list[Start]]:
    """The launches of each session, a candidate's and a reference's of each pair."""
    return [
        [
            _start(index, side, samples, points)
            for index, pair in enumerate(night)
            for side, samples in zip(SIDES, pair, strict=True)
        ]
        for night in nights
    ]


def _start(index: int, side: Side, log_ms: NDArray[np.float64], points: Sequence[Point]) -> Start:
    series = [
        Series(
            context_tokens=point.context_tokens,
            append_tokens=point.append_tokens,
            ttft_ms=[float(value) for value in np.exp(row)],
            # Not packed, and not looked at by the noise: as of answers of one token.
            e2e_ms=[float(value) for value in np.exp(row)],
            itl_ms=[None] * len(row),
            output_tokens=[1] * len(row),
            cached_tokens=[point.context_tokens] * len(row),
            block=list(range(len(row))),
            void=[],
        )
        for point, row in zip(points, log_ms, strict=True)
    ]
    return Start(
        index=index,
        side=side,
        pair=index,
        host="packed",
        device="cpu",
        started_at=datetime.fromtimestamp(0, UTC),
        ready_s=None,
        measured_s=1.0,
        server_args=[],
        subject={},
        interleaved=True,
        warmup=None,
        state=[],
        client_floor_ms=None,
        series=series,
    )


def pack(folders: list[Path], profile: Profile) -> dict[str, Any]:
    """What nights_cpu.json holds with the runs in `folders` added."""
    packed: dict[str, Any] = json.loads(NIGHTS.read_text(encoding="utf-8"))
    nights = {night["created_at"]: night for night in packed["nights"]}
    for folder in folders:
        run = read_run(folder, option="--pack")
        created = run.created_at.isoformat()
        nights[created] = {"created_at": created, "pairs": _pairs(run, profile)}
    return packed | {"nights": [nights[created] for created in sorted(nights)]}


def _pairs(run: Run, profile: Profile) -> list[dict[str, list[list[float]]]]:
    sides: dict[int, dict[str, list[list[float]]]] = {}
    for start in run.starts:
        sides.setdefault(start.pair, {})[start.side] = _samples(start, profile.points)
    return [sides[pair] for pair in sorted(sides)]


def _samples(start: Start, points: tuple[Point, ...]) -> list[list[float]]:
    by_point = {series.point: series.ttft_ms for series in start.series}
    return [[round(value, 3) for value in by_point[point]] for point in points]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pack", type=Path, nargs="+", metavar="DIR", required=True)
    options = parser.parse_args()
    text = json.dumps(pack(options.pack, profile())) + "\n"
    NIGHTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
