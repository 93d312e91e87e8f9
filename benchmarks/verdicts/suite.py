"""This suite's rule on many simulated sessions at once: the joint test and its adaptive form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from append_prefill.analysis.joint import Joint, estimate
from append_prefill.analysis.prior import Prior
from append_prefill.analysis.summary import faster_half
from append_prefill.analysis.verdict.alarms import alarm, passes
from append_prefill.analysis.verdict.sequential import Analysis, Schedule, schedule_of
from append_prefill.run.adaptive import SUSPECT_RATE
from benchmarks.verdicts.peers import Flags
from benchmarks.verdicts.rounds import blocks_error
from benchmarks.verdicts.settings import Array, Setting
from benchmarks.verdicts.simulate import SESSIONS_PER_SITE, Sessions, assumed, draw

RULES = {
    "suite": "the joint test, noise taken from a stored A/A record",
    "suite, no record": "the same with assumed noise, as large as the setting's",
    "suite, adaptive": "interim analyses before, at and after the planned launches, until one of "
    "them settles it",
    "suite, suspects": "when a stored run has both sides measured side by side",
    "suite, confirmed": "when that then says so",
}


def by_site(
    a: Array, b: Array, priors: list[Prior], judge: Callable[[Array, Array, Prior], Flags]
) -> Flags:
    """`judge` over the sessions of each site with its own noise record."""
    parts = []
    for site, prior in enumerate(priors):
        rows = slice(site * SESSIONS_PER_SITE, (site + 1) * SESSIONS_PER_SITE)
        parts.append(judge(a[rows], b[rows], prior))
    return np.concatenate(parts)


def joint_of(a: Array, b: Array, prior: Prior, setting: Setting, *, across: bool = False) -> Joint:
    """The parts of each session's joint test.

    `a`, `b`: log samples of both sides, shape (sessions, launches, points, samples).
    """
    paired = setting.paired and not across
    errors = [blocks_error(a, b)] if paired else [blocks_error(a), blocks_error(b)]
    known = [error for error in errors if error is not None]
    return estimate(
        faster_half(a),
        faster_half(b),
        setting.across_design if across else setting.design,
        prior,
        nights=across,
        paired=paired,
        within=np.sum(known, axis=0) if known else None,
    )


def suite(
    a: Array, b: Array, prior: Prior, setting: Setting, *, across: bool, rate: float | None = None
) -> Flags:
    """Whether the joint test calls each session slower; `rate` is by default the policy's.

    `a`, `b` as in `joint_of`.
    """
    policy = setting.profile.policy
    joint = joint_of(a, b, prior, setting, across=across)
    alpha = policy.false_alarm_rate if rate is None else rate
    design = setting.across_design if across else setting.design
    return alarm(joint, design, alpha=alpha, min_effect=policy.min_effect, sign=1).any


def fixed(sessions: Sessions, setting: Setting, *, across: bool) -> dict[str, Flags]:
    """What the rule says of each session after the planned launches."""
    a, b = sessions.candidate, sessions.reference

    def judge(x: Array, y: Array, prior: Prior) -> Flags:
        return suite(x, y, prior, setting, across=across)

    def suspect(x: Array, y: Array, prior: Prior) -> Flags:
        return suite(x, y, prior, setting, across=True, rate=SUSPECT_RATE)

    bare = [assumed(setting)] * len(sessions.priors)
    return {
        **({"suite, suspects": by_site(a, b, sessions.priors, suspect)} if across else {}),
        "suite": by_site(a, b, sessions.priors, judge),
        "suite, no record": by_site(a, b, bare, judge),
    }


@dataclass(frozen=True)
class Ended:
    """How each session ended, shape (sessions,): launches per side by then, and what was said."""

    starts: Array
    slower: Flags
    passed: Flags


def ended(a: Array, b: Array, priors: list[Prior], setting: Setting, schedule: Schedule) -> Ended:
    """Sessions judged side by side at each interim analysis, until one settles it.

    `a`, `b`: log samples of both sides, shape (sessions, launches, points, samples), of as many
    launches as the last analysis takes.
    """
    policy, design = setting.profile.policy, setting.design
    undecided, starts = np.ones(len(a), dtype=bool), np.zeros(len(a))
    slower, passed = np.zeros((2, len(a)), dtype=bool)
    for now in schedule.analyses:

        def judge(x: Array, y: Array, prior: Prior, now: Analysis = now) -> Flags:
            joint = joint_of(x, y, prior, setting)
            rates = {"alpha": now.alpha, "min_effect": policy.min_effect}
            nothing_hides = passes(
                joint,
                must_catch=policy.must_catch,
                confidence=now.pass_confidence,
                hold_rate=now.hold_rate,
            )
            said = [alarm(joint, design, **rates, sign=sign).any for sign in (1, -1)]
            return np.stack([*said, nothing_hides], axis=-1)

        said = by_site(a[:, : now.starts], b[:, : now.starts], priors, judge)
        starts[undecided] = now.starts
        slower |= undecided & said[:, 0]
        passed |= undecided & ~said[:, 0] & ~said[:, 1] & said[:, 2]
        undecided &= ~said.any(axis=-1)
    return Ended(starts, slower, passed)


def adaptive(
    rng: np.random.Generator, setting: Setting, sessions: int, shift: Callable[[int], Array]
) -> tuple[Flags, float]:
    """The adaptive rule: alarms, and the mean number of launches per side."""
    schedule = schedule_of(setting.profile.policy, setting.launches)
    drawn = draw(rng, setting, sessions, schedule.starts[-1], across=False)
    a = drawn.candidate + shift(sessions)[:, None, :, None]
    said = ended(a, drawn.reference, drawn.priors, setting, schedule)
    return said.slower, float(said.starts.mean())
