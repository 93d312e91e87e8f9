"""The suite's verdict on nights made of real A/A pairs, as they are and with an effect put in.

    python -m benchmarks.replay

`verdicts.py` draws nights from a model of the noise; here nothing is modelled. The samples are
those of ten A/A runs of real SGLang (nights_cpu.json); the noise record is that of ten others,
measured the day before (noise_cpu.json), and so is the effect that `append-prefill plan` promises.
First the ten nights as they were; then nights of as many pairs as the profile plans, drawn without
replacement from all of them, the sides of a pair swapped at random, since both are the same
version. Other tools' rules judge the same samples. An effect is a factor on the candidate's.

Drawn nights share pairs, so their rates are less certain than their number suggests.

`python -m benchmarks.replay --pack DIR...` makes nights_cpu.json from runs of `append-prefill
noise`.
"""

from __future__ import annotations

import argparse
import json
import sys
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from append_prefill.analysis.joint import prior_of
from append_prefill.records.run import NoiseRecord, Run, Start
from append_prefill.records.store import read_run
from append_prefill.workload.points import Point
from append_prefill.workload.profile import Profile, load_profile
from benchmarks.verdicts import (
    HISTORY,
    NIGHTS_A_SITE,
    Array,
    Flags,
    Nights,
    Setting,
    measured,
    print_table,
    promised,
    rules,
    shifts,
    suite,
)

HERE = Path(__file__).parent
NIGHTS, NOISE = HERE / "nights_cpu.json", HERE / "noise_cpu.json"
EFFECTS = (("floor", 0.05), ("floor", 0.10), ("m", 0.10), ("L", 0.10), ("point", 0.20))


def pack(folders: list[Path], profile: Profile) -> dict[str, Any]:
    """Valid TTFT samples in ms by night, pair, side and planned point."""
    runs = sorted(
        (read_run(folder, option="--pack") for folder in folders), key=attrgetter("created_at")
    )
    return {
        "profile": profile.name,
        "sglang": sorted({str(run.subject["sglang"]) for run in runs}),
        "points": [[p.context_tokens, p.append_tokens] for p in profile.points],
        "nights": [
            {"created_at": run.created_at.isoformat(), "pairs": _pairs(run, profile)}
            for run in runs
        ],
    }


def _pairs(run: Run, profile: Profile) -> list[dict[str, list[list[float]]]]:
    sides: dict[int, dict[str, list[list[float]]]] = {}
    for start in run.starts:
        sides.setdefault(start.pair, {})[start.side] = _samples(start, profile.points)
    return [sides[pair] for pair in sorted(sides)]


def _samples(start: Start, points: tuple[Point, ...]) -> list[list[float]]:
    by_point = {series.point: series.ttft_ms for series in start.series}
    return [[round(value, 3) for value in by_point[point]] for point in points]


def load(path: Path, samples: int) -> list[Array]:
    """Log TTFT of each night, shape (pairs, 2, points, samples): the first `samples` of each."""
    packed = json.loads(path.read_text(encoding="utf-8"))
    nights = []
    for night in packed["nights"]:
        sides = [
            [[row[:samples] for row in pair[side]] for side in ("candidate", "reference")]
            for pair in night["pairs"]
        ]
        if any(len(row) < samples for pair in sides for side in pair for row in side):
            sys.exit(f"{path}: a point has fewer than {samples} valid samples")
        nights.append(np.log(np.array(sides)))
    return nights


def as_measured(
    nights: list[Array], setting: Setting, record: NoiseRecord
) -> tuple[Flags, Flags, float]:
    """Nights called slower as they were, and with the promised effect put in; that effect."""
    prior = prior_of(record)
    pairs = len(nights[0])
    plan = setting.profile.plan.model_copy(update={"starts": pairs})
    effect = promised(setting.profile.model_copy(update={"plan": plan}), record)
    medians = np.median(np.array(nights), axis=-1)
    a, b = medians[:, :, 0], medians[:, :, 1]
    alarms = suite(a, b, prior, setting, across=False)
    return alarms, suite(a + np.log1p(effect), b, prior, setting, across=False), effect


def draw(rng: np.random.Generator, pool: Array, setting: Setting, count: int) -> Nights:
    """`count` nights of pairs out of `pool`, shape (pairs, 2, points, samples)."""
    order = rng.permuted(np.tile(np.arange(len(pool)), (count, 1)), axis=1)
    chosen = pool[order[:, : setting.starts]]
    swap = rng.integers(2, size=(*chosen.shape[:2], 1, 1, 1)).astype(bool)
    chosen = np.where(swap, chosen[:, :, ::-1], chosen)
    # The monitor's ten past figures are means of starts that this night does not have.
    past = np.exp(pool[order[:, setting.starts :][:, :HISTORY], 0]).mean(axis=(1, 3))
    return Nights(chosen[:, :, 0].copy(), chosen[:, :, 1], past, [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nights", type=int, default=2000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--pack", type=Path, nargs="+", metavar="DIR", help="write nights_cpu.json")
    options = parser.parse_args()
    profile = load_profile("cpu-nano")
    if options.pack:
        NIGHTS.write_text(json.dumps(pack(options.pack, profile)) + "\n", encoding="utf-8")
        return
    setting = measured(NOISE)
    record = NoiseRecord.model_validate_json(NOISE.read_text(encoding="utf-8"))
    nights = load(NIGHTS, setting.samples)
    alarms, caught, effect = as_measured(nights, setting, record)
    print(
        f"\n{len(nights)} A/A nights of {len(nights[0])} pairs as measured: {alarms.sum()} called "
        f"slower; with the promised +{100 * effect:.1f} % put in everywhere: {caught.sum()} caught."
    )
    pool = np.concatenate(nights)
    sites = -(-options.nights // NIGHTS_A_SITE)
    cells = [("none", 0.0, "none")]
    cells += [(kind, effect, f"{kind} +{100 * effect:g} %") for kind, effect in EFFECTS]
    cells.append(("floor", setting.promise, f"floor at the MDE, +{100 * setting.promise:.1f} %"))
    tables = []
    for seed in options.seeds:
        table: dict[str, dict[str, float]] = {}
        for kind, effect, name in cells:
            drawn = draw(np.random.default_rng(seed), pool, setting, options.nights)
            drawn.priors.extend([prior_of(record)] * sites)
            shift = shifts(setting, "floor" if kind == "none" else kind, effect)
            drawn.candidate[...] += shift(options.nights)[:, None, :, None]
            for rule, flags in rules(drawn, setting, across=False).items():
                table.setdefault(rule, {})[name] = 100 * float(flags.mean())
        tables.append(table)
    print(
        f"\n{options.nights} nights of {setting.starts} of {len(pool)} real pairs, seeds "
        f"{options.seeds}: alarms in %\n"
    )
    print_table(tables)


if __name__ == "__main__":
    main()
