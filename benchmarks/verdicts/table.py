"""The table: how often each rule alarms where nothing, or a known effect, was put in."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from benchmarks.verdicts import peers, suite
from benchmarks.verdicts.peers import Flags
from benchmarks.verdicts.settings import Array, Setting
from benchmarks.verdicts.simulate import Sessions, draw

EFFECTS = (0.02, 0.03, 0.05, 0.10)
LAUNCHES_TAKEN = "(launches per side it took)"

Rates = dict[str, dict[str, float]]
"""Rule -> `none` or `kind +x %` -> alarms in % of sessions."""


def rules(sessions: Sessions, setting: Setting, *, across: bool) -> dict[str, Flags]:
    """What every rule says of each session."""
    return {
        **suite.fixed(sessions, setting, across=across),
        **peers.peers(sessions, paired=setting.paired and not across),
    }


def shifts(setting: Setting, kind: str, effect: float) -> Callable[[int], Array]:
    """Log shift of each session and point, shape (sessions, points)."""
    count = len(setting.points)

    def shift(sessions: int) -> Array:
        if kind == "point":
            shape = np.eye(count)[np.arange(sessions) % count]
        elif kind == "floor":
            shape = np.ones((sessions, count))
        else:
            tokens = setting.tokens(kind)
            shape = np.tile(tokens / tokens.max(), (sessions, 1))
        return np.asarray(np.log1p(effect * shape))

    return shift


def table(
    setting: Setting, sessions: int, seed: int, *, across: bool, only: tuple[str, ...] = ("",)
) -> Rates:
    """Alarms of every rule at every effect, in % of `sessions`; and the launches they took.

    `only`: what the names of the effects begin with. Each is drawn by itself, so that it is the
    same whichever others are asked for.
    """
    cells = [("none", shifts(setting, "floor", 0.0))]
    cells += [
        (f"{kind} +{100 * e:g} %", shifts(setting, kind, e))
        for kind in ("floor", "m", "L", "point")
        for e in EFFECTS
    ]
    promise = setting.promise
    cells.append((f"floor at the MDE, +{100 * promise:.2f} %", shifts(setting, "floor", promise)))
    rows: Rates = {}
    for number, (name, shift) in enumerate(cells):
        if not name.startswith(only):
            continue
        rng = np.random.default_rng([seed, number, int(across)])
        drawn = draw(rng, setting, sessions, setting.launches, across=across)
        drawn.candidate[...] += shift(sessions)[:, None, :, None]
        said = rules(drawn, setting, across=across)
        found, used = suite.adaptive(rng, setting, sessions, shift)
        if across:
            # The same session goes on with pairs of its own.
            said["suite, confirmed"] = said["suite, suspects"] & found
        else:
            said["suite, adaptive"] = found
        for rule, flags in said.items():
            rows.setdefault(rule, {})[name] = 100 * float(flags.mean())
        if not across:
            rows.setdefault(LAUNCHES_TAKEN, {})[name] = used
    return rows


def print_table(tables: list[Rates]) -> None:
    """Markdown: rules across, effects down; mean over seeds and, for two or more, their range."""
    names = list(tables[0])
    print("| slower by | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for cell in tables[0][names[0]]:
        shown = []
        for name in names:
            values = [t[name][cell] for t in tables]
            text = f"{np.mean(values):.1f}"
            if len(values) > 1:
                text += f" ({min(values):.1f}–{max(values):.1f})"
            shown.append(text)
        print(f"| {cell} | " + " | ".join(shown) + " |")


def print_rules(names: Iterable[str]) -> None:
    """What each rule of a table is, a line each."""
    print()
    known = suite.RULES | peers.RULES
    for name in names:
        if name in known:
            print(f"- {name}: {known[name]}.")


def goals_met(tables: list[Rates], setting: Setting) -> dict[str, bool]:
    """The goals, on means over the seeds.

    Across sessions nothing is promised but few alarms; on a noisy machine no fixed effect is.
    """

    def mean(rule: str, cell: str) -> float:
        return float(np.mean([t[rule][cell] for t in tables]))

    cells = list(tables[0]["suite"])
    floor3 = "floor +3 %"
    as_good = [
        rule
        for rule in peers.RULES
        if mean(rule, "none") <= mean("suite", "none")
        and mean(rule, floor3) >= mean("suite", floor3)
    ]
    goals = {"at most 1 false alarm in 100 sessions": mean("suite", "none") <= 1}
    if "suite, adaptive" in tables[0]:
        goals |= {
            "adaptive: at most 1 in 100": mean("suite, adaptive", "none") <= 1,
            "the promised MDE is caught 95 times in 100": mean("suite", cells[-1]) >= 95,
        }
        if not setting.paired:
            goals["at least 95 % at +3 % on the floor"] = mean("suite", floor3) >= 95
    if not setting.paired:
        goals["no other rule is as good on both"] = not as_good
    return goals
