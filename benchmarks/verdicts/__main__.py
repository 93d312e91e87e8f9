"""`python -m benchmarks.verdicts`: simulate sessions at one setting and print who alarmed."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from benchmarks.verdicts.settings import Setting, cpu, h200, quiet
from benchmarks.verdicts.table import goals_met, print_rules, print_table, table

SETTINGS = {"quiet": quiet, "cpu": cpu, "h200": h200}

CHOSEN_ON = (
    "The statistic that the suite compares, and the scatter that its profiles assume of a pair, "
    "were chosen on the first day's CPU sessions and on the H200's sample run. The settings cpu "
    "and h200 are read off the same runs, so the suite has an advantage here that the other "
    "rules lack. `python -m benchmarks.replay` also judges a second day's sessions, measured "
    "afterwards."
)


def noise_words(setting: Setting) -> str:
    """The truth that sessions were drawn from."""

    def within(low: int, high: int) -> str:
        chosen = (setting.tokens("m") >= low) & (setting.tokens("m") <= high)
        return f"{100 * np.median(setting.within_sd[chosen]):.1f} %" if chosen.any() else "none"

    ratio = "" if setting.pair_sd is None else f", ratio in a pair {100 * setting.pair_sd:.1f} %"
    return (
        f"noise: launches {100 * setting.start_sd:.1f} %{ratio}, "
        f"sessions {100 * setting.night_sd:.1f} %, "
        f"samples {within(1, 128)} up to m = 128 and {within(512, 10**9)} from 512 on"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.verdicts",
        description=__doc__.partition(": ")[2],
    )
    parser.add_argument("--setting", choices=tuple(SETTINGS), default="quiet")
    parser.add_argument("--nights", type=int, default=1000, help="simulated sessions per effect")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--across-sessions", action="store_true", help="a stored baseline instead")
    parser.add_argument("--json", type=Path, help="write the rates there as well")
    options = parser.parse_args()
    setting = SETTINGS[options.setting]()
    began = time.perf_counter()
    tables = [
        table(setting, options.nights, seed, across=options.across_sessions)
        for seed in options.seeds
    ]
    kind = "against another session" if options.across_sessions else "side by side"
    kind += ", blocks alternating" if setting.paired and not options.across_sessions else ""
    print(
        f"\n{setting.name}, {kind}: alarms in % of {options.nights} sessions, seeds "
        f"{options.seeds}, {setting.launches} launches per side, {setting.samples} samples per "
        f"point and launch\n{noise_words(setting)}\n"
    )
    print_table(tables)
    print_rules(tables[0])
    if setting.paired:
        print(f"\n{CHOSEN_ON}")
    goals = goals_met(tables, setting)
    print("\n" + "\n".join(f"{'yes' if met else 'NO '}  {goal}" for goal, met in goals.items()))
    print(f"{time.perf_counter() - began:.0f} s")
    if options.json:
        rates = {"setting": setting.name, "kind": kind, "seeds": tables, "goals": goals}
        options.json.write_text(json.dumps(rates, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
