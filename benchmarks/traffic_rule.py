"""How often other traffic is called slower: each experiment alone, and the rule that joins them.

    python -m benchmarks.traffic_rule
    python -m benchmarks.traffic_rule --kept

Simulated are the log ratios of pairs in every experiment of a profile, round by round: what a
pair's launches have in common, what a pair of one experiment has beyond that, and its rounds, whose
times have the tails of a t distribution of four degrees of freedom. How much of each there is comes
from the two kept runs of everything that a CPU holds (`benchmarks/data/traffic-2026-11`), pooled,
or from a profile's assumption. Nothing is measured.

Both rules judge the same pairs, at the rate that traffic has beside the points (0.2 in 100) and,
for false alarms, at the whole rate (1 in 100). `before`: each experiment by its own pairs and the
profile's assumption, at an equal part of the rate. `now`: `analysis.family`. Counted is a run in
which anything is called slower. An effect in one experiment is in each of them in turn.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import special

from append_prefill.analysis.components import pairs_of
from append_prefill.analysis.design import design_of
from append_prefill.analysis.family import (
    MEAN_SHARE,
    Levels,
    common_of,
    expected,
    level_of,
    mean_change,
    part_of_each,
    variance_of,
)
from append_prefill.analysis.moderation import FloatArray, Spread, moderate
from append_prefill.analysis.prior import ASSUMED_DF
from append_prefill.analysis.rounds import ROUNDS_MIN, rounds_of
from append_prefill.probe.plan import PLANE_SHARE
from append_prefill.probe.planning import plan_of
from append_prefill.records.run import Run
from append_prefill.report.terminal import traffic_lines
from append_prefill.run.judge import judge
from append_prefill.run.references import References
from append_prefill.workload.loading import load_profile
from append_prefill.workload.profile import Profile
from append_prefill.workload.traffic_experiment import TrafficExperiment

KEPT = Path(__file__).parent / "data" / "traffic-2026-11"
TAILS_DF = 4
POINTS_SD = 0.01
"""What the points' mean ratio of a pair scatters by beyond what its launches have in common."""

EFFECTS = (0.05, 0.10, 0.20)
PAIRS = (2, 3, 5)
WHOLE = 0.01


@dataclass(frozen=True)
class Setting:
    """Relative sds on the log scale: `common` of a pair, `pair` of one in an experiment beyond
    that, `round_` of one round of it, the latter two of shape (experiments,).

    `assumed`: what the profile assumes of a pair; `shares`: the part of its rate that each
    experiment's level has.
    """

    name: str
    common: float
    pair: FloatArray
    round_: FloatArray
    rounds: int
    assumed: float
    shares: FloatArray


@dataclass(frozen=True)
class Drawn:
    """Of many runs: `rounds` (runs, pairs, rounds, experiments), `points` (runs, pairs)."""

    rounds: FloatArray
    points: FloatArray


def kept_runs() -> list[Run]:
    files = [KEPT / f"{name}.run.json.gz" for name in ("versions", "alike")]
    return [Run.model_validate(json.loads(gzip.decompress(file.read_bytes()))) for file in files]


def level_shares(experiments: tuple[TrafficExperiment, ...]) -> FloatArray:
    return np.array(
        [design_of(sorted({c.point for c in e.conditions})).shares["level"] for e in experiments]
    )


def as_kept(runs: list[Run], profile: Profile) -> Setting:
    """What the kept runs scatter by, a version against itself and two against each other."""
    experiments = plan_of(runs[0], profile).traffic
    pair, round_ = [], []
    for experiment in experiments:
        conditions = frozenset(experiment.conditions)
        between, inside, rounds = [], [], []
        for run in runs:
            own = [(a.within(conditions), b.within(conditions)) for a, b in pairs_of([run.starts])]
            level = level_of(own, sorted({c.point for c in conditions}))
            between.append(np.var(list(level.ratios.values()), ddof=1))
            inside.append(level.inside or 0.0)
            rounds.append(np.mean([len(rounds_of(*one)) for one in own]))
        pair.append(np.sqrt(max(0.0, np.mean(between) - np.mean(inside))))
        # Beyond its rounds: all experiments have two of them here.
        round_.append(np.sqrt(np.mean(inside) * 2))
    assumed = profile.noise.pair_sd
    if assumed is None:
        raise ValueError(f"profile {profile.name} assumes nothing of how a pair scatters")
    return Setting(
        "two CPU cores, as kept",
        assumed,
        np.array(pair),
        np.array(round_),
        2,
        assumed,
        level_shares(experiments),
    )


def as_assumed(name: str, rounds: int) -> Setting:
    """By a profile's assumption: a round of one experiment scatters as its points' part of one."""
    profile = load_profile(name)
    experiments, noise = profile.traffic, profile.noise
    conditions = np.array([len(e.conditions) for e in experiments])
    assert noise.pair_sd is not None
    assert noise.round_sd is not None
    return Setting(
        f"{name}, as assumed",
        noise.pair_sd,
        np.full(len(experiments), noise.pair_sd),
        noise.round_sd * np.sqrt(np.maximum(1.0, len(profile.points) / conditions)),
        rounds,
        noise.pair_sd,
        level_shares(experiments),
    )


def variants(setting: Setting) -> list[Setting]:
    """The same where the assumption is a third of the truth, and with fewer experiments."""
    few = [0, 7, 8, 9] if len(setting.pair) > 9 else [0, 1, 2, 3]
    return [
        setting,
        Setting(
            f"{setting.name}; pairs three times as far",
            3 * setting.common,
            setting.pair,
            setting.round_,
            setting.rounds,
            setting.assumed,
            setting.shares,
        ),
        Setting(
            f"{setting.name}; four of them",
            setting.common,
            setting.pair[few],
            setting.round_[few],
            setting.rounds,
            setting.assumed,
            setting.shares[few],
        ),
    ]


def draw(rng: np.random.Generator, setting: Setting, runs: int, pairs: int) -> Drawn:
    count = len(setting.pair)
    common = setting.common * rng.standard_normal((runs, pairs, 1))
    level = common + setting.pair * rng.standard_normal((runs, pairs, count))
    tails = rng.standard_t(TAILS_DF, (runs, pairs, setting.rounds, count))
    tails *= setting.round_ / np.sqrt(TAILS_DF / (TAILS_DF - 2))
    points = common[..., 0] + POINTS_SD * rng.standard_normal((runs, pairs))
    return Drawn(level[:, :, None] + tails, points)


def _large(estimate: FloatArray, least: float = 0.015) -> FloatArray:
    return np.asarray(estimate >= np.log1p(least))


def before(drawn: Drawn, setting: Setting, rate: float) -> FloatArray:
    """Which runs call any experiment slower, each alone, shape (runs,)."""
    ratios = drawn.rounds.mean(axis=2)
    own = variance_of(ratios)
    known = np.full(own.variance.shape, setting.assumed**2)
    if setting.rounds >= ROUNDS_MIN:
        known += drawn.rounds.var(axis=2, ddof=1).mean(axis=1) / setting.rounds
    moderated = moderate(own, Spread(known, np.full(known.shape, ASSUMED_DF)))
    estimate = ratios.mean(axis=1)
    p = special.stdtr(moderated.df, -estimate / np.sqrt(moderated.variance / ratios.shape[1]))
    said = (p <= rate * setting.shares / ratios.shape[2]) & _large(estimate)
    return np.asarray(said.any(axis=1))


def now(drawn: Drawn, setting: Setting, rate: float) -> FloatArray:
    """The same by `analysis.family`.

    What Holm's steps add is more experiments named, not more runs that name any.
    """
    ratios = drawn.rounds.mean(axis=2)
    unknown = np.full(ratios.shape[2], np.nan)
    inside = drawn.rounds.var(axis=2, ddof=1).mean(axis=1) / setting.rounds
    levels = Levels(ratios, inside, unknown, unknown)
    common = common_of(setting.assumed, drawn.points)
    known = expected(levels, common)
    mean, _ = mean_change(levels, known, common)
    by_mean = (mean.p(1)[:, 0] <= MEAN_SHARE * rate) & _large(mean.estimate[:, 0])
    moderated = moderate(variance_of(ratios), known)
    estimate = ratios.mean(axis=1)
    p = special.stdtr(moderated.df, -estimate / np.sqrt(moderated.variance / ratios.shape[1]))
    part = part_of_each(rate, ratios.shape[2], 0, mean_rejects=False)
    each = (p <= part * setting.shares) & _large(estimate)
    return np.asarray(by_mean | each.any(axis=1))


def rates_of(setting: Setting, pairs: int, runs: int, rng: np.random.Generator) -> list[str]:
    """The cells of one row: per cent by the rule before and the one now."""
    beside = WHOLE * (1 - PLANE_SHARE)
    drawn = draw(rng, setting, runs, pairs)
    cells = []
    for rate in (beside, WHOLE):
        alarms = [100 * rule(drawn, setting, rate).mean() for rule in (before, now)]
        cells.append(f"{alarms[0]:.2f} / {alarms[1]:.2f}")
    some = slice(runs // 4)
    turn = np.arange(runs // 4) % len(setting.pair)
    in_one = np.eye(len(setting.pair))[turn][:, None, None, :]
    for where in (in_one, np.ones(1)):
        for effect in EFFECTS:
            slower = Drawn(drawn.rounds[some] + np.log1p(effect) * where, drawn.points[some])
            found = [100 * rule(slower, setting, beside).mean() for rule in (before, now)]
            cells.append(f"{found[0]:.0f} / {found[1]:.0f}")
    return cells


def say_kept(run: Run) -> None:
    """What the rule says of one kept run, at the analyses that it had."""
    profile = load_profile(run.profile)
    looks = [] if run.comparison is None else run.comparison.looks
    again = judge(
        run,
        plan_of(run, profile).narrowed(profile),
        references=References(),
        kv_bytes_per_token=run.kv_bytes_per_token,
        replicable=True,
        looks=looks,
    )
    other = next(start.version for start in run.starts if start.side == "reference")
    print(f"{run.version} against {other}: {again.verdict}")
    print("\n".join(traffic_lines(again)), end="\n\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.traffic_rule", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--runs", type=int, default=8_000, help="simulated runs per row")
    parser.add_argument("--kept", action="store_true", help="judge the two kept runs, and no more")
    options = parser.parse_args()
    if options.kept:
        for run in kept_runs():
            say_kept(run)
        return
    began = time.perf_counter()
    runs = kept_runs()
    settings = [
        *variants(as_kept(runs, load_profile(runs[0].profile))),
        as_assumed("llama-3.1-8b", 4),
    ]
    effects = [f"{where} +{100 * effect:.0f} %" for where in ("one", "all") for effect in EFFECTS]
    print(f"{options.runs:,} runs a row (a quarter for effects), in %: before / now\n")
    print(f"| setting | pairs | false alarms at 0.2 | at 1 | {' | '.join(effects)} |")
    print("|---" * (4 + len(effects)) + "|")
    rng = np.random.default_rng(1)
    for setting in settings:
        for pairs in PAIRS:
            cells = rates_of(setting, pairs, options.runs, rng)
            print(f"| {setting.name} | {pairs} | {' | '.join(cells)} |", flush=True)
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
