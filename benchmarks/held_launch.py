"""Does it change what is measured that a server was launched ahead and held until its turn?

    python -m benchmarks.held_launch --sglang ENV --pairs 6 --out DIR
    python -m benchmarks.held_launch --read benchmarks/data/h200-2026-11/held.starts.json.gz

Measures pairs of launches of one version against itself, on one device. Of each pair one server
was launched while the pair before it came up, and held until its turn (`probe.ahead`); the other
was launched at its turn. Which side that is alternates, and so does the order in which they are
launched and measured. DIR gets a file a launch (`starts/`), as any run does.

Prints the seconds from their turn until the servers were ready, held and not, and the level of
those that were held over that of those that were not, with its 95 % interval over pairs. On a GPU
also what a held server takes of its memory, which should be nothing. `--read` prints the same of
launches that were kept.
"""

from __future__ import annotations

import argparse
import gzip
import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import mean, median, stdev

import numpy as np
from pydantic import TypeAdapter
from scipy import stats

from append_prefill.analysis.summary import faster_half
from append_prefill.engines.base import Engine, HeldServer
from append_prefill.engines.devices import DeviceLock, memory_used_bytes
from append_prefill.engines.waiting import await_held
from append_prefill.probe.bench import Bench
from append_prefill.probe.launch import Launch
from append_prefill.probe.plan import abba
from append_prefill.probe.planning import make_plan
from append_prefill.probe.runner import measure_blocks, up
from append_prefill.records.launch import Start
from append_prefill.records.store import read_starts
from append_prefill.run.options import Options
from append_prefill.run.resolve import resolve
from benchmarks.placement import SIDES, bench_of, compile_run, narrowed


class Pairs:
    """Measures the pairs. What is held for the next one is ended with the context."""

    def __init__(self, bench: Bench, engine: Engine, count: int) -> None:
        self._bench, self._engine, self._count = bench, engine, count
        self._held: HeldServer | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Pairs:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def hold(self) -> None:
        """Launch the server that is held for the next pair."""
        held = self._engine.hold(self._bench.device, self._bench.folder / "held.log")
        if held is None:
            raise SystemExit(f"{self._engine.label} cannot be held")
        self._stack.callback(held.stop)
        self._held = held

    def settle(self) -> None:
        if self._held is not None:
            await_held([self._held])

    def measure(self, pair: int) -> None:
        sides = abba(SIDES, pair // 2)
        launches = [Launch(self._bench, side, self._engine, pair) for side in sides]

        def bring_up() -> None:
            held, self._held = self._held, None
            for launch in launches:
                launch.start.interleaved = True
                launch.bring_up(held if launch.start.side == SIDES[pair % 2] else None)
            if pair + 1 < self._count:
                self.hold()

        with up(launches, bring_up):
            for launch in launches:
                launch.warm_up()
            self.settle()
            measure_blocks(self._bench, launches, self._pids)
            for launch in launches:
                launch.finish()

    def _pids(self) -> set[int]:
        return set() if self._held is None else self._held.pids()


def level(start: Start) -> float:
    """Mean over points of the statistic that is compared: log ms."""
    return mean(float(faster_half(np.log(s.ttft_ms))) for s in start.series if s.ttft_ms)


def tell(starts: Sequence[Start]) -> None:
    by_pair: dict[int, dict[bool, Start]] = {}
    for start in starts:
        if start.usable:
            by_pair.setdefault(start.pair, {})[start.held_s is not None] = start
    pairs = [by_pair[pair] for pair in sorted(by_pair) if len(by_pair[pair]) == 2]
    for held, name in ((True, "held"), (False, "not held")):
        ready = [pair[held].ready_s or math.nan for pair in pairs]
        print(f"{name}: ready {median(ready):.1f} s after their turn (median of {len(ready)})")
    changes = [level(pair[True]) - level(pair[False]) for pair in pairs]
    for pair, change in zip(pairs, changes, strict=True):
        held = pair[True]
        print(
            f"pair {held.pair}: {held.side} held for {held.held_s:.0f} s, {math.expm1(change):+.2%}"
        )
    if len(changes) < 2:
        return
    half = float(stats.t.ppf(0.975, len(changes) - 1)) * stdev(changes) / math.sqrt(len(changes))
    low, middle, high = (math.expm1(mean(changes) + x) for x in (-half, 0.0, half))
    print(f"held over not held: {middle:+.2%} ({low:+.2%} to {high:+.2%}), {len(changes)} pairs")
    print(f"pairs scatter by {stdev(changes):.2%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--sglang")
    given.add_argument("--read", type=Path, metavar="FILE")
    parser.add_argument("--profile", default=None)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--samples", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.read is not None:
        with gzip.open(options.read) as kept:
            tell(TypeAdapter(list[Start]).validate_json(kept.read()))
        return
    if options.out is None:
        parser.error("--out is needed where something is measured")
    settings = resolve(Options(sglang=options.sglang, profile=options.profile), Path.cwd())
    profile = narrowed(settings.profile)
    folder = options.out.resolve()  # servers run elsewhere
    folder.mkdir(parents=True, exist_ok=True)
    plan = make_plan(profile, seed=options.seed, sides=SIDES, samples=options.samples)
    bench = replace(bench_of(settings, profile, folder, options.seed), plan=plan)
    engine = settings.candidate
    with DeviceLock(bench.device):
        compile_run(bench, dict.fromkeys(SIDES, engine))
        with Pairs(bench, engine, options.pairs) as pairs:
            before = memory_used_bytes(bench.device)
            pairs.hold()
            pairs.settle()
            if before is not None:
                taken = (memory_used_bytes(bench.device) or 0) - before
                print(f"a held server takes {taken / 2**20:.0f} MiB of the device", flush=True)
            for pair in range(options.pairs):
                began_s = time.monotonic()
                pairs.measure(pair)
                print(f"pair {pair}: {time.monotonic() - began_s:.0f} s", flush=True)
    tell(read_starts(folder))


if __name__ == "__main__":
    main()
