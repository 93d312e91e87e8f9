"""What an assumed noise may count for: false alarms where the assumption is wrong.

    python -m benchmarks.assumption

A profile's assumption of how far pairs scatter is moderated with what a run shows
(`analysis.moderation.moderate`). Printed is, for each number of degrees of freedom that the
assumption could be given, the share of runs of nothing that alarm at one in 100 where the truth is
1, 2, 3 and 4 times the assumption, and the share of real +3 % that is found where it is right.
`analysis.prior.ASSUMED_DF` is the least of them; at three pairs even it is above the nominal rate
where the truth is three times the assumption.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from append_prefill.analysis.moderation import Spread, moderate, paired_spread
from append_prefill.analysis.prior import ASSUMED_DF

ASSUMED_SD = 0.008
RUNS = 200_000
ALPHA = 0.01
MIN_EFFECT = 0.015
WRONG_BY = (1, 2, 3, 4)


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


if __name__ == "__main__":
    main()
