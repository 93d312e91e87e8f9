"""What placing threads is worth: variance components and detectable effects by protocol.

    python -m benchmarks.placement_noise --pack DIR --out FILE.json.gz   (of benchmarks.placement)
    python -m benchmarks.placement_noise [FILE...]

prints, for the committed measurements or the files given, what a pair of launches of one version
scatters by under each arm, which part of that is whose (`append_prefill.analysis.components`: round
and pair, request, block, launch with point, launch), the effect that a t-test on the pairs finds 95
times in 100 at one false alarm in 100, and what the slowed arms show of a slow-down that is there.
A pair is summed up twice: by the levels of its sides (mean over points of the faster half), and by
the middle half of the differences of like samples (same round, same point), which an alternation by
sample is for; the components are of the one that the suite would take. Beneath stands how
`append-prefill plan` would split ten minutes with that noise stored.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from append_prefill.analysis.components import Pair, components_of
from append_prefill.analysis.design import BoolArray, strata_of
from append_prefill.analysis.detection import detectable
from append_prefill.analysis.noise import noise_of
from append_prefill.analysis.power import side_by_side
from append_prefill.analysis.rounds import pair_figures
from append_prefill.analysis.split import Costs, for_minutes
from append_prefill.records.launch import Start
from append_prefill.records.store import read_starts
from append_prefill.report.format import plural
from append_prefill.workload.loading import load_profile, shipped_profiles
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Alternation, Profile
from benchmarks import packs
from benchmarks.packs import Pack

FALSE_ALARM_RATE, BUDGET_S = 0.01, 600.0


def pack(folder: Path) -> Pack:
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


MEASURED_WITH = ("cpu-nano", "llama-3.1-8b")
"""The profiles of the data there is; others measure other models at the same points."""


def profile_of(data: Pack) -> Profile:
    """The shipped profile whose points were measured; of several alike the one they extend."""
    points = set(packs.points_of(data))
    for name in sorted(shipped_profiles(), key=lambda name: (name not in MEASURED_WITH, name)):
        if set((profile := load_profile(name)).points) == points:
            return profile
    raise SystemExit("no shipped profile has these points")


def figures(pairs: Sequence[Pair], points: Sequence[Point], by: Alternation) -> list[float]:
    """Log ratio of each pair over `points`: by levels (`block`), or by like samples."""

    def summed(start: Start) -> Start:
        return start.model_copy(update={"alternated": by})

    return [
        float(np.nanmean(pair_figures(summed(one), summed(other), points).values))
        for one, other in pairs
    ]


def rms(values: Sequence[float]) -> float:
    """Scatter of A/A ratios: with one version on both sides the mean is known to be 0."""
    return math.sqrt(float(np.square(values).mean()))


def seen(sd: float, pairs: int) -> str:
    """The effect in % that a two-sided t-test on `pairs` pairs finds, whose log ratios scatter by
    `sd`; what is printed is as uncertain as that is."""
    if pairs < 2:
        return "–"
    effect = detectable(sd / math.sqrt(pairs), pairs - 1, FALSE_ALARM_RATE / 2)
    return "–" if effect is None else f"{100 * effect:.1f}"


def costs(pairs: Sequence[Pair]) -> Costs:
    """Of a pair: to launch and warm up, and a round."""
    fixed, rounds = [], []
    for pair in pairs:
        warmup_s = sum(s.warmup.seconds_s for s in pair if s.warmup is not None)
        fixed.append(max(s.ready_s or 0.0 for s in pair) + warmup_s)
        rounds.append(((pair[0].measured_s or 0.0) - warmup_s) / len(pair[0].state))
    return Costs(float(np.median(fixed)), float(np.median(rounds)))


def print_data(name: str, data: Pack) -> None:
    profile, points = profile_of(data), sorted(packs.points_of(data))
    arms = {arm: packs.pairs([data], arm) for arm in packs.arms(data)}
    count = max(map(len, arms.values()))
    print(f"\n## {name}: {count} pairs of SGLang {data['subject']['sglang']}\n")
    for arm, pairs in arms.items():
        rounds, taken = len(pairs[0][0].state), costs(pairs)
        print(
            f"{arm}: {taken.launch_s:.0f} s to launch and warm up, {rounds * taken.round_s:.0f} s "
            f"for {rounds} rounds"
        )
    strata = strata_of(points, profile.plane)
    for stratum, group in (("all points", np.ones(len(points), bool)), *strata.items()):
        print(f"\n### {stratum} ({group.sum()}), in %\n")
        print(
            "| arm | sd of a pair, by levels | by like samples | detectable in 5 pairs | in ten "
            "minutes (pairs) | sd of a round | of a pair beyond them | request | block | launch x "
            "point | launch | slowed (sd) |"
        )
        print("|---" * 12 + "|")
        for arm, pairs in arms.items():
            print(row(data, arm, pairs, points, group))
    print()
    for arm, pairs in arms.items():
        print(best(arm, pairs, profile, points))


def row(
    data: Pack, arm: str, pairs: Sequence[Pair], points: Sequence[Point], group: BoolArray
) -> str:
    """One line of the table. Detectable effects are those of like samples."""
    chosen = [point for point, inside in zip(points, group, strict=True) if inside]
    sd, taken = rms(figures(pairs, chosen, "sample")), costs(pairs)
    affordable = int(BUDGET_S // taken.seconds(1, len(pairs[0][0].state)))
    parts = components_of(pairs, points, group)
    slowed = packs.pairs([data], arm + packs.SLOW)
    shown = "–"
    if len(slowed) > 1:
        slow = np.array(figures(slowed, chosen, "sample"))
        shown = f"{100 * math.expm1(slow.mean()):+.2f} ({100 * slow.std(ddof=1):.2f})"
    of = (
        parts.round_sd,
        parts.pair_sd,
        parts.request_sd,
        parts.block_sd,
        parts.launch_point_sd,
        parts.launch_sd,
    )
    values = [
        arm,
        f"{100 * rms(figures(pairs, chosen, 'block')):.2f}",
        f"{100 * sd:.2f}",
        seen(sd, 5),
        f"{seen(sd, affordable)} ({affordable})",
        *("–" if value is None else f"{100 * value:.1f}" for value in of),
        shown,
    ]
    return f"| {' | '.join(values)} |"


def best(arm: str, pairs: Sequence[Pair], profile: Profile, points: Sequence[Point]) -> str:
    """How ten minutes would be split with this arm's noise stored, and what that would detect."""
    record = noise_of([list(chain.from_iterable(pairs))], profile.plane)
    split = for_minutes(
        lambda starts, samples: side_by_side(
            profile, record, points, starts=starts, samples=samples
        ),
        costs(pairs),
        BUDGET_S / 60,
    ).best
    if split is None:
        return f"{arm}: what ten minutes detect cannot be told"
    effects = {
        "everywhere": split.mde_side_by_side,
        "at the floor alone": split.mde_floor,
        "where computing shows alone": split.mde_compute,
    }
    told = [
        f"+{100 * value:.1f} % {where}" for where, value in effects.items() if value is not None
    ]
    return (
        f"{arm}: ten minutes as {plural(split.starts, 'pair')} of {split.samples} rounds detect "
        f"{', '.join(told)}"
    )


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
    for path in options.files or packs.committed():
        print_data(str(path), packs.load(path))


if __name__ == "__main__":
    main()
