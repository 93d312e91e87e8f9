"""When simulated sessions end, by the interim analyses of a run side by side, and how they err.

    python -m benchmarks.sequential

Sessions of interleaved pairs of a shipped profile's points and samples, whose ratio scatters by
0.8, 1.5 and 2.5 % from pair to pair: nothing differs, or the candidate is slower, everywhere or at
one point, a different one each session. Each is judged as a run judges itself: at every interim
analysis of the schedule with that analysis's rates, until one of them settles it; and once, after
the planned launches, with the whole rates, as if there were no other. What is known of the noise
beforehand is what the profile assumes, or a record of 20 A/A pairs that scatter alike. Findings are
left out: where one is open, a run goes on to its planned launches. So is the check of the medians.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from append_prefill.analysis.prior import Prior, prior_of
from append_prefill.analysis.summary import FIGURE_VARIANCE
from append_prefill.analysis.verdict.sequential import Schedule, schedule_of
from append_prefill.workload.loading import load_profile
from append_prefill.workload.profile import Profile
from benchmarks.verdicts.peers import Flags
from benchmarks.verdicts.settings import Setting
from benchmarks.verdicts.simulate import draw
from benchmarks.verdicts.suite import Ended, ended
from benchmarks.verdicts.table import shifts

PAIR_SDS = (0.008, 0.015, 0.025)
EFFECTS = (("floor", 0.0), ("floor", 0.03), ("floor", 0.05), ("point", 0.05))
"""As `benchmarks.verdicts` has them: everywhere, or at one point."""

WITHIN_SD = 0.03
"""Of a launch's samples at a point: on a GPU, where computing dominates. It gives the single points
of a session their scatter; in the level it is part of `PAIR_SDS`."""

LAUNCH_SD = 0.03
"""Of a launch's level. It is in both halves of a pair, and so in neither's favour."""

BATCH = 500
"""Sessions that are drawn at once: some 150 MB of samples."""


@dataclass(frozen=True)
class Row:
    """One row of the table: whose profile, what is known of its noise, and what is true of it."""

    profile: str
    stored: bool
    pair_sd: float

    @property
    def setting(self) -> Setting:
        """The truth that the row's sessions are drawn from."""
        profile = load_profile(self.profile)
        flat = np.ones(len(profile.points))
        sampled = 2 * FIGURE_VARIANCE * WITHIN_SD**2 / profile.plan.samples / len(flat)
        return Setting(
            name=self.profile,
            profile=profile,
            start_sd=LAUNCH_SD,
            cell_sd=0 * flat,
            within_sd=WITHIN_SD * flat,
            lag1=0 * flat,
            outlier_rate=0.0,
            outlier_factor=1.0,
            drift_per_hour=0.0,
            night_sd=LAUNCH_SD,
            pair_sd=float(np.sqrt(max(self.pair_sd**2 - sampled, 0.0))),
            promise=profile.policy.must_catch,
        )

    @property
    def known(self) -> str:
        """What is known of the noise beforehand."""
        assumed = load_profile(self.profile).noise.pair_sd
        return "stored" if self.stored else f"assumed, {100 * (assumed or 0.0):g} %"


ROWS = tuple(
    Row(profile, stored, sd)
    for profile, stored, sd in product(("llama-3.1-8b", "cpu-nano"), (True, False), PAIR_SDS)
)


@dataclass(frozen=True)
class Both:
    """The same sessions by the run's schedule, and judged once after the planned launches."""

    run: Ended
    once: Ended


def once_of(profile: Profile) -> Schedule:
    """One analysis, after the planned launches."""
    policy = profile.policy.model_copy(update={"looks": 1})
    return schedule_of(policy, profile.plan.starts)


def simulated(row: Row, effect: tuple[str, float], sessions: int, seed: int) -> Both:
    """`sessions` of them, with that effect on the candidate."""
    setting = row.setting
    profile = setting.profile
    whole, once = schedule_of(profile.policy, profile.plan.starts), once_of(profile)
    rng = np.random.default_rng([seed, ROWS.index(row), EFFECTS.index(effect)])
    parts: list[Both] = []
    for first in range(0, sessions, BATCH):
        count = min(BATCH, sessions - first)
        drawn = draw(rng, setting, count, whole.starts[-1], across=False)
        shift = shifts(setting, *effect)(count)[:, None, :, None]
        a, b = drawn.candidate + shift, drawn.reference
        priors: list[Prior] = drawn.priors
        if not row.stored:
            priors = [prior_of(profile.noise)] * len(priors)
        parts.append(Both(*(ended(a, b, priors, setting, s) for s in (whole, once))))
    return Both(joined(part.run for part in parts), joined(part.once for part in parts))


def joined(parts: Iterable[Ended]) -> Ended:
    """Several batches as one."""
    every = list(parts)
    return Ended(
        np.concatenate([one.starts for one in every]),
        np.concatenate([one.slower for one in every]),
        np.concatenate([one.passed for one in every]),
    )


def percent(flags: Flags, digits: int) -> str:
    return f"{100 * float(np.mean(flags)):.{digits}f}"


def lines(told: dict[tuple[Row, tuple[str, float]], Both]) -> Iterator[str]:
    """The table in Markdown; "once": judged once, after the planned launches."""
    yield (
        "| profile, its noise | a pair's scatter | nothing differs: ended after | "
        "launches per side | passed (once) | called slower (once) | +3 %: called slower (once) | "
        "passed (once) | launches per side | +5 %: called slower (once) | launches per side | "
        "one point +5 %: called slower (once) |"
    )
    yield "|---" * 12 + "|"
    for row in ROWS:
        none, three, five, point = (told[row, effect] for effect in EFFECTS)
        profile = load_profile(row.profile)
        starts = schedule_of(profile.policy, profile.plan.starts).starts
        cells = [
            f"{row.profile}, {row.known}",
            f"{100 * row.pair_sd:g} %",
            ", ".join(f"{n}: {percent(none.run.starts == n, 0)}" for n in starts),
            f"{none.run.starts.mean():.1f}",
            f"{percent(none.run.passed, 0)} ({percent(none.once.passed, 0)})",
            f"{percent(none.run.slower, 1)} ({percent(none.once.slower, 1)})",
            f"{percent(three.run.slower, 0)} ({percent(three.once.slower, 0)})",
            f"{percent(three.run.passed, 1)} ({percent(three.once.passed, 1)})",
            f"{three.run.starts.mean():.1f}",
            f"{percent(five.run.slower, 0)} ({percent(five.once.slower, 0)})",
            f"{five.run.starts.mean():.1f}",
            f"{percent(point.run.slower, 0)} ({percent(point.once.slower, 0)})",
        ]
        yield "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sequential", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--nights", type=int, default=1500, help="sessions per row and effect")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.perf_counter()
    told = {
        (row, effect): simulated(row, effect, options.nights, options.seed)
        for row, effect in product(ROWS, EFFECTS)
    }
    planned = {row.profile: load_profile(row.profile).plan.starts for row in ROWS}
    print(
        f"\n{options.nights} sessions per row and effect, seed {options.seed}, in %; planned are "
        + ", ".join(f"{count} launches per side ({name})" for name, count in planned.items())
        + "\n"
    )
    print("\n".join(lines(told)))
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
