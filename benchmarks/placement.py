"""Does placing threads make launches alike? Both protocols on the same launches, one device.

    python -m benchmarks.placement --sglang ENV --minutes 20 --out DIR

Measures pairs of launches of one version against itself. On every pair of launches blocks are
taken by several *arms*: threads where the kernel puts them (`off`) or placed (`turns`), the sides
alternating by block or by sample, each as A/A and, in every other round, with a slow-down on the
candidate (`--slow-ms` of CPU time in the scheduler before each prefill batch, put in from outside
by `benchmarks/slowed`). `--arms off-block:20 turns-sample:36` takes twenty rounds of the one and 36
of the other. Which arm a block belongs to is in its state; the arms `off` are taken first in even
pairs and last in odd ones. DIR gets a file a launch (`starts/`), as any run does.

`benchmarks.placement_noise` prints what the arms' levels scatter by.
"""

from __future__ import annotations

import argparse
import mmap
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice, zip_longest
from pathlib import Path
from typing import Any, get_args

from append_prefill.engines.base import Engine
from append_prefill.engines.compiled import has_compiled, note_compiled
from append_prefill.engines.devices import DeviceLock
from append_prefill.engines.local import SglangEngine
from append_prefill.probe.bench import Bench
from append_prefill.probe.launch import Launch
from append_prefill.probe.placement.placer import Placer
from append_prefill.probe.placement.topology import topology_of
from append_prefill.probe.plan import abba
from append_prefill.probe.planning import make_plan
from append_prefill.probe.runner import measure_round, up
from append_prefill.records.grounds import Side
from append_prefill.run.options import Options
from append_prefill.run.resolve import resolve
from append_prefill.run.settings import Settings
from append_prefill.workload.profile import Alternation, PlacementPolicy, Profile

SIDES: tuple[Side, Side] = ("candidate", "reference")
SLOWED = Path(__file__).parent / "slowed"


@dataclass(frozen=True, slots=True)
class Arm:
    """One protocol, with or without the slow-down on the candidate."""

    policy: PlacementPolicy
    alternate: Alternation
    slow: bool

    @property
    def name(self) -> str:
        return f"{self.policy}-{self.alternate}{'-slow' if self.slow else ''}"


@dataclass(frozen=True, slots=True)
class Share:
    """How many rounds of a pair an arm gets, slowed ones included."""

    policy: PlacementPolicy
    alternate: Alternation
    rounds: int

    def arms(self) -> list[Arm]:
        """One a round, as A/A and slowed in turns."""
        slowed = islice(cycle((False, True)), self.rounds)
        return [Arm(self.policy, self.alternate, slow) for slow in slowed]


def share_of(text: str) -> Share:
    """`turns-sample:36` as asked for on the command line."""
    arm, _, rounds = text.partition(":")
    policy, _, alternate = arm.partition("-")
    if policy not in get_args(PlacementPolicy) or alternate not in get_args(Alternation):
        raise argparse.ArgumentTypeError(f"{text!r} is no POLICY-ALTERNATION:ROUNDS")
    return Share(policy, alternate, int(rounds))


def phases(pair: int, shares: Sequence[Share]) -> Iterator[list[Arm]]:
    """The arms of a pair in order, one a round, arms of one policy taking turns.

    What the kernel does unasked is measured apart from what is placed, since it starts from where
    the threads were left.
    """
    off = [share.arms() for share in shares if share.policy == "off"]
    placed = [share.arms() for share in shares if share.policy != "off"]
    for some in (off, placed) if pair % 2 == 0 else (placed, off):
        turns = zip_longest(*some)
        yield [arm for turn in turns for arm in turn if arm is not None]


class Switch:
    """A byte in shared memory that a server reads before each prefill batch."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(b"\0")
        self.path = path
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 1)

    def set(self, *, on: bool) -> None:
        self._map[0] = int(on)


def measure_pair(
    bench: Bench, engines: dict[Side, Engine], pair: int, shares: Sequence[Share], switch: Switch
) -> None:
    """One launch of each side, and every arm's blocks on them."""
    launches = [Launch(bench, side, engines[side], pair) for side in abba(SIDES, pair)]
    with up(launches):
        for launch in launches:
            launch.start.interleaved = True
            launch.warm_up()
        by_side = {launch.start.side: launch for launch in launches}
        busy = {side: launch.busy_pids() for side, launch in by_side.items()}

        def pids() -> set[int]:
            return launches[0].pids() | launches[1].pids()

        for arms in phases(pair, shares):
            placers = {
                arm.policy: Placer(arm.policy, bench.topology, (bench.plan.seed, pair, phase))
                for phase, arm in enumerate({arm.policy: arm for arm in arms}.values())
            }
            turns: dict[Arm, int] = {}
            for arm in arms:
                turn = turns[arm] = turns.get(arm, -1) + 1
                switch.set(on=arm.slow)
                with placers[arm.policy].measuring():
                    ordered = [by_side[side] for side in abba(SIDES, pair + turn)]
                    place = placing(placers[arm.policy], arm, turn, busy, pids)
                    measure_round(bench, ordered, arm.alternate, place, pids)
                switch.set(on=False)
        for launch in launches:
            launch.finish()


def compile_run(bench: Bench, engines: dict[Side, Engine]) -> None:
    """Launch once, uncounted, what this host has not compiled yet, as every run does."""
    key = engines["candidate"].compile_key(bench.device)
    if key is None or has_compiled(key):
        return
    launches = [Launch(bench, side, engines[side], 0) for side in SIDES]
    with up(launches):
        for launch in launches:
            launch.warm_up()
    note_compiled(key)


def placing(
    placer: Placer,
    arm: Arm,
    turn: int,
    busy: dict[Side, dict[str, int]],
    pids: Callable[[], set[int]],
) -> Callable[[], tuple[dict[str, Any], str | None]]:
    """What puts the threads of a block in place; the record has the arm beside the placement."""

    def place() -> tuple[dict[str, Any], str | None]:
        placement, void = placer.try_to_place(turn, busy, pids)
        return {"arm": arm.name, "turn": turn, "cores": placement}, void

    return place


def with_switch(engine: Engine, switch: Switch, slow_ms: float) -> Engine:
    """The engine with the slow-down built in and off. A simulated server has no use for it."""
    if not isinstance(engine, SglangEngine):
        return engine
    env = {
        "APPEND_PREFILL_SLOW_SWITCH": str(switch.path),
        "APPEND_PREFILL_SLOW_MS": str(slow_ms),
    }
    server = engine.profile.server
    server = server.model_copy(update={"env": {**server.env, **env}})
    return replace(engine, profile=engine.profile.model_copy(update={"server": server}))


def narrowed(profile: Profile) -> Profile:
    """Without what the question does not need: drawn points, a long answer in the first block."""
    plan = profile.plan
    changed = {"drawn_points": 0, "share_output_tokens": plan.output_tokens}
    return profile.model_copy(update={"plan": plan.model_copy(update=changed)})


def bench_of(settings: Settings, profile: Profile, folder: Path, seed: int) -> Bench:
    """What the pairs share. Blocks are counted by arms here, so the plan's number is no limit."""
    device = settings.devices[0]
    return Bench(
        profile=profile,
        plan=make_plan(profile, seed=seed, sides=SIDES, samples=1000),
        device=device,
        guard=settings.guard(device),
        folder=folder,
        vocab_size=settings.vocab_size,
        tell=lambda line: print(f"{time.strftime('%T')} {line}", flush=True),
        topology=topology_of(device),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sglang", required=True)
    parser.add_argument("--profile", default=None)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument(
        "--arms",
        type=share_of,
        nargs="+",
        default=[Share("off", "block", 20), Share("turns", "sample", 36)],
        metavar="POLICY-ALTERNATION:ROUNDS",
    )
    parser.add_argument("--slow-ms", type=float, default=0.4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    began_s = time.monotonic()
    settings = resolve(Options(sglang=options.sglang, profile=options.profile), Path.cwd())
    profile = narrowed(settings.profile)
    folder = options.out.resolve()  # servers run elsewhere
    folder.mkdir(parents=True, exist_ok=True)
    bench = bench_of(settings, profile, folder, options.seed)
    # Not in the profile's environment, which would hide what the engine puts there for a CPU.
    ahead = [str(SLOWED), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(ahead)
    switch = Switch(folder / "slow")
    candidate = with_switch(replace(settings.candidate, profile=profile), switch, options.slow_ms)
    never = Switch(folder / "never")
    reference = with_switch(replace(settings.candidate, profile=profile), never, options.slow_ms)
    engines: dict[Side, Engine] = {"candidate": candidate, "reference": reference}
    pair, longest_s = 0, 0.0
    with DeviceLock(bench.device):
        compile_run(bench, engines)
        while time.monotonic() - began_s + longest_s < options.minutes * 60:
            at_s = time.monotonic()
            measure_pair(bench, engines, pair, options.arms, switch)
            longest_s = max(longest_s, time.monotonic() - at_s)
            print(f"pair {pair}: {time.monotonic() - at_s:.0f} s", flush=True)
            pair += 1


if __name__ == "__main__":
    main()
