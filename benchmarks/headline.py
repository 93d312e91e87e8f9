"""Does the headline tell the truth? A thousand pairs of sides with a known change.

    python -m benchmarks.headline

Sessions of interleaved pairs are drawn with a known change of TTFT: milliseconds everywhere, a
factor, microseconds a new token, milliseconds at the floor alone, one point, a mixed one (faster at
the floor, dearer per token), none. Where the verdict names a change, its headline's estimate
(`change.parts`) is held against the truth over the same points: how often its 95 % interval covers
it, and how far it lies off. The same for the rule before: the point that moved most, with its own
interval. Sessions without a verdict have no headline and are counted apart. The noise: pairs 0.8 %,
points 1.5 % (floor) and 0.6 % beyond, as on an H100 (`python -m benchmarks.placement_noise`).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from append_prefill.analysis.change import change_of
from append_prefill.analysis.moderation import FloatArray
from append_prefill.analysis.prior import prior_of
from append_prefill.analysis.verdict.joint_test import Judged, joint_test
from append_prefill.analysis.verdict.sides import Sides
from append_prefill.records.comparison import Change, ChangeIn
from append_prefill.workload.loading import load_profile
from append_prefill.workload.profile import Profile

PAIR_SD = 0.008
POINT_SD = {"floor": 0.015, "compute": 0.006}

FLOOR_TOKENS = 308
NAMES = (
    "0.6 ms everywhere",
    "a factor of 1.04",
    "2 us a new token",
    "0.8 ms at the floor",
    "3 ms at one point",
    "faster floor, dearer tokens",
    "none",
)


def change_ms(name: str, times: FloatArray, m: FloatArray, context: FloatArray) -> FloatArray:
    """The true change at points of these times (ms), m and L."""
    floor = m <= FLOOR_TOKENS
    match name:
        case "0.6 ms everywhere":
            change = np.full(len(m), 0.6)
        case "a factor of 1.04":
            change = 0.04 * times
        case "2 us a new token":
            change = 0.002 * m
        case "0.8 ms at the floor":
            change = 0.8 * floor
        case "3 ms at one point":
            change = 3.0 * ((m == 128) & (context == 2048))
        case "faster floor, dearer tokens":
            change = np.where(floor, -1.5, 0.003 * m)
        case _:
            change = np.zeros(len(m))
    return np.asarray(change)


@dataclass
class Score:
    """What a rule's headlines were worth: intervals that held the truth, errors in % of TTFT."""

    named: int = 0
    covered: int = 0
    errors: list[float] | None = None

    def add(self, *, low: float, value: float, high: float, truth: float) -> None:
        self.named += 1
        self.covered += low <= truth <= high
        self.errors = [*(self.errors or []), abs(value - truth)]

    def words(self) -> str:
        if not self.named:
            return "— | —"
        error = 100 * float(np.median(self.errors or [0.0]))
        return f"{100 * self.covered / self.named:.1f} | {error:.2f}"


def times_of(profile: Profile) -> tuple[FloatArray, FloatArray, FloatArray]:
    """TTFT in ms, m and L of the profile's points: a roofline, as on an H100."""
    m = np.array([p.append_tokens for p in profile.points], dtype=float)
    context = np.array([p.context_tokens for p in profile.points], dtype=float)
    return np.maximum(15.0, 0.026 * m) + 0.0004 * context, m, context


def session(
    rng: np.random.Generator, profile: Profile, delta_ms: FloatArray, pairs: int
) -> tuple[Judged, Sides, FloatArray]:
    """One session's verdict; the medians are the statistic itself."""
    times, m, _ = times_of(profile)
    sd = np.where(m <= FLOOR_TOKENS, POINT_SD["floor"], POINT_SD["compute"])
    b = np.log(times) + 0.05 * rng.standard_normal((pairs, 1)) * np.ones_like(times)
    noise = PAIR_SD * rng.standard_normal((pairs, 1)) + sd * rng.standard_normal((pairs, len(m)))
    a = b + np.log1p(delta_ms / times) + noise
    sides = Sides(a, b, a, b, profile.points, True, True, None, 0, 0)
    judged = joint_test(
        sides,
        prior_of(profile.noise.model_copy(update={"pair_sd": PAIR_SD, "strata": {}})),
        profile.policy,
        profile.policy.false_alarm_rate,
        nights=False,
        plane=profile.plane,
        times_ms=times,
    )
    return judged, sides, times


def truth_of(part: ChangeIn, profile: Profile, ratio: FloatArray) -> float:
    """The true mean log ratio over a part's points."""
    inside = [(p.context_tokens, p.append_tokens) in part.points for p in profile.points]
    return float(np.log(ratio[inside]).mean())


def run_of(
    name: str, profile: Profile, count: int, pairs: int, seed: int
) -> tuple[int, Score, Score]:
    """Sessions without a verdict, and the scores of the headline and of the worst point."""
    rng = np.random.default_rng([seed, NAMES.index(name)])
    times, m, context = times_of(profile)
    delta = change_ms(name, times, m, context)
    ratio = 1 + delta / times
    silent, headline, worst = 0, Score(), Score()
    for _ in range(count):
        judged, sides, _ = session(rng, profile, delta, pairs)
        if judged.verdict not in {"regression", "improvement"}:
            silent += 1
            continue
        change: Change = change_of(
            judged.design,
            judged.joint,
            times,
            per_start=sides.per_start,
            min_effect=profile.policy.min_effect,
        )
        for part in change.parts:
            headline.add(
                low=np.log(part.low),
                value=np.log(part.ratio),
                high=np.log(part.high),
                truth=truth_of(part, profile, ratio),
            )
        absolute = judged.joint.absolute
        at = int(np.argmax(judged.sign * absolute.estimate))
        value, half = float(absolute.estimate[at]), float(absolute.spread.half_width()[at])
        worst.add(low=value - half, value=value, high=value + half, truth=float(np.log(ratio[at])))
    return silent, headline, worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5, help="pairs a session")
    parser.add_argument("--sessions", type=int, default=150, help="sessions a truth")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    profile = load_profile("llama-3.1-8b")
    count = options.sessions * len(NAMES)
    print(f"{count} sessions of {options.pairs} pairs, seed {options.seed}\n")
    print(
        "| truth | without a verdict | headline covers, % | median error, % of TTFT "
        "| worst point covers, % | median error, % |"
    )
    print("|---|---|---|---|---|---|")
    totals = Score(), Score()
    for name in NAMES:
        silent, headline, worst = run_of(
            name, profile, options.sessions, options.pairs, options.seed
        )
        print(f"| {name} | {silent} | {headline.words()} | {worst.words()} |")
        for total, score in zip(totals, (headline, worst), strict=True):
            total.named += score.named
            total.covered += score.covered
            total.errors = [*(total.errors or []), *(score.errors or [])]
    print(f"| all | | {totals[0].words()} | {totals[1].words()} |")


if __name__ == "__main__":
    main()
