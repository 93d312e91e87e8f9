"""What an assumed noise may count for: false alarms where the assumption is wrong.

    python -m benchmarks.assumption

A profile's assumption of how far pairs scatter is moderated with what a run shows
(`analysis.moderation.moderate`). Printed is, for each number of degrees of freedom that the
assumption could be given, the share of runs of nothing that alarm at one in 100 where the truth is
1, 2, 3 and 4 times the assumption, and the share of real +3 % that is found where it is right.
`analysis.prior.ASSUMED_DF` is the least of them; at three pairs even it is above the nominal rate
where the truth is three times the assumption.

A second table has the whole joint test at the study's points where they scatter in two strata, up
to 308 new tokens and beyond, each moving together, of which the profile knows nothing: neither
where they part nor how far they scatter, which is three times as far on the whole as it assumes.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from append_prefill.analysis.design import Design, design_of
from append_prefill.analysis.joint import estimate
from append_prefill.analysis.moderation import FloatArray, Spread, moderate, paired_spread
from append_prefill.analysis.prior import ASSUMED_DF, Prior
from append_prefill.analysis.verdict.alarms import alarm
from append_prefill.records.grounds import NoiseSource
from append_prefill.workload.loading import load_profile

ASSUMED_SD = 0.008
RUNS = 200_000
ALPHA = 0.01
MIN_EFFECT = 0.015
WRONG_BY = (1, 2, 3, 4)

STUDY = load_profile("llama-3.1-8b")
APART_AT = 308
"""Most new tokens of the first stratum, as on an H100 at the study's points."""

UNNAMED = ((0.03, 0.01), (0.02, 0.02), (0.06, 0.06), (0.03, 0.0))
"""Scatter of a pair's ratio in the two strata: as on an H100, alike, wild, and in one alone."""

POINT_SDS = (0.004, 0.01)
"""What each point of a pair scatters by for itself: 15 samples that scatter by 1 and 3 %."""

UNNAMED_RUNS = 20_000
BATCH = 5_000
POINT_SD = 0.015
"""Of each point, where an effect at some of them is looked for: it is found now and then."""

PLACES = ((6,), (2, 7, 16))
"""The points that are slower: one, and three that have neither L nor m in common."""


def alarms(
    rng: np.random.Generator, pairs: int, df: float, wrong_by: float, effect: float
) -> float:
    """Share of runs of `pairs` pairs that alarm; log ratios scatter by `wrong_by` x the assumed."""
    ratios = np.log1p(effect) + wrong_by * ASSUMED_SD * rng.standard_normal((RUNS, pairs, 1))
    own = paired_spread(ratios, np.zeros_like(ratios))
    shape = own.df.shape
    assumed = Spread(np.full(shape, ASSUMED_SD**2 / pairs), np.full(shape, df))
    spread = moderate(own, assumed)
    estimate = ratios.mean(axis=-2)
    limit = stats.t.isf(ALPHA, spread.df)
    said = (estimate / spread.se > limit) & (estimate >= np.log1p(MIN_EFFECT))
    return float(said.mean())


def whole_test(
    ratios: FloatArray, design: Design, assumed_sd: float, signs: tuple[int, ...]
) -> float:
    """Share of runs that the joint test calls changed, a sign at a time; `ratios` of pairs, shape
    (runs, pairs, points), in logs."""
    assumed = Prior(
        None, 0.0, None, 0.0, NoiseSource(kind="profile"), pair_sd=assumed_sd, pair_df=ASSUMED_DF
    )
    joint = estimate(ratios, np.zeros_like(ratios), design, assumed, nights=False, paired=True)
    said = [alarm(joint, design, alpha=ALPHA, min_effect=MIN_EFFECT, sign=sign) for sign in signs]
    return float(np.mean([one.any for one in said]))


def unnamed(
    rng: np.random.Generator, pairs: int, apart: tuple[float, float], point_sd: float
) -> float:
    """Alarms of runs of nothing whose points scatter in two strata that no profile names."""
    design = design_of(STUDY.points)
    first = np.array([p.append_tokens <= APART_AT for p in design.points])
    share = float(first.mean())
    level_sd = float(np.hypot(share * apart[0], (1 - share) * apart[1]))
    rates = []
    for _ in range(UNNAMED_RUNS // BATCH):
        low, high = (sd * rng.standard_normal((BATCH, pairs, 1)) for sd in apart)
        ratios = np.where(first, low, high)
        ratios = ratios + point_sd * rng.standard_normal((BATCH, pairs, len(first)))
        rates.append(whole_test(ratios, design, level_sd / 3, (1, -1)))
    return float(np.mean(rates))


def found_at(rng: np.random.Generator, pairs: int, places: tuple[int, ...]) -> float:
    """How often +5 % at some points is found, whose profile is right and names no stratum."""
    design = design_of(STUDY.points)
    effect = np.zeros(len(design.points))
    effect[list(places)] = np.log1p(0.05)
    shape = (BATCH, pairs, len(effect))
    ratios = effect + ASSUMED_SD * rng.standard_normal((BATCH, pairs, 1))
    ratios = ratios + POINT_SD * rng.standard_normal(shape)
    return whole_test(ratios, design, ASSUMED_SD, (1,))


def main() -> None:
    print(f"assumed sd {100 * ASSUMED_SD:g} %, {RUNS:,} runs each; alarms in %\n")
    truths = " | ".join(f"truth x {factor}" for factor in WRONG_BY)
    print(f"| pairs | degrees of freedom | {truths} | +3 % found where right |")
    print("|---" * (3 + len(WRONG_BY)) + "|")
    rng = np.random.default_rng(1)
    for pairs in (2, 3, 5):
        for df in (1.0, 2.0, 4.0):
            rates = [100 * alarms(rng, pairs, df, factor, 0.0) for factor in WRONG_BY]
            found = 100 * alarms(rng, pairs, df, 1.0, 0.03)
            shown = " | ".join(f"{rate:.2f}" for rate in rates)
            mark = " (taken)" if df == ASSUMED_DF else ""
            print(f"| {pairs} | {df:g}{mark} | {shown} | {found:.0f} |")

    print(f"\ntwo strata that no profile names, {UNNAMED_RUNS:,} runs each, in both directions\n")
    kinds = [(apart, point_sd) for apart in UNNAMED for point_sd in POINT_SDS]
    names = [f"{100 * a:g} and {100 * b:g}, points {100 * sd:g} %" for (a, b), sd in kinds]
    print(f"| pairs | {' | '.join(names)} | +5 % found at one, at three points |")
    print("|---" * (2 + len(kinds)) + "|")
    for pairs in (2, 3, 5):
        rates = [100 * unnamed(rng, pairs, *kind) for kind in kinds]
        found_in = ", ".join(f"{100 * found_at(rng, pairs, places):.0f}" for places in PLACES)
        print(f"| {pairs} | {' | '.join(f'{rate:.2f}' for rate in rates)} | {found_in} |")


if __name__ == "__main__":
    main()
