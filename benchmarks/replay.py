"""The suite's verdict on sessions made of real A/A pairs, as they are and with an effect put in.

    python -m benchmarks.replay

`verdicts` draws sessions from a model of the noise; here nothing is modelled. The samples are those
of A/A sessions of real SGLang (`nights.py`). The sessions of each day are judged by what the other
days say of the noise, and with the effect that `append-prefill plan` then promises. First the
sessions as they were; then sessions of as many pairs as the profile plans, drawn without
replacement from the pairs of a day, the sides of a pair swapped at random, since both are the same
version. Other tools' rules judge the same samples. An effect is a factor on the candidate's.

Drawn sessions share pairs, so their rates are less certain than their number suggests.
"""

from __future__ import annotations

import argparse

import numpy as np

from append_prefill.analysis.prior import prior_of
from append_prefill.records.noise import NoiseRecord
from append_prefill.workload.profile import Profile
from benchmarks import nights as real_nights
from benchmarks.verdicts.settings import Array, Setting, cpu, promised
from benchmarks.verdicts.simulate import HISTORY, SESSIONS_PER_SITE, Sessions
from benchmarks.verdicts.suite import suite
from benchmarks.verdicts.table import Rates, print_rules, print_table, rules, shifts

EFFECTS = (("floor", 0.05), ("floor", 0.10), ("m", 0.10), ("L", 0.10), ("point", 0.20))
PROMISED = "floor at the MDE"


def as_measured(
    sessions: list[Array], setting: Setting, record: NoiseRecord
) -> tuple[int, int, float]:
    """Sessions called slower as they were, and with the promised effect put in; that effect."""
    prior = prior_of(record)
    plan = setting.profile.plan.model_copy(update={"starts": len(sessions[0])})
    effect = promised(setting.profile.model_copy(update={"plan": plan}), record)
    table = np.array(sessions)
    a, b = table[:, :, 0], table[:, :, 1]
    alarms = suite(a, b, prior, setting, across=False)
    caught = suite(a + np.log1p(effect), b, prior, setting, across=False)
    return int(alarms.sum()), int(caught.sum()), effect


def noise_of_others(days: dict[str, list[Array]], day: str, profile: Profile) -> NoiseRecord:
    """The noise record of all days but `day`."""
    others = {other: sessions for other, sessions in days.items() if other != day}
    return real_nights.noise_record(real_nights.every(others), profile.points)


def draw(rng: np.random.Generator, pool: Array, setting: Setting, count: int) -> Sessions:
    """`count` sessions of pairs out of `pool`, shape (pairs, 2, points, samples)."""
    order = rng.permuted(np.tile(np.arange(len(pool)), (count, 1)), axis=1)
    chosen = pool[order[:, : setting.launches]]
    swap = rng.integers(2, size=(*chosen.shape[:2], 1, 1, 1)).astype(bool)
    chosen = np.where(swap, chosen[:, :, ::-1], chosen)
    # The monitor's ten past means are of launches that this session does not have.
    past = np.exp(pool[order[:, setting.launches :][:, :HISTORY], 0]).mean(axis=(1, 3))
    return Sessions(chosen[:, :, 0].copy(), chosen[:, :, 1], past, [])


def replayed(pool: Array, setting: Setting, record: NoiseRecord, count: int, seed: int) -> Rates:
    """Alarms in % of `count` sessions drawn from `pool`."""
    cells = [("floor", 0.0, "none")]
    cells += [(kind, effect, f"{kind} +{100 * effect:g} %") for kind, effect in EFFECTS]
    cells.append(("floor", promised(setting.profile, record), PROMISED))
    rows: Rates = {}
    for kind, effect, name in cells:
        drawn = draw(np.random.default_rng(seed), pool, setting, count)
        drawn.priors.extend([prior_of(record)] * -(-count // SESSIONS_PER_SITE))
        drawn.candidate[...] += shifts(setting, kind, effect)(count)[:, None, :, None]
        for rule, flags in rules(drawn, setting, across=False).items():
            rows.setdefault(rule, {})[name] = 100 * float(flags.mean())
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nights", type=int, default=2000, help="drawn for each day and seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    profile = real_nights.profile()
    setting = cpu()
    days = real_nights.load(setting.samples)
    records = {day: noise_of_others(days, day, profile) for day in days}
    print()
    for day, sessions in days.items():
        alarms, caught, effect = as_measured(sessions, setting, records[day])
        print(
            f"{day}: {len(sessions)} A/A sessions of {len(sessions[0])} pairs as measured: "
            f"{alarms} called slower; with the promised +{100 * effect:.1f} % put in everywhere: "
            f"{caught} caught."
        )
    for day, sessions in days.items():
        tables = [
            replayed(np.concatenate(sessions), setting, records[day], options.nights, seed)
            for seed in options.seeds
        ]
        effect = promised(profile, records[day])
        print(
            f"\n{options.nights} sessions of {setting.launches} real pairs of {day} ({PROMISED}: "
            f"+{100 * effect:.1f} %), seeds {options.seeds}: alarms in %\n"
        )
        print_table(tables)
    print_rules(tables[0])


if __name__ == "__main__":
    main()
