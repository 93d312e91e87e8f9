"""What a control is worth: tonight against a stored session, alone and by the ratio to a control.

    python -m benchmarks.across_sessions

The sessions are those of `nights.py`: real SGLang on a shared CPU, three pairs each of one version
on both sides. The reference side of a session is taken as its control. Every session is held
against every other of the same day or of another one, both ways, as it is and with an effect put
into the candidate: by its candidate's launches alone, as a stored baseline is, and by the ratios to
the control. The noise is that of all sessions, the two among them. Printed is how often the joint
test calls the later one slower, in %, and what sessions scatter by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from append_prefill.analysis.components import pairs_of
from append_prefill.analysis.design import Design, design_of
from append_prefill.analysis.joint import estimate
from append_prefill.analysis.noise import components, noise_of
from append_prefill.analysis.prior import Prior, prior_of
from append_prefill.analysis.rounds import Figures, launch_figures, pair_figures
from append_prefill.analysis.summary import FloatArray
from append_prefill.analysis.verdict.alarms import alarm
from append_prefill.workload.policy import Policy
from benchmarks import nights as real_nights

EFFECTS = (0.0, 0.03, 0.05, 0.10, 0.20)


@dataclass(frozen=True, slots=True)
class Measured:
    """One session's log statistics, shape (launches, points), and the covariance of their mean."""

    values: FloatArray
    error: FloatArray

    @classmethod
    def of(cls, figures: Sequence[Figures]) -> Measured:
        errors = [found.covariance for found in figures if found.covariance is not None]
        assert len(errors) == len(figures)
        mean_error = np.sum(errors, axis=0) / len(errors) ** 2
        return cls(np.array([found.values for found in figures]), np.asarray(mean_error))


def slower(
    sides: tuple[Measured, Measured],
    prior: Prior,
    design: Design,
    policy: Policy,
    effect: float,
) -> bool:
    """Whether the joint test calls the first of two sessions slower."""
    a, b = sides
    joint = estimate(
        a.values + np.log1p(effect),
        b.values,
        design,
        prior,
        nights=True,
        within=a.error + b.error,
    )
    alpha, least = policy.false_alarm_rate, policy.min_effect
    return bool(alarm(joint, design, alpha=alpha, min_effect=least, sign=1).any)


def main() -> None:
    profile = real_nights.profile()
    points = profile.points
    sessions = real_nights.every(real_nights.load(profile.plan.samples))
    design = design_of(points, profile.plane)
    starts = real_nights.starts_of(sessions, points)
    alone, ratios = [], []
    for night in starts:
        pairs = pairs_of([night])
        alone.append(Measured.of([launch_figures(candidate, points) for candidate, _ in pairs]))
        ratios.append(Measured.of([pair_figures(*pair, points) for pair in pairs]))
    spread_of("level", [night.values.mean(axis=1) for night in alone])
    spread_of("ratio to the control", [night.values.mean(axis=1) for night in ratios])
    prior = prior_of(noise_of(starts, profile.plane))
    kinds = {"alone": (alone, prior), "by the control": (ratios, prior.through_control())}
    both = list(permutations(range(len(sessions)), 2))
    print(f"\n{len(sessions)} sessions, {len(both)} comparisons of two; called slower, in %\n")
    print("| | nothing | " + " | ".join(f"+{100 * e:g} %" for e in EFFECTS[1:]) + " |")
    print("|---" * (1 + len(EFFECTS)) + "|")
    for name, (nights, known) in kinds.items():
        rates = [
            np.mean(
                [
                    slower((nights[i], nights[j]), known, design, profile.policy, effect)
                    for i, j in both
                ]
            )
            for effect in EFFECTS
        ]
        print(f"| {name} | " + " | ".join(f"{100 * rate:.1f}" for rate in rates) + " |")


def spread_of(name: str, groups: Sequence[FloatArray]) -> None:
    """Print how launches and sessions scatter."""
    found = components(groups)
    assert found.within is not None
    assert found.between is not None
    print(
        f"{name}: {100 * found.within**0.5:.1f} % within sessions, "
        f"{100 * found.between**0.5:.2f} % between"
    )


if __name__ == "__main__":
    main()
