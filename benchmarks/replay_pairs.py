"""Old protocol and rule against new, on the committed A/A pairs of real SGLang on a GPU.

    python -m benchmarks.replay_pairs

Nothing is modelled: sessions of pairs are drawn without replacement from the pairs of one pack, the
sides of a pair swapped at random, since both are the same version. *Old*: threads where the kernel
puts them, whole blocks alternating, ten rounds, every point alike, the noise that was assumed until
then counted like five launches. *New*: both servers on the same cores in turn, sample by sample,
like samples compared, floor and compute apart, the profile's noise as it is assumed now. Both were
measured on the same launches. Printed is how often a session is called slower, in %: as it is, with
a factor put into the candidate's samples (everywhere, at the floor alone, at one point), and with
the 0.4 ms of CPU time that were really put into the scheduler. Drawn sessions share pairs, so their
rates are less certain than their number suggests. By default they are of `placement-5`, on which
nothing was chosen.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from append_prefill.analysis.components import Pair
from append_prefill.analysis.design import ALIKE, Design, design_of, strata_of
from append_prefill.analysis.joint import estimate
from append_prefill.analysis.moderation import FloatArray
from append_prefill.analysis.prior import Prior, prior_of
from append_prefill.analysis.rounds import pair_figures
from append_prefill.analysis.verdict.alarms import alarm
from append_prefill.records.grounds import NoiseSource
from append_prefill.workload.loading import load_profile
from append_prefill.workload.points import Point
from append_prefill.workload.policy import Policy
from benchmarks import packs

EFFECTS = (0.02, 0.03, 0.05)
# The profile's assumption before, and what it counted for.
OLD_PRIOR = Prior(0.01, 4.0, None, 0.0, NoiseSource(kind="profile"), pair_sd=0.02, pair_df=4.0)


@dataclass(frozen=True, slots=True)
class Rule:
    """How pairs are made and judged; `rounds_told`: whether the rounds' own scatter is used."""

    name: str
    arm: str
    design: Design
    prior: Prior
    rounds_told: bool


@dataclass(frozen=True, slots=True)
class Pool:
    """The pairs of an arm: log ratios, shape (pairs, points), and each one's covariance."""

    values: FloatArray
    errors: FloatArray

    @classmethod
    def of(cls, pairs: Sequence[Pair], points: Sequence[Point]) -> Pool:
        figures = [pair_figures(*pair, points) for pair in pairs]
        known = [f for f in figures if f.covariance is not None and not np.isnan(f.values).any()]
        return cls(np.array([f.values for f in known]), np.array([f.covariance for f in known]))

    def alarms(
        self, rule: Rule, policy: Policy, order: FloatArray, signs: FloatArray, shift: FloatArray
    ) -> float:
        """Share of sessions called slower; `order` are the pairs of each, (sessions, pairs)."""
        said = 0
        for chosen, sign in zip(order, signs, strict=True):
            ratios = sign[:, None] * self.values[chosen] + shift
            within = self.errors[chosen].sum(axis=0) / len(chosen) ** 2
            joint = estimate(
                ratios,
                np.zeros_like(ratios),
                rule.design,
                rule.prior,
                nights=False,
                paired=True,
                within=within if rule.rounds_told else None,
            )
            alpha, least = policy.false_alarm_rate, policy.min_effect
            said += bool(alarm(joint, rule.design, alpha=alpha, min_effect=least, sign=1).any)
        return said / len(order)


def replay(path: Path, rules: Sequence[Rule], policy: Policy, options: argparse.Namespace) -> None:
    """Print the table of one pack."""
    pack = packs.load(path)
    points = packs.points_of(pack)
    floor = strata_of(points, load_profile("llama-3.1-8b").plane)["floor"]
    shapes = {"everywhere": np.ones(len(points)), "floor": floor * 1.0}
    cells = [
        (f"{name} +{100 * e:g} %", np.log1p(e * s)) for name, s in shapes.items() for e in EFFECTS
    ]
    names = ["nothing", *(name for name, _ in cells), "one point +10 %", "0.4 ms put in"]
    print(f"\n{path.name}: SGLang {pack['subject']['sglang']}\n")
    print("| rule | pairs | " + " | ".join(names) + " |")
    print("|---" * (2 + len(names)) + "|")
    for rule in rules:
        pool = Pool.of(packs.pairs([pack], rule.arm), points)
        slowed = Pool.of(packs.pairs([pack], f"{rule.arm}{packs.SLOW}"), points)
        for pairs in (3, 5):
            rng = np.random.default_rng(options.seed)
            order = np.array(
                [
                    rng.choice(len(pool.values), pairs, replace=False)
                    for _ in range(options.sessions)
                ]
            )
            signs = rng.choice([-1.0, 1.0], order.shape)
            rates = [pool.alarms(rule, policy, order, signs, np.zeros(len(points)))]
            rates += [pool.alarms(rule, policy, order, signs, shift) for _, shift in cells]
            at = rng.integers(len(points))
            one = np.log1p(0.10 * (np.arange(len(points)) == at))
            rates.append(pool.alarms(rule, policy, order, signs, one))
            # Slowed is the candidate: there the sides cannot be swapped.
            whole = order[:, :pairs] % len(slowed.values)
            rates.append(
                slowed.alarms(rule, policy, whole, np.ones_like(signs), np.zeros(len(points)))
            )
            shown = " | ".join(f"{100 * rate:.1f}" for rate in rates)
            print(f"| {rule.name} | {pairs} | {shown} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "files",
        nargs="*",
        type=Path,
        default=[packs.DATA / "h100-2026-11" / "placement-5.json.gz"],
    )
    options = parser.parse_args()
    profile = load_profile("llama-3.1-8b")
    points = packs.points_of(packs.load(options.files[0]))
    rules = [
        Rule("old", "off-block", design_of(points, ALIKE), OLD_PRIOR, rounds_told=False),
        Rule(
            "new",
            "turns-sample",
            design_of(points, profile.plane),
            prior_of(profile.noise),
            rounds_told=True,
        ),
    ]
    for path in options.files:
        replay(path, rules, profile.policy, options)


if __name__ == "__main__":
    main()
