"""What a run suspects, and what launches of their own say of it.

Fresh launches decide alone, by the rule and at the rate of any run. Those that raised the suspicion
were looked at because they were slow: pooled with fresh ones they would count twice, and a test
that allowed for it would have to know what they were chosen from (points, parts, experiments, a
month of sessions). Fresh ones owe the choice nothing. So of suspicions without any change 1 in 100
is confirmed at most, whatever was chosen, and of runs without any change 1 in 100 suspects: 1 in
10,000 is suspected and confirmed. What is given up is power, which more launches buy back.

The first answer that decides is the last: who measured on until the answer pleases would spend the
rate each time. Those that could not tell before it do spend it: after n of them it is n + 1 in 100.

That holds where the reference is measured anew, too. A stored one is the same in both runs: where
its own session was a fast one, every run held against it is slower. Against it fresh launches can
take a suspicion back, and only show it again otherwise.

A pass promises that no slow-down of `must_catch` hides in the parts of the plane, and nothing of
single points (`analysis.verdict.alarms.passes`). So where points alone are suspected, each of their
intervals has to end below `must_catch`, too: chosen beforehand, they need no allowance.
"""

from __future__ import annotations

import math

from append_prefill.records.comparison import Comparison
from append_prefill.records.confirmation import POINTS, Answer, Suspect
from append_prefill.records.grounds import Ground, Method
from append_prefill.records.run import Run


def suspicions_of(run: Run) -> dict[str, Comparison]:
    """The comparisons of a run that say slower, by the suspect's name, the points first."""
    made = {POINTS: run.comparison} | {one.experiment: one.comparison for one in run.traffic}
    return {
        name: comparison
        for name, comparison in made.items()
        if comparison is not None and comparison.verdict == "regression"
    }


def suspect_of(name: str, comparison: Comparison) -> Suspect:
    """What is suspected by a comparison that says slower."""
    ground = comparison.reason
    parts = not isinstance(ground, Ground) or bool(ground.quantities) or not ground.single_points
    alone = [] if parts else [p.point for p in comparison.points if p.verdict == "regression"]
    return Suspect(name=name, points=[(p.context_tokens, p.append_tokens) for p in alone])


def answers_of(run: Run) -> dict[str, Answer]:
    """What a run that measured suspects again says of each; of what it did not judge, nothing."""
    if run.confirms is None:
        return {}
    made = {POINTS: run.comparison} | {one.experiment: one.comparison for one in run.traffic}
    return {one.name: _answer(one, made.get(one.name)) for one in run.confirms.suspects}


def _answer(suspect: Suspect, comparison: Comparison | None) -> Answer:
    if comparison is None:
        return "undecided"
    if comparison.verdict == "regression":
        return "confirmed" if comparison.confirmed else "seen-again"
    cleared = comparison.verdict in ("pass", "improvement") and _clear(suspect, comparison)
    return "withdrawn" if cleared else "undecided"


def _clear(suspect: Suspect, comparison: Comparison) -> bool:
    """Whether nothing of `must_catch` can hide at the points that alone are suspected."""
    method = comparison.method
    if not suspect.points:
        return True
    if not isinstance(method, Method):
        return False
    highs = {
        (p.context_tokens, p.append_tokens): p.high for p in comparison.points if p.high is not None
    }
    return all(highs.get(p, math.inf) < 1 + method.must_catch for p in suspect.points)
