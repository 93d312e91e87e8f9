"""What placing threads is worth: variance components and detectable effects by protocol.

    python -m benchmarks.placement_noise --pack DIR --out FILE.json.gz   (of benchmarks.placement)
    python -m benchmarks.placement_noise [FILE...]

prints, for the committed measurements or the files given, what a pair of launches of one version
scatters by under each arm, which part of that is whose (request, block, launch with point, launch),
the effect that a t-test on the pairs finds 95 times in 100 at one false alarm in 100, and what the
slowed arms show of a slow-down that is there. A pair is summed up twice: by the levels of its sides
(mean over points of the faster half), and by the median of the differences of like samples (same
round, same point), which an alternation by sample is for.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from append_prefill.analysis.summary import faster_half
from append_prefill.records.run import Start
from append_prefill.records.store import read_starts

Array = NDArray[np.float64]

DATA = Path(__file__).parent / "data"
SIDES = ("candidate", "reference")
# Up to here TTFT is at its floor on an H100 or H200 (0.5.17, prefill graphs), from 512 on it grows.
FLOOR_TOKENS = 308
FALSE_ALARM_RATE, POWER, BUDGET_S = 0.01, 0.95, 600.0


@dataclass(frozen=True, slots=True)
class Components:
    """Standard deviations of log TTFT."""

    request: float
    block: float
    launch_point: float
    launch: float


def pack(folder: Path) -> dict[str, Any]:
    """The launches of one `benchmarks.placement` run: every block's samples, arm and cores."""
    starts = [s for s in read_starts(folder) if s.failure is None and s.measured_s is not None]
    points = sorted({series.point for start in starts for series in start.series})
    return {
        "subject": starts[0].subject,
        "server_args": starts[0].server_args,
        "points": [[p.context_tokens, p.append_tokens] for p in points],
        "launches": [_packed(start, points) for start in starts],
    }


def _packed(start: Start, points: Sequence[Any]) -> dict[str, Any]:
    taken = {
        (series.point, block): value
        for series in start.series
        for block, value in zip(series.block, series.ttft_ms, strict=True)
    }
    blocks = []
    for state in start.state:
        placed = state.readings["placement"]
        samples = [taken.get((point, state.block)) for point in points]
        blocks.append(
            {
                "block": state.block,
                "arm": placed["arm"],
                "turn": placed["turn"],
                "cores": placed["cores"] if isinstance(placed["cores"], dict) else None,
                "void": state.void,
                "wall_s": state.readings.get("host", {}).get("wall_s"),
                "ttft_ms": [None if x is None else round(x, 4) for x in samples],
            }
        )
    return {
        "pair": start.pair,
        "side": start.side,
        "started_at": start.started_at.isoformat(),
        "ready_s": start.ready_s,
        "warmup_s": None if start.warmup is None else start.warmup.seconds_s,
        "measured_s": start.measured_s,
        "blocks": blocks,
    }


def tables(data: dict[str, Any], arm: str) -> Array:
    """Log TTFT under one arm, shape (pairs, 2, blocks, points); NaN where a sample is invalid.

    Pairs that lack a side are left out, and blocks beyond what every launch has.
    """
    by_pair: dict[int, dict[str, list[list[float]]]] = {}
    for launch in data["launches"]:
        rows = [
            [math.nan if x is None else math.log(x) for x in block["ttft_ms"]]
            for block in launch["blocks"]
            if block["arm"] == arm
        ]
        by_pair.setdefault(launch["pair"], {})[launch["side"]] = rows
    whole = [[sides[s] for s in SIDES] for _, sides in sorted(by_pair.items()) if len(sides) == 2]
    count = min(len(rows) for sides in whole for rows in sides)
    return np.array([[rows[:count] for rows in sides] for sides in whole])


def levels(table: Array) -> Array:
    """The compared statistic (mean of the faster half), averaged over points: (pairs, 2)."""
    figures = np.full((*table.shape[:2], table.shape[3]), math.nan)
    for index in np.ndindex(figures.shape):
        samples = table[index[0], index[1], :, index[2]]
        figures[index] = faster_half(samples[~np.isnan(samples)])
    return figures.mean(axis=-1)


def differences(table: Array) -> Array:
    """Log ratio of the sides of each pair, from like samples: (pairs,)."""
    return np.array([np.nanmedian(pair[0] - pair[1]) for pair in table])


def rounds_sd(table: Array) -> float:
    """Sd of a round's mean difference between the sides, inside pairs."""
    means = np.ma.masked_invalid(table[:, 0] - table[:, 1]).mean(axis=2)
    centred = means - means.mean(axis=1, keepdims=True)
    return math.sqrt(float((centred**2).sum()) / (int(centred.count()) - len(table)))


def components_of(table: Array) -> Components:
    """By moments, from a two-way layout (blocks by points) inside each launch.

    `block` is common to all points of a block, `launch_point` to all blocks of a point within a
    launch, `launch` to all of a launch's samples, as its pair shows it: half the variance of the
    difference of the sides, less what its rounds give to it (a block's part cancels there as far as
    both sides share it). Cut at 0. Formulas: Searle, Casella & McCulloch, Variance Components
    (1992), section 4.4.
    """
    blocks, points = table.shape[2:]
    filled = np.where(np.isnan(table), np.nanmedian(table, axis=2, keepdims=True), table)
    by_block = filled.mean(axis=3, keepdims=True)
    by_point = filled.mean(axis=2, keepdims=True)
    grand = filled.mean(axis=(2, 3), keepdims=True)
    residual = filled - by_block - by_point + grand
    launches = table.shape[0] * 2
    request = float((residual**2).sum()) / (launches * (blocks - 1) * (points - 1))
    mean_square = float(((by_block - grand) ** 2).sum()) / (launches * (blocks - 1))
    block = max(0.0, mean_square - request / points)
    # Between the sides of a pair, so that what a point takes cancels.
    gaps = (by_point[:, 0] - by_point[:, 1])[:, 0]
    level = gaps.mean(axis=1, keepdims=True)
    pairs = len(gaps)
    centred = gaps - level - gaps.mean(axis=0, keepdims=True) + gaps.mean()
    between = float((centred**2).sum()) / ((pairs - 1) * (points - 1)) / 2
    launch_point = max(0.0, between - request / blocks)
    of_levels = float(level.var(ddof=1)) / 2
    launch = max(0.0, of_levels - rounds_sd(table) ** 2 / blocks / 2)
    return Components(*(math.sqrt(v) for v in (request, block, launch_point, launch)))


def detectable(sd: float, pairs: int) -> float:
    """The relative effect that a two-sided t-test on `pairs` pairs finds at `POWER`.

    `sd` is that of a pair's log ratio; what is printed is as uncertain as it is.
    """
    if pairs < 2:
        return math.nan
    limit = float(stats.t.ppf(1 - FALSE_ALARM_RATE / 2, pairs - 1))

    def missing(shift: float) -> float:
        return float(stats.nct.sf(limit, pairs - 1, shift)) - POWER

    return math.expm1(float(optimize.brentq(missing, 0.0, 200.0)) * sd / math.sqrt(pairs))


def seconds(data: dict[str, Any], arm: str) -> tuple[float, float]:
    """Of one pair: to launch and warm up (wall clock), and to take one arm's blocks."""
    fixed, taken = [], []
    pairs = {launch["pair"] for launch in data["launches"]}
    for pair in sorted(pairs):
        sides = [launch for launch in data["launches"] if launch["pair"] == pair]
        # Launched side by side, warmed up one after the other.
        fixed.append(max(s["ready_s"] for s in sides) + sum(s["warmup_s"] for s in sides))
        # Sample by sample both sides' blocks are one stretch of time.
        counted = sides[:1] if arm.endswith("-sample") else sides
        walls = [b["wall_s"] for s in counted for b in s["blocks"] if b["arm"] == arm]
        taken.append(sum(w for w in walls if w is not None))
    return float(np.median(fixed)), float(np.median(taken))


def strata(data: dict[str, Any]) -> dict[str, NDArray[np.bool_]]:
    """Points by name of the group."""
    floor = np.array([append <= FLOOR_TOKENS for _, append in data["points"]])
    groups = {"all points": np.ones(len(floor), bool), "floor": floor, "compute": ~floor}
    return {name: chosen for name, chosen in groups.items() if chosen.sum() > 1}


def print_data(name: str, data: dict[str, Any]) -> None:
    arms = list(dict.fromkeys(b["arm"] for s in data["launches"] for b in s["blocks"]))
    still = [arm for arm in arms if not arm.endswith("-slow")]
    pairs = len({launch["pair"] for launch in data["launches"]})
    print(f"\n## {name}: {pairs} pairs of SGLang {data['subject']['sglang']}\n")
    for arm in still:
        fixed_s, taken_s = seconds(data, arm)
        blocks = tables(data, arm).shape[2]
        print(f"{arm}: {fixed_s:.0f} s to launch and warm up, {taken_s:.0f} s for {blocks} blocks")
    for stratum, chosen in strata(data).items():
        print(f"\n### {stratum} ({chosen.sum()}), in %\n")
        print(
            "| arm | sd of a pair, by levels | by like samples | detectable in 5 pairs | in ten "
            "minutes (pairs) | sd of a round | request | block | launch x point | launch | slowed "
            "(sd) |"
        )
        print("|---|---|---|---|---|---|---|---|---|---|---|")
        for arm in still:
            print(row(data, arm, chosen))


def row(data: dict[str, Any], arm: str, chosen: NDArray[np.bool_]) -> str:
    """One line of the table. Detectable effects are those of like samples."""
    table = tables(data, arm)[..., chosen]
    # One version on both sides: the mean is known to be 0.
    by_levels = math.sqrt(float((np.diff(levels(table), axis=1) ** 2).mean()))
    sd = math.sqrt(float((differences(table) ** 2).mean()))
    affordable = int(BUDGET_S // sum(seconds(data, arm)))
    parts = components_of(table)
    slowed = "—"
    if any(b["arm"] == f"{arm}-slow" for s in data["launches"] for b in s["blocks"]):
        slow = differences(tables(data, f"{arm}-slow")[..., chosen])
        slowed = f"{100 * math.expm1(slow.mean()):+.2f} ({100 * slow.std(ddof=1):.2f})"
    values = [
        arm,
        f"{100 * by_levels:.2f}",
        f"{100 * sd:.2f}",
        f"{100 * detectable(sd, 5):.1f}",
        f"{100 * detectable(sd, affordable):.1f} ({affordable})",
        f"{100 * rounds_sd(table):.1f}",
        *(
            f"{100 * value:.1f}"
            for value in (parts.request, parts.block, parts.launch_point, parts.launch)
        ),
        slowed,
    ]
    return f"| {' | '.join(values)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--pack", type=Path, metavar="DIR")
    parser.add_argument("--out", type=Path, metavar="FILE")
    options = parser.parse_args()
    if options.pack is not None:
        with gzip.open(options.out, "wt", encoding="utf-8") as sink:
            json.dump(pack(options.pack), sink, separators=(",", ":"))
        return
    for path in options.files or sorted(DATA.glob("*/placement*.json.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as source:
            print_data(str(path), json.load(source))


if __name__ == "__main__":
    main()
