"""Which statistic of a launch's samples should two versions be compared by?

    python -m benchmarks.figures

Each candidate for it is taken of every launch and point of interleaved pairs on real SGLang: the
A/A sessions of nights_cpu.json, and the sample reports. Printed is how far the ratio of the
levels scatters from pair to pair, and how far single points scatter beyond that; the smaller, the
fewer launches a session takes. Where two versions were compared, their mean ratio at each point is
taken out, and the mean is printed: statistics that answer different questions differ there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from append_prefill.analysis.summary import faster_half, log_median, samples_of, usable
from append_prefill.records.run import Run
from append_prefill.records.store import read_run
from benchmarks import nights

Array = NDArray[np.float64]
Pairs = list[tuple[list[Array], list[Array]]]  # (candidate, reference): log samples by point

REPORTS = Path(__file__).parents[1] / "reports"
SAMPLES = ("sample-h200-versions", "sample-h200-graphs", "sample")


def mean(log_ms: Array) -> Array:
    return np.asarray(log_ms.mean(axis=-1))


def quantile(share: float) -> Callable[[Array], Array]:
    return lambda log_ms: np.asarray(np.quantile(log_ms, share, axis=-1))


FIGURES: dict[str, Callable[[Array], Array]] = {
    "faster half": faster_half,
    "median": log_median,
    "mean": mean,
    "lower quartile": quantile(0.25),
    "lowest tenth": quantile(0.10),
    "fastest": quantile(0.0),
}


def pairs_of(run: Run) -> Pairs:
    """The interleaved pairs of a run, at the points that all of them measured."""
    by_side = {side: {s.pair: s for s in usable(run.starts, side)} for side in nights.SIDES}
    pairs = sorted(by_side["candidate"].keys() & by_side["reference"].keys())
    starts = [tuple(by_side[side][pair] for side in nights.SIDES) for pair in pairs]
    points = sorted({series.point for start in run.starts for series in start.series})
    points = [p for p in points if all(samples_of(s, p).size for both in starts for s in both)]
    return [
        ([np.log(samples_of(a, p)) for p in points], [np.log(samples_of(b, p)) for p in points])
        for a, b in starts
    ]


def scatter(
    groups: Sequence[Pairs], figure: Callable[[Array], Array]
) -> tuple[float, float, float]:
    """Sd of the level's log ratio over the pairs of a group, of points beyond it, and the mean.

    Each group has its own mean at each point.
    """
    levels = points = level_df = point_df = 0.0
    middles = []
    for group in groups:
        ratios = np.array(
            [[float(figure(x) - figure(y)) for x, y in zip(a, b, strict=True)] for a, b in group]
        )
        rows, columns = ratios.shape
        level = ratios.mean(axis=1)
        rest = ratios - ratios.mean(axis=0) - level[:, None] + ratios.mean()
        levels += float(((level - level.mean()) ** 2).sum())
        points += float((rest**2).sum())
        level_df += rows - 1
        point_df += (rows - 1) * (columns - 1)
        middles.append(float(ratios.mean()))
    return (levels / level_df) ** 0.5, (points / point_df) ** 0.5, float(np.mean(middles))


def main() -> None:
    samples = nights.profile().plan.samples
    groups: dict[str, list[Pairs]] = {
        "A/A sessions, CPU": [
            [(list(a), list(b)) for a, b in night] for night in nights.every(nights.load(samples))
        ]
    }
    groups |= {name: [pairs_of(read_run(REPORTS / name, option="reports"))] for name in SAMPLES}
    for title, group in groups.items():
        pairs = sum(map(len, group))
        table = Table(title=f"{title}: {pairs} pairs of {len(group[0][0][0])} points")
        for heading in ("statistic", "level's ratio, sd %", "points beyond it, sd %", "mean %"):
            table.add_column(heading, justify="left" if heading == "statistic" else "right")
        for name, figure in FIGURES.items():
            table.add_row(name, *(f"{100 * value:.1f}" for value in scatter(group, figure)))
        Console().print(table)


if __name__ == "__main__":
    main()
