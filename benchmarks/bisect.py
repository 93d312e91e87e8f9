"""What finding the steps of a list of versions takes, and how often it is wrong.

    python -m benchmarks.bisect

Nothing is started. Each repetition draws a list of ten versions with steps put in at boundaries
drawn anew, and `append-prefill bisect`'s own search asks for comparisons until it is done. A
comparison is three pairs drawn without replacement from committed pairs of one version on real
hardware, the sides swapped at random, with the steps between its two versions put in; level and
interval are those that a run would report of them. Drawn comparisons share pairs, so their noise is
less various than a machine's.

Counted is, of all steps put in: *right* between its two neighbours (or between those of a version
that does not start), *between* where a wider stretch is named, *not named*; and *wrong*, a name
given where no step is, per list. *Sizes held*: how often a name's 95 % interval holds the change
between its two versions. Beside it plain bisection: each version in the middle is held
against the first by a fixed number of pairs and is as the last where it is beyond half of the whole
change; it names one boundary, whatever there is.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from append_prefill.analysis.bisection.choice import next_comparison, posterior
from append_prefill.analysis.bisection.noise import NORMAL, Alone, together
from append_prefill.analysis.bisection.path import path_of
from append_prefill.analysis.bisection.steps import Step, Worth, told_of
from append_prefill.analysis.components import Pair
from append_prefill.analysis.design import Design, design_of
from append_prefill.analysis.joint import estimate
from append_prefill.analysis.prior import Prior, prior_of
from append_prefill.analysis.rounds import Figures, pair_figures
from append_prefill.workload.loading import load_profile
from benchmarks import packs
from benchmarks.placement_noise import costs

VERSIONS = 10
PAIRS = 3
WORTH = Worth(float(np.log1p(0.015)), float(np.log1p(0.03)))
"""As in the profiles of both machines: `min_effect` and `must_catch`."""
# More than any list took; a search that has not ended by then never would.
COMPARISONS_MAX = 200

SCENARIOS: dict[str, tuple[float, ...]] = {
    "none": (),
    "+5 %": (0.05,),
    "+4, −3, +8 %": (0.04, -0.03, 0.08),
    "+2, +3, +4, +2 %": (0.02, 0.03, 0.04, 0.02),
    "+5 %, one does not start": (0.05,),
}
MISSING_IN = "+5 %, one does not start"


@dataclass(frozen=True)
class Machine:
    """Committed pairs of one version: log ratios (pairs, points) and what a pair takes."""

    name: str
    values: np.ndarray
    errors: np.ndarray
    design: Design
    prior: Prior
    minutes: float

    @classmethod
    def of(cls, name: str, file: Path, arm: str, profile_name: str) -> Machine:
        profile, pack = load_profile(profile_name), packs.load(file)
        points = packs.points_of(pack)
        pairs: Sequence[Pair] = packs.pairs([pack], arm)
        known = [f for f in (pair_figures(*pair, points) for pair in pairs) if _whole(f)]
        taken = costs(pairs)
        return cls(
            name,
            np.array([f.values for f in known]),
            np.array([f.covariance for f in known]),
            design_of(points, profile.plane),
            prior_of(profile.noise),
            taken.seconds(1, len(pairs[0][0].state)) / 60,
        )

    def compare(
        self, shift: float, rng: np.random.Generator, pairs: int = PAIRS
    ) -> tuple[float, float, tuple[float, ...]]:
        """One comparison of versions that differ by `shift`: what `Alone` has of it."""
        chosen = rng.choice(len(self.values), pairs, replace=False)
        ratios = rng.choice([-1.0, 1.0], (len(chosen), 1)) * self.values[chosen] + shift
        level = estimate(
            ratios,
            np.zeros_like(ratios),
            self.design,
            self.prior,
            nights=False,
            paired=True,
            within=self.errors[chosen].sum(axis=0) / len(chosen) ** 2,
        ).level
        of_pairs = tuple((ratios @ self.design.weights / self.design.weights.sum()).tolist())
        return float(level.estimate[0]), float(level.spread.half_width()[0]), of_pairs


def _whole(found: Figures) -> bool:
    return found.covariance is not None and not np.isnan(found.values).any()


@dataclass
class Score:
    """Of one scenario on one machine, over all repetitions."""

    put_in: int = 0
    right: int = 0
    between: int = 0
    wrong: int = 0
    held: int = 0
    named: int = 0
    comparisons: list[int] = field(default_factory=list)
    pairs: list[int] = field(default_factory=list)

    def row(self, name: str, method: str, minutes: float) -> str:
        share = {
            what: "–" if not self.put_in else f"{100 * count / self.put_in:.1f}"
            for what, count in (
                ("right", self.right),
                ("between", self.between),
                ("not", self.put_in - self.right - self.between),
            )
        }
        took = np.array(self.pairs) * minutes
        return (
            f"| {name} | {method} | {share['right']} | {share['between']} | {share['not']} | "
            f"{100 * self.wrong / len(self.comparisons):.1f} | "
            f"{f'{100 * self.held / self.named:.1f}' if self.named else '–'} | "
            f"{np.mean(self.comparisons):.1f} | "
            f"{np.mean(took):.0f} | {np.quantile(took, 0.95):.0f} |"
        )


@dataclass(frozen=True)
class Listed:
    """A list of versions: the log steps, by the position after each, and what does not start."""

    steps: dict[int, float]
    missing: frozenset[int]

    @classmethod
    def drawn(cls, name: str, rng: np.random.Generator) -> Listed:
        sizes = SCENARIOS[name]
        at = sorted(rng.choice(np.arange(1, VERSIONS), len(sizes), replace=False).tolist())
        inside = int(rng.integers(1, VERSIONS - 1))
        missing = frozenset({inside} if name == MISSING_IN else ())
        return cls(dict(zip(at, np.log1p(sizes).tolist(), strict=True)), missing)

    def shift(self, earlier: int, later: int) -> float:
        return sum(size for at, size in self.steps.items() if earlier < at <= later)

    def score(self, score: Score, named: Sequence[Step]) -> None:
        score.put_in += len(self.steps)
        for step in named:
            inside = [at for at in self.steps if step.before < at <= step.after]
            narrow = all(p in self.missing for p in range(step.before + 1, step.after))
            score.wrong += not inside
            score.named += 1
            score.held += step.size.low <= self.shift(step.before, step.after) <= step.size.high
            score.right += bool(inside) and narrow
            score.between += bool(inside) and not narrow


def searched(listed: Listed, machine: Machine, rng: np.random.Generator, score: Score) -> None:
    """One list by `append-prefill bisect`'s own search."""
    alone: list[Alone] = []
    se = machine.compare(0.0, rng)[1] / NORMAL
    while len(alone) < COMPARISONS_MAX:
        step = next_comparison(
            VERSIONS,
            together(alone),
            worth=WORTH,
            missing=listed.missing,
            se=se,
            minutes=lambda _a, _b: 1.0,
        )
        if step is None:
            break
        shift = listed.shift(step.earlier, step.later)
        alone.append(Alone(step.earlier, step.later, *machine.compare(shift, rng)))
        se = float(np.sqrt(np.mean([one.se**2 for one in together(alone)])))
    score.comparisons.append(len(alone))
    score.pairs.append(PAIRS * len(alone))
    path = posterior(VERSIONS, together(alone), least=WORTH.least, missing=listed.missing)
    listed.score(score, told_of(path, WORTH).steps)


def halved(
    listed: Listed, machine: Machine, rng: np.random.Generator, score: Score, *, pairs: int
) -> None:
    """One list by plain bisection with a fixed number of pairs."""
    whole = machine.compare(listed.shift(0, VERSIONS - 1), rng, pairs)[0]
    low, high, count = 0, VERSIONS - 1, 1
    while high - low > 1:
        middle = [p for p in range(low + 1, high) if p not in listed.missing]
        if not middle:
            break
        at = min(middle, key=lambda p: abs(2 * p - low - high))
        there = machine.compare(listed.shift(0, at), rng, pairs)[0]
        low, high = (low, at) if abs(there) > abs(whole) / 2 else (at, high)
        count += 1
    score.comparisons.append(count)
    score.pairs.append(pairs * count)
    path = path_of(2, together([Alone(0, 1, whole, 1.0)]), least=WORTH.least)
    size = told_of(path, WORTH).rest
    listed.score(score, [Step(low, high, 1.0, size)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    data = packs.DATA
    for machine in (
        Machine.of(
            "two CPU cores", data / "cpu-2026-11" / "placement.json.gz", "off-sample", "cpu-nano"
        ),
        Machine.of(
            "H100",
            data / "h100-2026-11" / "placement-5.json.gz",
            "turns-sample",
            "llama-3.1-8b",
        ),
    ):
        print(f"\n{machine.name}: {len(machine.values)} pairs, {machine.minutes:.1f} min each\n")
        print(
            "| put in | method | right | between | not named | wrong, in 100 lists | sizes held | "
            "comparisons | minutes | 95 % of lists below |"
        )
        print("|---" * 10 + "|")
        for name in SCENARIOS:
            for method, search in (
                ("search", searched),
                *((f"plain, {n} pairs", partial(halved, pairs=n)) for n in (PAIRS, 3 * PAIRS)),
            ):
                rng, score = np.random.default_rng([options.seed, len(name)]), Score()
                for _ in range(options.repetitions):
                    search(Listed.drawn(name, rng), machine, rng, score)
                print(score.row(name, method, machine.minutes), flush=True)


if __name__ == "__main__":
    main()
